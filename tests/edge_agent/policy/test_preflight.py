from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.policy.preflight import Device, Installed, Room, Tree, describe_clock, judge_device, judge_installed

TREE = Tree("1.1", "amd64", ((3, 11), (3, 12)), 30 * 2**20)
DEVICE = Device(
    euid=0,
    system="Linux",
    machine="x86_64",
    bits=64,
    libc="glibc 2.36",
    python=(3, 11),
    has_systemd=True,
    rooms=(Room("/opt", 76 * 2**20, takes_tree=True), Room("/var/lib", 16 * 2**20, takes_tree=False)),
)
OTHER = "take the archive for this device, where there is one"
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def test_a_device_that_has_everything_can_take_the_tree() -> None:
    assert judge_device(DEVICE, TREE) is None
    assert judge_device(replace(DEVICE, machine="aarch64"), replace(TREE, architecture="arm64")) is None
    assert judge_device(replace(DEVICE, libc="glibc 2.28-10"), TREE) is None


def test_a_tree_of_the_device_s_own_making_is_for_its_machine_and_python() -> None:
    own = replace(TREE, architecture="", pythons=())
    assert judge_device(replace(DEVICE, machine="riscv64", libc="", bits=32, python=(3, 14)), own) is None


@pytest.mark.parametrize(
    ("device", "check", "reason"),
    [
        (replace(DEVICE, euid=1000), "P1", "this needs root: run it with sudo"),
        (replace(DEVICE, system="FreeBSD"), "P2", "this is FreeBSD, and the agent runs on Linux alone"),
        (replace(DEVICE, system=""), "P2", "this is an unknown system, and the agent runs on Linux alone"),
        (
            replace(DEVICE, machine="aarch64"),
            "P3",
            f"this version is made for amd64, and this device is arm64: {OTHER}",
        ),
        (
            replace(DEVICE, machine="armv7l"),
            "P3",
            f"this version is made for amd64, and this device is armv7l: {OTHER}",
        ),
        (
            replace(DEVICE, bits=32),
            "P3",
            f"the programs of this device are 32-bit (x86_64), and this version is made for amd64: {OTHER}",
        ),
        (
            replace(DEVICE, libc=""),
            "P4",
            "this system has no GNU C library, and this version needs glibc 2.28 or newer",
        ),
        (
            replace(DEVICE, libc="glibc 2.27"),
            "P4",
            "the C library of this system is glibc 2.27, and this version needs glibc 2.28 or newer",
        ),
        (
            replace(DEVICE, python=(3, 10)),
            "P5",
            "this version runs on Python 3.11, 3.12, and this device has 3.10: install one of those",
        ),
        (
            replace(DEVICE, python=(3, 14)),
            "P5",
            "this version runs on Python 3.11, 3.12, and this device has 3.14: take a newer version of the agent",
        ),
        (
            replace(DEVICE, has_systemd=False),
            "P6",
            "systemd does not run this device, and the agent is its service: start it by other means",
        ),
        (
            replace(DEVICE, rooms=(Room("/opt", 75 * 2**20, takes_tree=True),)),
            "P7",
            "there is too little space on the disk: /opt has 75 MiB free, and this takes 76 MiB",
        ),
        (
            replace(DEVICE, rooms=(Room("/opt", 2**30, takes_tree=True), Room("/var/lib", 0, takes_tree=False))),
            "P7",
            "there is too little space on the disk: /var/lib has 0 B free, and this takes 16 MiB",
        ),
    ],
)
def test_whatever_is_missing_is_one_line_that_says_so(device: Device, check: str, reason: str) -> None:
    refused = judge_device(device, TREE)
    assert refused
    assert (refused.check, refused.reason) == (check, reason)


def test_the_same_version_of_the_same_kind_may_be_installed_again() -> None:
    assert judge_installed(None, TREE, "tree") is None
    assert judge_installed(Installed("tree", "1.1"), TREE, "tree") is None
    assert judge_installed(Installed("package", "1.1"), TREE, "package") is None


def test_another_version_is_for_an_upgrade_and_another_kind_for_its_own_tools() -> None:
    other = judge_installed(Installed("tree", "1.0"), TREE, "tree")
    assert other
    assert "version 1.0 is installed: upgrade it with `edge-agent upgrade`" in other.reason
    package = judge_installed(Installed("package", "1.1"), TREE, "tree")
    assert package
    assert "is installed from the Debian package skerry-agent" in package.reason
    assert "edge-agent install --controller HOST:3080 --token TOKEN --ca-pin sha256:PIN" in package.reason
    tree = judge_installed(Installed("tree", "1.1"), TREE, "package")
    assert tree
    assert "is installed from an archive" in tree.reason


@pytest.mark.parametrize("off", [timedelta(0), timedelta(hours=23), -timedelta(hours=23)])
def test_a_clock_that_is_right_is_not_spoken_of(off: timedelta) -> None:
    assert describe_clock(NOW + off, NOW) is None


@pytest.mark.parametrize(
    ("clock", "says"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), "it is 56 years behind;"),
        (datetime(2040, 11, 22, tzinfo=UTC), "it is 14 years ahead;"),
        (NOW - timedelta(days=1), "it is 1 day behind;"),
        (NOW + timedelta(days=30), "it is 30 days ahead;"),
    ],
)
def test_a_clock_that_is_far_off_is_told_with_both_times(clock: datetime, says: str) -> None:
    told = describe_clock(clock, NOW)
    assert told
    assert f"this device's clock says {clock:%Y-%m-%d %H:%M}, and the controller's 2026-11-22 10:00 UTC: {says}" in told
