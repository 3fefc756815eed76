"""The bed itself: however a test run ends, no mount, namespace, control group or process of its devices is left."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.device_bed.bed import Bed, sweep
from tests.harness.device_bed.binfmt import MUTEX, USERS, emulation, registered
from tests.harness.device_bed.image import cache, image
from tests.harness.running_program import RunningProgram, await_pid_end, clean_environment

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[3]
RUN = """
import signal, sys
from tests.harness.device_bed.bed import bed
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
with bed() as made:
    device = made.device("edge-1").boot()
    print("up", device.run("cat", "/proc/1/comm").stdout.strip(), flush=True)
    signal.pause()
"""


def processes(mark: str) -> list[int]:
    """Return the processes that have it in their control groups, or on their command line.

    (Those that have ended and wait for the machine's own init to take note of it are none.)
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            told = command + (folder / "cgroup").read_bytes() if command else b""
        except (FileNotFoundError, ProcessLookupError):
            continue
        if mark.encode() in told and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def mounts(mark: str) -> list[str]:
    """Return the mounts called so that any process sees: a device's disk is mounted in a namespace of its own."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            found |= {line for line in path.read_text(encoding="utf-8").splitlines() if f" {mark}" in line}
        except OSError:  # it ended while it was looked at
            continue
    return sorted(found)


def left(mark: str) -> dict[str, object]:
    """Return all that is there of a bed, whose parts have `mark` in their names."""
    return {
        "namespaces": [path.name for path in Path("/run/netns").glob(f"{mark}*")],
        "groups": [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{mark}*")],
        "processes": processes(mark),
        "folders": [str(path) for path in Path("/tmp").glob(f"{mark}*")],
        "mounts": mounts(mark),
    }


NOTHING: dict[str, object] = {"namespaces": [], "groups": [], "processes": [], "folders": [], "mounts": []}


@pytest.fixture
def run() -> Iterator[RunningProgram]:
    """A program with a bed and a device in it."""
    image()
    environment = clean_environment(PYTHONPATH=str(ROOT)) | {"SKERRY_TEST_CACHE": str(cache())}
    program = RunningProgram("a bed", [sys.executable, "-c", RUN], environment)
    try:
        program.await_line("^up systemd$", timeout=300)
        yield program
    finally:
        program.stop(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_bed_that_is_interrupted_leaves_nothing(run: RunningProgram, number: signal.Signals) -> None:
    mark = f"skerry-bed-{run.pid}-"
    assert left(mark)["namespaces"]
    assert left(mark)["processes"]
    assert left(mark)["mounts"]
    run.send(number)
    run.await_end(60)
    assert left(mark) == NOTHING


def test_bed_that_is_killed_is_taken_away_by_the_next_one(run: RunningProgram) -> None:
    mark = f"skerry-bed-{run.pid}-"
    there = processes(mark)
    run.kill()
    for pid in there:
        await_pid_end(pid, 120)
    sweep()
    assert left(mark) == NOTHING


def test_devices_lose_nothing_they_synced_when_their_power_is_cut(device_bed: Bed) -> None:
    device = device_bed.device("edge-1").boot()
    before = device.run("cat", "/proc/sys/kernel/random/boot_id").stdout
    device.shell("echo kept >/var/note && sync")
    device.cut_power()
    device.boot()
    assert device.shell("cat /var/note").stdout == "kept\n"
    assert device.boots == 2, before


def test_device_dials_out_and_nobody_dials_in(device_bed: Bed) -> None:
    host, device = device_bed.host(), device_bed.device("edge-2")
    device_bed.boot(host, device)
    assert device.place.space.can_reach(host.address, 22)
    assert not host.place.space.can_reach(device.address, 22)
    site = device_bed.sites["edge-2"]
    assert not device_bed.office.can_reach(device.address, 22)
    site.plug_in(device_bed.office)
    assert device_bed.office.can_reach(device.address, 22)
    site.pull_out(device_bed.office)
    assert not device_bed.office.can_reach(device.address, 22)


def test_emulation_is_withdrawn_by_the_last_who_needs_it() -> None:
    with emulation("arm64"):
        with emulation("arm64"):
            assert registered()
        assert registered()
    with MUTEX.open("w") as mutex, USERS.open("w") as users:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            assert registered(), "another test run needs it still"
        else:
            assert "skerry-tests" not in registered()
