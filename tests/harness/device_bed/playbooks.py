"""Ansible in the office: the collection as it is installed, an inventory, and SSH to every host and device."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.harness.device_bed.device import Device
from tests.harness.device_bed.fleet import Fleet

ROOT = Path(__file__).resolve().parents[3]
LIMIT = 600.0
EXAMPLE = ROOT / "deploy/ansible/inventories/example/group_vars/all.yml"


class Playbooks:
    """Made with the collection installed; hosts are made known by `know`, variables given to all by `inventory`."""

    def __init__(self, fleet: Fleet) -> None:
        self.folder = fleet.bed.folder / "playbooks"
        self.dist = self.folder / "dist"
        self.dist.mkdir(parents=True)
        self._fleet = fleet
        self._keys = fleet.alice.home / ".ssh"
        self._keys.mkdir(mode=0o700)
        shutil.copy(fleet.bed.key, self._keys / "id_ed25519")
        done = self._type(f"ansible-galaxy collection install {ROOT / 'deploy/ansible'}")
        assert done.returncode == 0, done.stdout + done.stderr

    def know(self, device: Device, name: str) -> None:
        """Have the admin know a host by its key."""
        key = device.run("cat", "/etc/ssh/ssh_host_ed25519_key.pub").stdout
        with (self._keys / "known_hosts").open("a", encoding="ascii") as known:
            known.write(f"{name} {key}")

    def inventory(self, controller: Mapping[str, Any], devices: Mapping[str, Mapping[str, Any]]) -> None:
        """Write it: the variables of the controller's host, and the devices with theirs."""
        example = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
        own = {name: value for name, value in example.items() if name.startswith("ansible_")}
        groups: dict[str, Any] = {
            "all": {"vars": {**own, "skerry_dist": str(self.dist)}},
            "skerry_controller": {"hosts": {"skerry.example.com": dict(controller)}},
            "skerry_devices": {"hosts": {name: dict(given) for name, given in devices.items()}},
            "skerry_to_upgrade": {},
            "skerry_to_configure": {},
        }
        (self.folder / "hosts.yml").write_text(json.dumps(groups), encoding="utf-8")  # JSON is YAML

    def play(self, name: str, *options: str, **variables: object) -> str:
        """Run a playbook that must succeed, and return what it prints."""
        done = self.try_(name, *options, **variables)
        assert done.returncode == 0, f"{name}: {done.stdout[-6000:]}{done.stderr[-3000:]}"
        return done.stdout

    def refuse(self, name: str, *options: str, **variables: object) -> str:
        """Run a playbook that must fail, and return what it prints, with the spaces of one line."""
        done = self.try_(name, *options, **variables)
        assert done.returncode != 0, f"{name} was to fail: {done.stdout[-6000:]}"
        return " ".join(done.stdout.split())

    def try_(self, name: str, *options: str, **variables: object) -> subprocess.CompletedProcess[str]:
        given = shlex.quote(json.dumps(variables))
        return self._type(f"ansible-playbook -i hosts.yml skerry.edge.{name} -e {given} {shlex.join(options)}")

    def _type(self, command: str) -> subprocess.CompletedProcess[str]:
        environment = self._fleet.alice.environment | {
            "PATH": f"{ROOT / '.venv/bin'}:{ROOT / '.venv-ansible/bin'}:{os.environ['PATH']}",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_EXTRA_ARGS": "-o UpdateHostKeys=no",  # known hosts are those that `know` wrote
            "PYTHONWARNINGS": "ignore",
        }
        return subprocess.run(
            [*self._fleet.bed.in_office_as(self._fleet.alice.home), "bash", "-c", command],
            capture_output=True, text=True, cwd=self.folder, env=environment, timeout=LIMIT, check=False,
        )  # fmt: skip
