from __future__ import annotations

import _multibytecodec
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.distribution.deb import debian_version
from scripts.distribution.elf import cut
from scripts.distribution.pages import settle_links
from scripts.distribution.product import PRODUCTS, all_for
from scripts.distribution.source import ROOT, BuildError, digest, own_version, parse_version
from scripts.distribution.tree import AGENT, CONTROLLER, Program
from scripts.distribution.wheels import AMD64, ARM64, fetch, unpack


@pytest.mark.parametrize("text", ["0.1.0", "1.2", "10.20.30.40", "0.2.1rc1"])
def test_numbers_that_all_packages_can_bear_are_versions(text: str) -> None:
    assert parse_version(text) == text


@pytest.mark.parametrize(
    "text", ["", "1", "v1.0", "1.0-2", "1.0~rc1", "1.0/../..", "1.0 ", "1.0\n", "1..0", "1.0rc", "\u0661.\u0660"]
)
def test_anything_else_is_refused_as_a_version(text: str) -> None:
    with pytest.raises(BuildError, match="numbers with dots"):
        parse_version(text)


def test_the_checkout_has_a_version() -> None:
    assert own_version().count(".") == 2


def test_dpkg_puts_a_release_candidate_before_its_release() -> None:
    order = ["dpkg", "--compare-versions", debian_version("1.0rc1"), "lt", debian_version("1.0")]
    assert subprocess.run(order, check=False).returncode == 0


def test_what_a_package_brings_is_counted_among_what_is_to_be_built_once() -> None:
    deb = PRODUCTS["controller-deb-amd64"]
    names = ["agent-archive-amd64", "agent-archive-arm64", "controller-deb-amd64"]
    assert all_for([deb]) == [PRODUCTS[name] for name in names]
    assert all_for(list(PRODUCTS.values())) == list(PRODUCTS.values())


def test_an_object_that_was_cut_is_loaded_as_before(tmp_path: Path) -> None:
    original = Path(_multibytecodec.__file__ or "")
    library = tmp_path / original.name
    shutil.copyfile(original, library)
    assert cut(library)
    assert library.stat().st_size < original.stat().st_size
    ask = "import sys; sys.path.insert(0, sys.argv[1]); import _multibytecodec as it; print(it.__file__)"
    said = subprocess.check_output([sys.executable, "-c", ask, tmp_path], text=True)
    assert said == f"{library}\n"
    assert not cut(library), "there was nothing more to cut"


@pytest.mark.parametrize("content", [b"", b"no object at all", b"\x7fELF\x01\x01\x01" + bytes(100)])
def test_what_is_no_object_for_64_bits_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "strange.so"
    path.write_bytes(content)
    assert not cut(path)
    assert path.read_bytes() == content


def wheel(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return path


def test_a_wheel_s_commands_and_manuals_are_left_out(tmp_path: Path) -> None:
    unpack(
        wheel(tmp_path / "x.whl", "x/__init__.py", "x-1.data/scripts/x", "x-1.data/data/share/man/x.1"), tmp_path / "x"
    )
    assert [path.name for path in (tmp_path / "x").rglob("*") if path.is_file()] == ["__init__.py"]


@pytest.mark.parametrize("name", ["x-1.data/purelib/x.py", "../x.py", "/x.py"])
def test_a_wheel_with_files_for_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BuildError, match=r"x\.whl"):
        unpack(wheel(tmp_path / "x.whl", name), tmp_path / "x")


def test_a_lock_that_differs_between_pythons_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("tomli==2.0 ; python_full_version < '3.12' \\\n    --hash=sha256:00\n", encoding="ascii")
    with pytest.raises(BuildError, match="different Pythons"):
        fetch(lock, AMD64, "3.11", tmp_path / "keep")
    assert not (tmp_path / "keep").exists()


def test_wheels_that_were_fetched_once_are_not_fetched_again(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    content = wheel(tmp_path / "x-1-py3-none-any.whl", "x.py").read_bytes()
    # No registry has it: whatever asks one fails.
    lock.write_text(
        f"skerry-not-there==1 \\\n    --hash=sha256:{hashlib.sha256(content).hexdigest()}\n", encoding="ascii"
    )
    keep = tmp_path / "keep"
    folder = keep / f"arm64-3.12-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    folder.mkdir(parents=True)
    kept = folder / "x-1-py3-none-any.whl"
    kept.write_bytes(content)
    assert fetch(lock, ARM64, "3.12", keep) == [kept]


def test_every_place_that_the_agent_is_built_from_is_there_and_counts() -> None:
    whole = digest(AGENT.sources)
    for place in AGENT.sources:
        assert (ROOT / place).exists(), place
        assert digest(set(AGENT.sources) - {place}) != whole


@pytest.mark.parametrize("program", [AGENT, CONTROLLER], ids=lambda program: program.name)
def test_every_link_of_a_page_leads_to_one_that_the_package_brings_and_the_rest_is_said_to_be_elsewhere(
    program: Program,
) -> None:
    links = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
    told = set()
    for page in program.documents:
        written = (ROOT / "docs" / page).read_text(encoding="utf-8")
        targets = set(links.findall(written))
        assert [target for target in targets if not (ROOT / "docs" / page).parent.joinpath(target).exists()] == []
        shipped = settle_links(written, page, program.documents)
        assert {(Path(page).parent / target).as_posix() for target in links.findall(shipped)} <= {*program.documents}
        told |= set(re.findall(r"\((\S+) in the project's source\)", shipped))
    assert "docs/adr/0015-a-wrong-clock-is-no-refusal.md" in told
    assert [place for place in told if not (ROOT / place).exists()] == []


def test_a_link_to_what_is_not_brought_says_where_it_is() -> None:
    text = "See [two](b.md#part), [a\nrun](adr/0001-x.md), [README](../README.md#use), [w](https://h/x) and [p](#here)."
    assert settle_links(text, "a.md", {"a.md", "b.md"}) == (
        "See [two](b.md#part), a\nrun (docs/adr/0001-x.md in the project's source), "
        "README (README.md in the project's source), [w](https://h/x) and [p](#here)."
    )
