"""Data put back by root, in a directory of the controller's own user: whoever took that user over must gain nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.architecture.source import ROOT

pytestmark = pytest.mark.timeout(500)
PUT_BACK = ROOT / "deploy/ansible/roles/controller/tasks/put_back.yml"
SERVICE_USER = 65534


def steps() -> list[dict[str, Any]]:
    """Return the role's own tasks that move the data, as they stand there."""
    (block,) = yaml.safe_load(PUT_BACK.read_text(encoding="utf-8"))
    names = [task["name"] for task in block["block"]]
    first, last = names.index("Put the old package back"), names.index("Have it take the place of the new version's")
    return list(block["block"][first + 1 : last + 1])


def put_back(folder: Path) -> subprocess.CompletedProcess[str]:
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "controller_data_dir": str(folder / "data"),
            "controller_kept": str(folder / "kept.tar"),
            "ansible_python_interpreter": sys.executable,
        },
        "tasks": steps(),
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A new version's data, the data of before in an archive, and what is somebody else's."""
    for place in ("data/store", "data/recordings", "before/store", "elsewhere"):
        (tmp_path / place).mkdir(parents=True, mode=0o700)
    (tmp_path / "data/store/cluster.json").write_text("new")
    (tmp_path / "data/recordings/one.skr").write_text("recorded")
    (tmp_path / "before/store/cluster.json").write_text("old")
    (tmp_path / "before/evil.service").write_text("[Service]\nExecStart=anything")
    with tarfile.open(tmp_path / "kept.tar", "w") as tar:
        tar.add(tmp_path / "before", ".")
    (tmp_path / "elsewhere").chmod(0o755)
    (tmp_path / "elsewhere/theirs").write_text("theirs")
    for path in (tmp_path / "data", *(tmp_path / "data").rglob("*")):
        os.chown(path, SERVICE_USER, SERVICE_USER)
    return tmp_path


def is_back(folder: Path) -> bool:
    data = folder / "data"
    return (
        (data / "store/cluster.json").read_text() == "old"
        and (data / "recordings/one.skr").read_text() == "recorded"
        and sorted(path.name for path in data.iterdir()) == ["evil.service", "recordings", "store"]
    )


def test_the_data_of_before_takes_the_place_of_the_new_and_recordings_stay(folder: Path) -> None:
    done = put_back(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_back(folder)


@pytest.mark.parametrize("name", [".put-back", ".set-aside"])
def test_a_link_that_lies_in_wait_leads_root_nowhere(folder: Path, name: str) -> None:
    (folder / "data" / name).symlink_to(folder / "elsewhere")
    done = put_back(folder)
    assert sorted(path.name for path in (folder / "elsewhere").iterdir()) == ["theirs"]
    assert (folder / "elsewhere").stat().st_mode & 0o777 == 0o755
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_back(folder)


def test_what_a_run_that_was_cut_off_left_is_not_mixed_with_what_is_put_back(folder: Path) -> None:
    (folder / "data/.put-back").mkdir()
    (folder / "data/.put-back/store").symlink_to(folder / "elsewhere")
    (folder / "data/.put-back/half").write_text("half")
    done = put_back(folder)
    assert sorted(path.name for path in (folder / "elsewhere").iterdir()) == ["theirs"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_back(folder)
