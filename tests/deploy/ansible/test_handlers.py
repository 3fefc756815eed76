"""What is put off until the end of the settings, played without systemd: its failures have to say why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

pytestmark = pytest.mark.timeout(300)
ROLE = ROOT / "deploy/ansible/roles/controller"
SYSTEMD = "    - name: Restart the controller\n      ansible.builtin.systemd_service:\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The role, with systemd's part of a restart being a program that fails, and settings that have changed."""
    tasks = tmp_path / "roles/controller/tasks"
    shutil.copytree(ROLE / "tasks", tasks)
    shutil.copytree(ROLE / "handlers", tasks.parent / "handlers")
    service = (tasks / "service.yml").read_text(encoding="utf-8")
    assert service.count(SYSTEMD) == 1
    put_off = service[service.index("- name: Do what has been put off") :]
    fails = put_off.replace(SYSTEMD, SYSTEMD.replace("systemd_service:", "command: 'false'\n      vars:"))
    (tasks / "service.yml").write_text(fails, encoding="utf-8")
    settings = {
        "name": "Write the settings",
        "ansible.builtin.command": "true",
        "changed_when": True,
        "notify": "Restart the controller",
    }
    service_tasks = {"ansible.builtin.import_tasks": "service.yml"}
    (tasks / "main.yml").write_text(json.dumps([settings, service_tasks]), encoding="utf-8")
    return tmp_path


def test_restart_that_fails_after_changed_settings_says_why(folder: Path) -> None:
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"controller_is_there": True, "ansible_python_interpreter": sys.executable},
        "roles": ["controller"],
    }
    (folder / "play.yml").write_text(json.dumps([play]), encoding="utf-8")  # JSON is YAML
    done = subprocess.run(
        [str(ROOT / ".venv-ansible/bin/ansible-playbook"), "-i", "localhost,", str(folder / "play.yml")],
        env={"HOME": str(folder), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode != 0
    assert "The controller does not start with what was changed (Restart the controller:" in done.stdout
    assert "What it said last: " in done.stdout
    assert "rescued=1" in done.stdout
