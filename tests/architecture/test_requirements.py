"""What is installed from elsewhere is known by its hash, wherever something of ours installs it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.architecture.source import ROOT, tracked

LOCKED = sorted((ROOT / "requirements").glob("*.txt"))
HASHED = re.compile(r"^\S+==\S+( ; [^\\]+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", re.MULTILINE)
NAMED = re.compile(r"^[A-Za-z0-9].*", re.MULTILINE)
# Between pip and its verb there may be options, each with a value or none.
BETWEEN = r"[\"',\s]+"
ASKS_PIP = re.compile(
    rf"\bpip3?\b{BETWEEN}(?:-[^\s\"',]+{BETWEEN}(?:(?!install|download|wheel)[^\s\"',-][^\s\"',]*{BETWEEN})?)*"
    r"(?:install|download|wheel)\b([^`;|&#]*)"
)
BY_A_LOCK = re.compile(r"(?:-r|--requirement) requirements/\w+\.txt")
WITH_VALUE = {
    "-w",
    "--wheel-dir",
    "-d",
    "--dest",
    "-f",
    "--find-links",
    "--python-version",
    "--platform",
    "-i",
    "--index-url",
}
# Where something of ours calls pip: people's own commands are in the documents, which say the same.
CALLERS = (
    "Makefile",
    "scripts",
    "deploy/debian",
    "deploy/systemd",
    "deploy/ansible/README.md",
    ".ci",
    "README.md",
    "docs",
    "controller",
    "edge_agent",
    "tests/harness",
)


def calls() -> Iterator[tuple[str, str]]:
    """Yield what follows pip's verb wherever it is called, by file and line; a line that goes on is one."""
    for path in tracked():
        if not any(path.is_relative_to(top) for top in CALLERS) or path.parts[:2] == ("scripts", "samples"):
            continue
        try:
            text = (ROOT / path).read_text(encoding="utf-8").replace("\\\n", " ")
        except UnicodeDecodeError:
            continue
        for name, value in re.findall(r"^(PIP\w*) := (.*)$", text, re.MULTILINE):  # in a Makefile: pip by another name
            text = text.replace(f"{name} := {value}", "").replace(f"$({name})", value)
        for number, line in enumerate(text.splitlines()):
            for asked in ASKS_PIP.finditer(line):
                yield f"{path}:{number + 1}", asked[1]


def is_known(call: str) -> bool:
    """Tell whether pip, asked so, installs only what it knows by a hash, or what lies there already."""
    words = [word for word in re.split(r"[\s\"',\[\]()]+", call) if word]
    if "--require-hashes" in words or BY_A_LOCK.search(call):  # one hash in a lock has pip demand them for all
        return True
    named = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if not word.startswith("-") and before not in WITH_VALUE
    ]
    # A wheel of our own brings nothing along.
    return "--no-deps" in words and ("--no-index" in words or (bool(named) and all(map(is_local, named))))


def is_local(word: str) -> bool:
    return "://" not in word and (word.startswith((".", "/")) or word.endswith(".whl"))


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("pip install x", False),
        ("python -m pip --quiet install x", False),
        ("pip3 --disable-pip-version-check --proxy http://h:1 install x", False),
        ('[sys.executable, "-m", "pip", "--quiet", "install", "x"]', False),
        ("pip install --no-deps x", False),
        ("pip install --no-deps ./x.whl y", False),
        ("pip install --no-deps https://host/x.whl", False),
        ("pip install --no-deps -f dist x", False),
        ("pip download x; pip install --no-deps --no-index x", False),
        ("pip install -r other.txt", False),
        ("pip install x # --require-hashes", False),
        ("pip install --no-deps --no-index x", True),
        ("pip install --quiet --no-deps dist/skerry-*.whl", True),
        ("pip wheel --no-deps --wheel-dir dist .", True),
        ("pip --quiet install --require-hashes -r x.txt", True),
        ("pip install -r requirements/tsh.txt", True),
    ],
)
def test_a_call_of_pip_is_found_and_judged(line: str, *, known: bool) -> None:
    asked = [found[1] for found in ASKS_PIP.finditer(line)]
    assert asked
    assert all(map(is_known, asked)) == known


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.name)
def test_every_requirement_is_one_version_with_its_hashes(path: object) -> None:
    text = (ROOT / "requirements" / str(path)).read_text(encoding="utf-8")
    assert len(HASHED.findall(text)) == len(NAMED.findall(text)) > 0


def test_whoever_calls_pip_has_it_check_hashes_or_fetch_nothing() -> None:
    found = list(calls())
    assert len(found) > 6
    assert [where for where, call in found if not is_known(call)] == []


def test_ansible_s_pip_does_so_too() -> None:
    found = [
        (path, str(task))
        for path in tracked()
        if path.is_relative_to("deploy/ansible/roles") and path.parent.name == "tasks"
        for task in tasks_in(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")))
    ]
    asking = [(path, task) for path, task in found if re.search(r"builtin\.pip\b|\w_pip \+|'pip', 'install'", task)]
    assert len(asking) > 1
    fine = re.compile(r"--require-hashes|--no-deps\W+--no-index")
    assert [(path, task) for path, task in asking if not fine.search(task)] == []


def tasks_in(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield every task, those of blocks one by one."""
    parts = ("block", "rescue", "always")
    for item in items:
        inner = [item[part] for part in parts if part in item]
        yield {name: value for name, value in item.items() if name not in {*parts, "vars"}}
        for each in inner:
            yield from tasks_in(each)


def test_what_npm_fetches_has_a_hash_each() -> None:
    locks = [path for path in tracked() if path.name == "package-lock.json"]
    assert locks
    for path in locks:
        packages = json.loads((ROOT / path).read_text(encoding="utf-8"))["packages"]
        fetched = {name: each for name, each in packages.items() if name and not each.get("link")}
        assert fetched
        assert [name for name, each in fetched.items() if not each.get("integrity", "").startswith("sha512-")] == []
