"""Whether a device can take a version of the agent: numbered checks of facts, each refusal one line with its mend.

P1  whoever asks is root
P2  it runs Linux
P3  the tree is made for this machine
P4  the C library is glibc, new enough for the libraries in the tree
P5  the tree has libraries for this Python
P6  systemd runs the device
P7  there is room, for the tree and for what it is to keep
P8  what is installed already does not stand in the way
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_agent.policy.layout import Kind
from protocol import limits
from protocol.decision import Refused
from protocol.sizes import format_size

Python = tuple[int, int]
# The kernel's names of machines, and the archives' (Debian's).
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
GLIBC = (2, 28)
# Byte code, and what the file system adds to many small files.
_GROWTH = 2
_SPARE = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Tree:
    """What is to be installed.

    Attributes:
        architecture: Debian's name for the machine; empty for any.
        pythons: the Pythons that it has libraries for; none where it brings its own choice along.
        size: its files, in bytes.
    """

    version: str
    architecture: str
    pythons: tuple[Python, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Room:
    """A place where something is to be written.

    Attributes:
        free: bytes that are free there.
        takes_tree: whether the tree is to lie there, and not only what the agent keeps.
    """

    place: str
    free: int
    takes_tree: bool


@dataclass(frozen=True, slots=True)
class Device:
    """What it is to be installed on.

    Attributes:
        euid: who asks.
        system, machine: as uname(2) has them.
        bits: of the programs here, which a 64-bit kernel may run with 32.
        libc: the C library's version, ``glibc 2.36``; empty where it is another.
        python: the Python that would run it.
        has_systemd: whether systemd runs the device.
        rooms: where something is to be written.
    """

    euid: int
    system: str
    machine: str
    bits: int
    libc: str
    python: Python
    has_systemd: bool
    rooms: tuple[Room, ...]


@dataclass(frozen=True, slots=True)
class Installed:
    """What is installed already."""

    kind: Kind
    version: str


def judge_device(device: Device, tree: Tree) -> Refused | None:
    """Return why the device cannot take the tree; None where it can (P1-P7)."""
    checks = (_judge_asker, _judge_machine, _judge_libc, _judge_python, _judge_systemd, _judge_room)
    return next((refused for check in checks if (refused := check(device, tree))), None)


def _judge_asker(device: Device, _: Tree) -> Refused | None:
    if device.euid != 0:
        return Refused("this needs root: run it with sudo", "P1")
    if device.system != "Linux":
        return Refused(f"this is {device.system or 'an unknown system'}, and the agent runs on Linux alone", "P2")
    return None


def _judge_machine(device: Device, tree: Tree) -> Refused | None:
    if not tree.architecture:
        return None
    has = ARCHITECTURES.get(device.machine)
    if device.bits != 64:
        return Refused(
            f"the programs of this device are {device.bits}-bit ({device.machine}), and this version is made for "
            f"{tree.architecture}: take the archive for this device, where there is one",
            "P3",
        )
    if has != tree.architecture:
        return Refused(
            f"this version is made for {tree.architecture}, and this device is {has or device.machine or 'unknown'}: "
            "take the archive for this device, where there is one",
            "P3",
        )
    return None


def _judge_libc(device: Device, tree: Tree) -> Refused | None:
    if not tree.architecture:
        return None
    needed = "glibc {}.{}".format(*GLIBC)
    found = re.fullmatch(r"glibc (\d{1,4})\.(\d{1,4}).*", device.libc, re.ASCII)
    if found is None:
        return Refused(f"this system has no GNU C library, and this version needs {needed} or newer", "P4")
    if (int(found[1]), int(found[2])) < GLIBC:
        return Refused(f"the C library of this system is {device.libc}, and this version needs {needed} or newer", "P4")
    return None


def _judge_python(device: Device, tree: Tree) -> Refused | None:
    if not tree.pythons or device.python in tree.pythons:
        return None
    made_for = ", ".join("{}.{}".format(*python) for python in sorted(tree.pythons))
    has = "{}.{}".format(*device.python)
    mend = "take a newer version of the agent" if device.python > max(tree.pythons) else "install one of those"
    return Refused(f"this version runs on Python {made_for}, and this device has {has}: {mend}", "P5")


def _judge_systemd(device: Device, _: Tree) -> Refused | None:
    if device.has_systemd:
        return None
    return Refused("systemd does not run this device, and the agent is its service: start it by other means", "P6")


def _judge_room(device: Device, tree: Tree) -> Refused | None:
    for room in device.rooms:
        needed = _SPARE + (tree.size * _GROWTH if room.takes_tree else 0)
        if room.free < needed:
            return Refused(
                f"there is too little space on the disk: {room.place} has {format_size(room.free)} free, and this "
                f"takes {format_size(needed)}",
                "P7",
            )
    return None


def judge_installed(installed: Installed | None, tree: Tree, kind: Kind) -> Refused | None:
    """Return why what is installed stands in the way of installing the tree; None where it does not (P8)."""
    if installed is None or (installed.kind == kind and installed.version == tree.version):
        return None
    if installed.kind != kind:
        came = {"package": "the Debian package skerry-agent", "tree": "an archive"}
        return Refused(
            f"version {installed.version} is installed from {came[installed.kind]}. To join with that one: edge-agent "
            "install --controller HOST:3080 --token TOKEN --ca-pin sha256:PIN. Else upgrade it by one of that kind, or "
            "remove it first (edge-agent remove keeps who this device is)",
            "P8",
        )
    return Refused(
        f"version {installed.version} is installed: upgrade it with `edge-agent upgrade` and this archive", "P8"
    )


def describe_clock(device: datetime, there: datetime) -> str | None:
    """Return the warning of a clock that is far off the controller's; None where it is not."""
    off = abs(device - there)
    if off < limits.CLOCK_FAR:
        return None
    way = "behind" if device < there else "ahead"
    return (
        f"this device's clock says {device:%Y-%m-%d %H:%M}, and the controller's {there:%Y-%m-%d %H:%M} UTC: it is "
        f"{_span(off)} {way}; the agent goes by the controller's clock, other programs here do not"
    )


def _span(span: timedelta) -> str:
    days = span.days
    return f"{days // 365} years" if days >= 2 * 365 else f"{days} day{'' if days == 1 else 's'}"
