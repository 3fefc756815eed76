"""What a doctor looks at on the device itself. Nothing is changed, and nothing waits for long."""

from __future__ import annotations

import os
import platform
import stat
from contextlib import suppress
from pathlib import Path

from edge_agent.identity import HOST_KEY, TLS_KEY
from edge_agent.policy.checkup_facts import (
    AgentFacts,
    DirectoryFacts,
    DiskFacts,
    ServiceFacts,
    SpoolFacts,
    UpgradeFacts,
    VersionFacts,
)
from edge_agent.policy.layout import UNIT, UPGRADE_UNIT, Layout
from edge_agent.policy.status import describe
from edge_agent.rollout.debian import INSTALLED, read_database
from edge_agent.rollout.facts import find_installed
from edge_agent.rollout.fault import RolloutError
from edge_agent.rollout.record import read_record
from edge_agent.rollout.systemd import Service, read_number
from edge_agent.spool import REFUSED, SUFFIX
from edge_agent.status import read_status
from protocol.version import __version__

# Where recordings and events lie, in the data directory.
SPOOL, EVENTS = "spool", "events.jsonl"
_SHOWN = ("LoadState", "ActiveState", "UnitFileState", "Result", "NRestarts", "WatchdogUSec", "ExecMainStatus")
_ASK = 5.0
_RUNNING = {"active", "activating", "reloading"}
_RESTARTS_MAX = 3
_SPANS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


def look_at_directory(path: Path, owner: int) -> DirectoryFacts:
    """Return how the data directory is; `owner` is whom it should belong to."""
    try:
        found = path.stat()
    except OSError:
        return DirectoryFacts(str(path), None, owner)
    loose = []
    for name in (HOST_KEY, TLS_KEY):
        with suppress(OSError):
            mode = stat.S_IMODE((path / name).stat().st_mode)
            if mode & 0o077:
                loose.append(f"{name} has the mode {mode:04o}")
    return DirectoryFacts(str(path), found.st_uid, owner, stat.S_IMODE(found.st_mode), tuple(loose))


def look_at_disk(path: Path, min_free: int) -> DiskFacts:
    """Return how full the disk is on which `path` is, or will be."""
    try:
        there = next(place for place in (path, *path.parents) if place.exists())
        found = os.statvfs(there)
    except OSError as err:
        return DiskFacts(str(path), problem=err.strerror or str(err))
    return DiskFacts(
        path=str(path),
        free=found.f_bavail * found.f_frsize,
        size=found.f_blocks * found.f_frsize,
        min_free=min_free,
        free_inodes=found.f_favail,
        inodes=found.f_files,
        is_read_only=bool(found.f_flag & os.ST_RDONLY),
    )


def look_at_spool(directory: Path, quota: int) -> SpoolFacts:
    """Return what waits in a data directory to be sent."""
    files = size = refused = events = 0
    try:
        with suppress(FileNotFoundError), os.scandir(directory / SPOOL) as entries:
            for entry in entries:
                held = entry.stat(follow_symlinks=False).st_blocks * 512
                size += held
                files += entry.name.endswith(SUFFIX)
                refused += entry.name.endswith(REFUSED)
        with suppress(FileNotFoundError):
            events = (directory / EVENTS).stat().st_size
    except OSError as err:
        return SpoolFacts(problem=f"{err.filename}: {err.strerror}")
    return SpoolFacts(files, size, quota, refused, events)


def look_at_service(layout: Layout) -> ServiceFacts:
    """Return systemd's word on the agent's unit."""
    if not Path(layout.booted).is_dir():
        return ServiceFacts(has_systemd=False)
    shown = show_unit(UNIT)
    return ServiceFacts(
        has_systemd=True,
        load=shown.get("LoadState", ""),
        active=shown.get("ActiveState", ""),
        enabled=shown.get("UnitFileState", "") or "disabled",
        result=shown.get("Result", ""),
        restarts=read_number(shown.get("NRestarts", "")),
        watchdog=_seconds(shown.get("WatchdogUSec", "")),
        exit_status=read_number(shown.get("ExecMainStatus", "")),
    )


def show_unit(unit: str) -> dict[str, str]:
    """Return what systemd says of a unit; nothing where it says nothing in time."""
    with suppress(RolloutError):
        return Service(Layout(), unit).show(_SHOWN, _ASK)
    return {}


def _seconds(text: str) -> float:
    """Return the seconds in ``1min 30s``, as systemd writes spans (systemd.time(7)); 0 for what is none."""
    total = 0.0
    for part in text.split():
        number = part.rstrip("abcdefghijklmnopqrstuvwxyz")
        with suppress(ValueError):
            total += float(number) * _SPANS.get(part[len(number) :], 0.0)
    return total


def look_at_agent(places: tuple[Path, ...]) -> AgentFacts:
    """Return how the agent says it is doing that runs with one of these directories."""
    try:
        found = read_status(*places)
    except OSError as err:
        return AgentFacts(problem=f"{err.filename}: {err.strerror}")
    if found is None:
        return AgentFacts()
    return AgentFacts(found[0].version, found[0].is_online, describe(found[0]))


def look_at_versions(layout: Layout, controller: str) -> VersionFacts:
    """Return what there is of versions; `controller` is what the controller said, empty for nothing."""
    installed = find_installed(layout)
    python = tuple(int("".join(filter(str.isdecimal, part)) or 0) for part in platform.python_version_tuple())
    package = _package(layout) if installed and installed.kind == "package" else ""
    own = installed.version if installed else ""
    return VersionFacts(__version__, own, controller, (python[0], python[1], python[2]), package)


def _package(layout: Layout) -> str:
    state, version = read_database(layout)
    return version if state in {"", INSTALLED} else f"{version} ({state})"


def look_at_upgrade(layout: Layout) -> UpgradeFacts:
    """Return how the last upgrade went, or goes."""
    try:
        record = read_record(layout)
    except RolloutError as err:
        return UpgradeFacts("unreadable", reason=str(err))
    if record is None:
        return UpgradeFacts()
    is_there = Path(layout.upgrade_unit).exists()
    shown = show_unit(UPGRADE_UNIT) if is_there else {}
    # It is begun anew for ever where it fails, so that it never counts as failed.
    is_carried = shown.get("ActiveState") in _RUNNING and read_number(shown.get("NRestarts", "")) < _RESTARTS_MAX
    reason = record.standing.reason
    return UpgradeFacts(record.state, record.plan.old, record.plan.new, reason, is_carried, has_unit=is_there)
