"""A version that pip makes ready beside others: whatever fails, those that are there stay as they are."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

pytestmark = pytest.mark.timeout(500)
TASKS = ROOT / "deploy/ansible/roles/edge_agent/tasks/prepare_pip.yml"
UNIT = ROOT / "deploy/systemd/skerry-agent.service"
PROGRAM = 'def main():\n    import sys\n    print("Skerry v9 edge-agent", sys.prefix)\n'


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Make one that pip takes."""
    about = f"{name}-{version}.dist-info"
    held = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    held[f"{about}/entry_points.txt"] = "[console_scripts]\nedge-agent = skerry_program:main\n" if files else ""
    held[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in [*held, f"{about}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in held.items():
            archive.writestr(inner, text)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What Ansible's host has: the agent's wheel, that of what it needs, and its hash."""
    for place in ("cache", "wheels", "trees"):
        (tmp_path / place).mkdir()
    wheel(tmp_path / "cache", "skerry", "9", {"skerry_program.py": PROGRAM})
    digest = hashlib.sha256(wheel(tmp_path / "wheels", "needed", "1", {}).read_bytes()).hexdigest()
    (tmp_path / "requirements.txt").write_text(f"needed==1 --hash=sha256:{digest}\n")
    return tmp_path


def prepare(folder: Path) -> subprocess.CompletedProcess[str]:
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "edge_agent_version": "9",
            "edge_agent_trees": str(folder / "trees"),
            "edge_agent_cache": str(folder / "cache"),
            "edge_agent_file": str(folder / "cache/skerry-9-py3-none-any.whl"),
            "edge_agent_requirements": str(folder / "requirements.txt"),
            "edge_agent_wheels": str(folder / "wheels"),
            "edge_agent_unit": str(UNIT),
            "edge_agent_python": sys.executable,
            "ansible_python_interpreter": sys.executable,
        },
        "tasks": [{"ansible.builtin.import_tasks": str(TASKS)}],
    }
    book = folder / "play.yml"
    book.write_text(json.dumps([play]), encoding="utf-8")  # JSON is YAML
    return subprocess.run(
        [str(ROOT / ".venv-ansible/bin/ansible-playbook"), "-i", "localhost,", str(book)],
        env={"HOME": str(folder), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def put_tree(folder: Path, program: str) -> Path:
    """Have the version be there already, and run."""
    tree = folder / "trees/9"
    (tree / "systemd").mkdir(parents=True)
    (tree / "bin").mkdir()
    (tree / "systemd/skerry-agent.service").write_text("as it was")
    (tree / "bin/edge-agent").write_text(program)
    (tree / "bin/edge-agent").chmod(0o755)
    (folder / "trees/current").symlink_to("9")
    return tree


def content(tree: Path) -> dict[str, str]:
    return {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*") if path.is_file()}


def ask(tree: Path) -> str:
    return subprocess.run([tree / "bin/edge-agent"], capture_output=True, text=True, check=True).stdout


def test_what_pip_could_not_do_leaves_the_version_that_runs_as_it_is(folder: Path) -> None:
    tree = put_tree(folder, "#!/bin/sh\nexit 1\n")
    before = content(tree)
    (folder / "requirements.txt").write_text(f"needed==1 --hash=sha256:{'0' * 64}\n")
    done = prepare(folder)
    assert done.returncode != 0
    assert "could not be made ready by pip" in done.stdout
    assert content(folder / "trees/current") == before
    assert sorted(path.name for path in (folder / "trees").iterdir()) == ["9", "current"]


@pytest.mark.parametrize("is_there", [False, True])
def test_version_that_is_not_whole_or_not_there_becomes_one_that_runs_where_it_lies(
    folder: Path, *, is_there: bool
) -> None:
    tree = put_tree(folder, "#!/bin/sh\nexit 1\n") if is_there else folder / "trees/9"
    done = prepare(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ask(tree) == f"Skerry v9 edge-agent {tree}\n"
    assert (tree / "systemd/skerry-agent.service").read_bytes() == UNIT.read_bytes()
    assert {path.name for path in (folder / "trees").iterdir()} <= {"9", "current"}
    programs = [path for path in (tree / "bin").iterdir() if path.is_file() and not path.is_symlink()]
    assert [path for path in programs if b"trees/." in path.read_bytes()] == []


def test_version_that_is_whole_is_taken_as_it_is(folder: Path) -> None:
    tree = put_tree(folder, "#!/bin/sh\necho 'Skerry v9 edge-agent here'\n")
    before = content(tree)
    done = prepare(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert content(tree) == before
