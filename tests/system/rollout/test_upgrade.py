"""Upgrades through the tunnel that they cut: a version that is no good is taken back, and the way in is never lost."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.harness.device_bed.bed import Bed
from tests.harness.device_bed.device import Device
from tests.harness.device_bed.fleet import Fleet
from tests.harness.device_bed.versions import DOES_NOT_START, NEVER_ONLINE, agent_archive
from tests.harness.running_program import BIN

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(900)]
NAMES = ("edge-1", "edge-2", "edge-3")
GOOD, BAD, SILENT = "7.1.0", "7.2.0", "7.3.0"


@pytest.fixture(scope="module")
def devices(device_bed: Bed, fleet: Fleet) -> list[Device]:
    """Three, which have joined."""
    made = [device_bed.device(name) for name in NAMES]
    device_bed.boot(*made)
    for device in made:
        fleet.join(device)
    for name in NAMES:
        fleet.await_online(name)
    return made


def carry(fleet: Fleet, archive: Path, name: str) -> str:
    """Bring a file to a device through its tunnel; return where it lies there."""
    place = f"/var/tmp/{archive.name}"
    command = [*fleet.office, str(BIN / "tsh"), "ssh", f"root@{name}", f"cat >{place}"]
    with archive.open("rb") as file:
        subprocess.run(command, stdin=file, env=fleet.alice.environment, check=True, timeout=120)
    return place


def ask_for_upgrade(fleet: Fleet, archive: Path, name: str, *options: str) -> None:
    """Ask for it as a person does who sits on the branch; the session ends before the upgrade does."""
    place = carry(fleet, archive, name)
    fleet.ssh(f"root@{name}", f"edge-agent upgrade --detach --drain=5s {' '.join(options)} {place}", timeout=120)


def await_end(fleet: Fleet, device: Device) -> dict[str, object]:
    """Wait until a device's upgrade is over, and return how it ended."""
    script = "until ! systemctl is-active --quiet skerry-agent-upgrade; do sleep 0.3; done"
    device.shell(script, timeout=300)
    fleet.await_online(device.name)
    told: dict[str, object] = json.loads(fleet.ssh(f"root@{device.name}", "edge-agent upgrade --status --format=json"))
    return told


def versions(fleet: Fleet) -> list[str]:
    """Return the version that answers on each device, asked by each one's own tunnel."""
    told = [fleet.ssh(f"root@{name}", "edge-agent version") for name in NAMES]
    return [found[1] for line in told if (found := re.search(r"v(\d+\.\d+\.\d+)", line))]


def test_devices_behind_nat_are_upgraded_through_their_own_tunnels(
    fleet: Fleet, devices: list[Device], tmp_path: Path
) -> None:
    archive = agent_archive(GOOD, tmp_path)
    for name in NAMES:
        ask_for_upgrade(fleet, archive, name)
    for name in NAMES:
        fleet.await_online(name, GOOD)
    ends = [await_end(fleet, device) for device in devices]
    assert [(end["state"], end["to"]) for end in ends] == [("done", GOOD)] * 3
    assert versions(fleet) == [GOOD] * 3


def test_versions_that_are_no_good_are_rolled_back_and_all_devices_stay_reachable(
    fleet: Fleet, devices: list[Device], tmp_path: Path
) -> None:
    for name in NAMES:
        fleet.await_online(name)
    before = versions(fleet)
    crashing = agent_archive(BAD, tmp_path, DOES_NOT_START)
    silent = agent_archive(SILENT, tmp_path, NEVER_ONLINE)
    ask_for_upgrade(fleet, crashing, "edge-1", "--wait=20s")
    ask_for_upgrade(fleet, silent, "edge-2", "--wait=20s")
    ask_for_upgrade(fleet, silent, "edge-3", "--wait=2m")
    # The power fails while the new version runs, which is never going to be online.
    devices[2].shell(f'until [ "$(readlink /opt/skerry/agent/current)" = {SILENT} ]; do sleep 0.1; done', timeout=120)
    devices[2].cut_power()
    devices[2].boot()
    ends = [await_end(fleet, device) for device in devices]
    assert [end["state"] for end in ends] == ["rolled_back"] * 3, ends
    assert all(end["reason"] for end in ends)
    assert versions(fleet) == before
    for name in NAMES:
        assert fleet.ssh(f"root@{name}", "hostname") == f"{name}\n"


def test_file_that_is_damaged_or_meant_for_others_changes_nothing(
    fleet: Fleet, devices: list[Device], tmp_path: Path
) -> None:
    archive = agent_archive("7.4.0", tmp_path)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    fleet.await_online("edge-1")
    before = devices[0].unit("skerry-agent", "MainPID")
    place = carry(fleet, archive, "edge-1")
    done = fleet.tsh("ssh", "root@edge-1", f"edge-agent upgrade {place}", timeout=120)
    assert done.returncode == 1, done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert devices[0].unit("skerry-agent", "MainPID") == before
    assert fleet.ssh("root@edge-1", "ls /opt/skerry/agent | grep -c 7.4.0 || true").strip() == "0"
