from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edge_agent.policy.layout import Layout
from edge_agent.policy.preflight import Installed
from edge_agent.rollout.facts import find_installed, read_device
from tests.harness.made_tree import ROOT, make_tree


def test_this_machine_is_known(tmp_path: Path) -> None:
    device = read_device(Layout(str(tmp_path)), trees=[str(tmp_path / "not/there/yet")])
    assert (device.euid, device.system, device.bits) == (os.geteuid(), "Linux", 64)
    assert device.libc.startswith("glibc 2.")
    assert device.python == sys.version_info[:2]
    assert not device.has_systemd
    (room,) = device.rooms
    assert room.free > 0


def test_what_is_half_installed_is_not_installed(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    assert find_installed(layout) is None
    Path(layout.trees).mkdir(parents=True)
    Path(layout.current).symlink_to("1.0")
    assert find_installed(layout) is None
    make_tree(Path(layout.tree("1.0")), "1.0")
    assert find_installed(layout) == Installed("tree", "1.0")
    make_tree(Path(layout.package_tree), "1.1")
    assert find_installed(layout) == Installed("package", "1.1")


def test_the_session_that_is_asked_from_is_known_also_behind_sudo() -> None:
    code = "from edge_agent.rollout.facts import own_session; print(own_session())"
    inner = f"env -u SSH_SESSION_ID PYTHONPATH={ROOT} {sys.executable} -c '{code}'; true"
    command = ["sh", "-c", inner]
    environment = {name: value for name, value in os.environ.items() if name != "SSH_SESSION_ID"}
    within = subprocess.check_output(command, env=environment | {"SSH_SESSION_ID": "theirs"}, text=True, timeout=60)
    assert within == "theirs\n"
    assert subprocess.check_output(command, env=environment, text=True, timeout=60) == "\n"
