from __future__ import annotations

import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path

import pytest

from scripts.distribution.product import PRODUCTS, Builder
from scripts.distribution.source import file_digest, own_version
from tests.harness.built_packages import package

pytestmark = pytest.mark.timeout(900)  # the first to ask builds

AMD64, ARM64 = "agent-archive-amd64", "agent-archive-arm64"
SIZE_MAX = 25_000_000
CLEAN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


@cache
def members(kind: str) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(package(kind)) as archive:
        return {member.name: member for member in archive}


def unpacked(kind: str, folder: Path, version: str | None = None) -> Path:
    subprocess.run(["tar", "-xzf", package(kind, version), "-C", folder], check=True)
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(AMD64, tmp_path_factory.mktemp("a place with spaces"))


def run(*command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=CLEAN | more, cwd="/", check=False, timeout=60)


@pytest.mark.parametrize("kind", [AMD64, ARM64])
def test_an_agent_s_archive_is_small(kind: str) -> None:
    assert package(kind).stat().st_size < SIZE_MAX


@pytest.mark.parametrize("kind", [AMD64, ARM64])
def test_an_archive_is_one_folder_of_root_s_in_order_without_times(kind: str) -> None:
    found = members(kind)
    top = f"skerry-agent-{own_version()}"
    assert next(iter(found)) == top
    assert all(name == top or name.startswith(f"{top}/") for name in found)
    assert {(each.uid, each.gid, each.uname, each.gname, each.mtime) for each in found.values()} == {
        (0, 0, "root", "root", 0)
    }
    modes = {each.mode for name, each in found.items() if each.isfile() and "/bin/" not in name}
    assert modes == {0o644}
    assert [name for name in found if "__pycache__" in name or name.endswith(".pyc")] == []


def test_two_builds_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    kinds = [AMD64, "agent-deb-amd64"]
    with Builder(own_version(), tmp_path / "again", lambda _: None).at_work() as builder:
        again = [file_digest(builder.build(PRODUCTS[kind])) for kind in kinds]
    assert again == [file_digest(package(kind)) for kind in kinds]


def test_the_manifest_names_every_file_with_its_hash(tree: Path) -> None:
    checked = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "MANIFEST"], cwd=tree, check=False)
    assert checked.returncode == 0
    lines = (tree / "MANIFEST").read_text(encoding="utf-8").splitlines()
    there = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file() and not path.is_symlink()}
    assert {line.split("  ", 1)[1] for line in lines} == there - {"MANIFEST"}


def test_the_agent_runs_wherever_it_is_put_and_however_it_is_called(tree: Path, tmp_path: Path) -> None:
    link = tmp_path / "second link"
    (tmp_path / "first").symlink_to(tree / "bin/edge-agent")
    link.symlink_to("first")
    said = run(link, "version")
    assert said.stdout.startswith(f"Skerry v{own_version()} edge-agent"), said.stderr
    assert run(link, "--help").stdout.startswith("Usage: edge-agent ")


def test_nothing_of_the_caller_s_python_is_taken(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "edge_agent.py").write_text("raise SystemExit('the wrong one')\n", encoding="ascii")
    said = run(tree / "bin/edge-agent", "version", PYTHONPATH=str(tmp_path), PYTHONHOME=str(tmp_path))
    assert said.returncode == 0, said.stderr


ASK = """
import importlib.metadata, sys
names = {each.metadata["Name"] for each in importlib.metadata.distributions()}
import asyncssh, cffi, cryptography.hazmat.bindings._rust, paho.mqtt.client, yaml, zstandard
assert zstandard.backend == "cext"
assert zstandard.decompress(zstandard.compress(b"x" * 1000)) == b"x" * 1000
outside = [path for path in sys.path if "packages" in path and not path.startswith(sys.argv[1])]
assert not outside, outside
print(importlib.metadata.version("skerry"), *sorted(names))
"""


def test_every_library_is_there_with_what_it_says_of_itself(tree: Path) -> None:
    said = run(tree / "bin/python3", "-P", "-c", ASK, tree)
    assert said.returncode == 0, said.stderr
    version, *names = said.stdout.split()
    assert version == own_version()
    assert {"asyncssh", "click", "cryptography", "paho-mqtt", "PyYAML", "skerry", "zstandard"} <= set(names)
    assert not {"Flask", "gunicorn", "tinydb", "pip"} & set(names)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(("kind", "machine"), [(AMD64, "x86_64"), (ARM64, "aarch64")])
def test_each_python_has_its_compiled_parts_for_the_machine(kind: str, machine: str, python: str) -> None:
    own = [name for name in members(kind) if f"/lib/python{python}/" in name and name.endswith(".so")]
    tag = f"cpython-{python.replace('.', '')}-{machine}-linux-gnu.so"
    assert {Path(name).name for name in own} == {f"_cffi_backend.{tag}", f"backend_c.{tag}"}


def test_the_arm_archive_holds_objects_for_arm_alone(tmp_path: Path) -> None:
    tree = unpacked(ARM64, tmp_path)
    objects = list(tree.rglob("*.so"))
    assert len(objects) == 7
    for path in objects:  # e_machine of elf(5): EM_AARCH64 is 183
        assert int.from_bytes(path.read_bytes()[18:20], "little") == 183, path
    assert (tree / "ARCH").read_text(encoding="ascii") == "arm64\n"


def test_every_library_s_licence_comes_with_it(tree: Path) -> None:
    for information in tree.rglob("*.dist-info"):
        assert list(information.glob("licenses/*")) or list(information.glob("LICEN[CS]E*")), information


def test_the_same_code_is_built_under_another_number(tmp_path: Path) -> None:
    tree = unpacked(AMD64, tmp_path, "9.9.9")
    assert (tree / "VERSION").read_text(encoding="ascii") == "9.9.9\n"
    assert run(tree / "bin/edge-agent", "version").stdout.startswith("Skerry v9.9.9 ")
    assert run(tree / "bin/python3", "-P", "-c", ASK, tree).stdout.startswith("9.9.9 ")


def test_without_a_python_the_command_says_what_to_install(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    (copy / "bin").mkdir(parents=True)
    shutil.copy2(tree / "bin/edge-agent", copy / "bin/edge-agent")
    (copy / "bin/python3").symlink_to("/nowhere/python3")
    said = run(copy / "bin/edge-agent", "version")
    assert said.returncode == 1
    assert said.stderr.count("\n") == 1
    assert "install python3" in said.stderr


def test_a_python_without_libraries_here_is_named(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree / "bin", copy / "bin", symlinks=True)
    shutil.copy2("/usr/bin/python3", tmp_path / "python3.98")
    (copy / "bin/python3").unlink()
    (copy / "bin/python3").symlink_to(tmp_path / "python3.98")
    said = run(copy / "bin/edge-agent", "version")
    assert (said.returncode, said.stderr.count("\n")) == (1, 1)
    assert "no libraries for python3.98" in said.stderr
