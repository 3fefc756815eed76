"""What a person on the device asks the running agent, and orders it: how it is doing, and what it logs."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_agent.config import ConfigError, Options, configured_data_dir, default_data_dir
from edge_agent.policy.status import AgentStatus
from edge_agent.severity import give_order, take_order
from edge_agent.status import RUNTIME_DIRECTORY, read_status
from protocol.service_manager import RUNTIME

# Exit codes of `edge-agent status`.
ONLINE, NOT_RUNNING, NOT_ONLINE = 0, 1, 3
# Says instead of a level: as the settings have it.
AS_SETTINGS = "settings"
_HEED_WITHIN, _LOOK_EVERY = 15.0, 0.05


class InquiryError(Exception):
    """There is no answer. The message says why, and what to do."""


def find_agent(data_dir: str | None = None, config: str | None = None) -> tuple[AgentStatus, Path] | None:
    """Return how the running agent is doing, and the directory in which it says so; None where none runs.

    Args:
        data_dir: of the agent that is asked for; None for the one that this device has.
        config: its settings, where they are not where they usually are.

    Raises:
        InquiryError: that is not for this user to know.
    """
    try:
        found = read_status(*_places(data_dir, config, os.geteuid()))
    except OSError as err:
        raise InquiryError(f"cannot ask the agent: {err.filename}: {err.strerror}; ask as root (sudo)") from None
    return (found[0], found[1].parent) if found else None


def _places(data_dir: str | None, config: str | None, euid: int) -> tuple[Path, ...]:
    """Return where a status file may be: beside what is of the moment, or with the data."""
    if data_dir:
        return (Path(data_dir),)
    told = os.environ.get(RUNTIME, "").partition(":")[0]
    own = Path(default_data_dir(euid))
    with suppress(ConfigError):  # it is the agent's to complain of its settings
        own = configured_data_dir(Options(config=config), euid)
    usual = (RUNTIME_DIRECTORY, own) if euid == 0 else (own, RUNTIME_DIRECTORY)
    return (Path(told), *usual) if told else usual


def set_severity(severity: str, data_dir: str | None, config: str | None) -> AgentStatus:
    """Have the running agent log what is of `severity` and above, until it is started again; return how it does then.

    Raises:
        InquiryError: it does not.
    """
    _, runtime = _running(data_dir, config)
    with _held(runtime) as here:
        return _set_severity(severity, _own(here, runtime), here)


@contextmanager
def _held(runtime: Path) -> Iterator[Path]:
    """Have a path of that directory itself while the block runs, whatever is put in its place meanwhile."""
    try:
        held = os.open(runtime, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        raise InquiryError(f"cannot tell the agent: {runtime}: {err.strerror}; do it as root (sudo)") from None
    try:
        yield Path(f"/proc/self/fd/{held}")
    finally:
        os.close(held)


def _own(here: Path, runtime: Path) -> AgentStatus:
    """Return how the agent is doing, as only this user's own files have it. Raises `InquiryError`.

    What others may write there names any process, to which root would send a signal.
    """
    euid, found = os.geteuid(), here.stat()
    if found.st_uid != euid or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InquiryError(f"{runtime} is not {_name(euid)}'s alone: ask as whoever that agent runs as")
    told = read_status(here)
    owner = _owner_of(told[0].pid) if told else None
    if told is None or owner is None:
        raise InquiryError("the agent has just ended: try again once it runs")
    if owner != euid:
        raise InquiryError(f"process {told[0].pid}, which {runtime} names, is not {_name(euid)}'s: it gets no order")
    return told[0]


def _owner_of(pid: int) -> int | None:
    with suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid
    return None


def _name(uid: int) -> str:
    return "root" if uid == 0 else f"user {uid}"


def _set_severity(severity: str, status: AgentStatus, runtime: Path) -> AgentStatus:
    try:
        take_order(runtime)
        if severity != AS_SETTINGS:
            give_order(severity, runtime)
        os.kill(status.pid, signal.SIGHUP)
    except OSError as err:
        take_order(runtime)
        raise InquiryError(f"cannot tell the agent: {err.strerror}; do it as root (sudo)") from None
    return _heeded(severity, status, runtime)


def _heeded(severity: str, before: AgentStatus, runtime: Path) -> AgentStatus:
    deadline = time.monotonic() + _HEED_WITHIN
    while time.monotonic() < deadline:
        found = read_status(runtime)
        if found and found[0].heeded > before.heeded and severity in {AS_SETTINGS, found[0].severity}:
            return found[0]
        time.sleep(_LOOK_EVERY)
    take_order(runtime)
    raise InquiryError(f"the agent (process {before.pid}) did not heed it within {_HEED_WITHIN:.0f} s: see its log")


def get_severity(data_dir: str | None, config: str | None) -> str:
    """Return by which level the running agent logs. Raises `InquiryError`."""
    return _running(data_dir, config)[0].severity


def _running(data_dir: str | None, config: str | None) -> tuple[AgentStatus, Path]:
    found = find_agent(data_dir, config)
    if found is None:
        raise InquiryError("the agent is not running on this device: systemctl start skerry-agent")
    return found
