"""The file in which the running agent says how it is doing, for whoever asks on the device."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from edge_agent.directory import open_anew
from edge_agent.policy.status import STATUS_MAX, AgentStatus, Link, describe, turn
from edge_agent.service_manager import ServiceManager
from protocol.fields import MessageError
from protocol.messages import JoinReply
from protocol.service_manager import RUNTIME
from protocol.version import __version__

_log = logging.getLogger("skerry.agent")
FILE = "status.json"
# Where the unit has it (RuntimeDirectory=).
RUNTIME_DIRECTORY = Path("/run/skerry-agent")


def runtime_directory(environment: Mapping[str, str], data_dir: Path) -> Path:
    """Return where a running agent keeps what is of no use once it has ended."""
    told = environment.get(RUNTIME, "").partition(":")[0]
    return Path(told) if told.startswith("/") else data_dir


def status_path(environment: Mapping[str, str], data_dir: Path) -> Path:
    """Return where the agent that runs in `environment` on `data_dir` writes how it is doing."""
    return runtime_directory(environment, data_dir) / FILE


def read_status(*directories: Path) -> tuple[AgentStatus, Path] | None:
    """Return how the agent is doing that runs with one of `directories`, and where it says so; None where none runs.

    Raises:
        OSError: that is not for us to know.
    """
    for path in (directory / FILE for directory in directories):
        with suppress(FileNotFoundError, NotADirectoryError, MessageError), path.open("rb") as file:
            status = AgentStatus.decode(file.read(STATUS_MAX + 1))
            if started_at(status.pid) == status.ticks:
                return status, path
    return None


def first_status(
    controller: str, severity: str, granted: JoinReply | None, now: datetime, waiting: str = "connecting"
) -> AgentStatus:
    """Return how this process is doing that has just begun.

    Args:
        controller: the controller's web address.
        severity: by which level is logged.
        granted: what was granted when the device joined; None where it has not.
        now: the time.
        waiting: what the agent is at.
    """
    pid, down = os.getpid(), Link("down", now, waiting)
    return AgentStatus(
        version=__version__,
        pid=pid,
        began=now,
        node=granted.name if granted else "",
        node_id=granted.node_id if granted else "",
        cluster=granted.cluster_name if granted else "",
        controller=controller,
        tunnel=down,
        broker=down if granted and granted.mqtt_address else None,
        severity=severity,
        ticks=started_at(pid) or 0,
    )


def started_at(pid: int) -> int | None:
    """Return when a process was started, in ticks since the machine was: no two have pid and this in common.

    None where there is no such process. It is field 22 of ``/proc/PID/stat``, proc(5).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


class StatusBoard:
    """Keeps the file, and the line that the service manager shows. Used from one event loop.

    Changes are written once the loop comes round, however many there are.
    """

    def __init__(self, path: Path, status: AgentStatus, manager: ServiceManager, now: Callable[[], datetime]) -> None:
        """Write down `status` at once."""
        self._path, self._status, self._manager, self._now = path, status, manager, now
        self._is_due = self._is_closed = self._has_complained = False
        self._told = ""
        self._write()

    @property
    def status(self) -> AgentStatus:
        """How the agent is doing."""
        return self._status

    @property
    def line(self) -> str:
        """The same in one line."""
        return describe(self._status)

    def tunnel(self, is_up: bool, reason: str) -> None:
        """Hear how the tunnel stands."""
        link = turn(self._status.tunnel, "up" if is_up else "down", self._now(), reason)
        self._change(replace(self._status, tunnel=link))

    def broker(self, is_up: bool, reason: str) -> None:
        """Hear how the connection to the broker stands."""
        link = turn(self._status.broker, "up" if is_up else "down", self._now(), reason)
        self._change(replace(self._status, broker=link))

    def no_broker(self) -> None:
        """Hear that the controller has none."""
        self._change(replace(self._status, broker=None))

    def sessions(self, people: Mapping[str, str]) -> None:
        """Hear which sessions are going on, and who is at each."""
        self._change(replace(self._status, sessions=tuple(people), people=tuple(people.values())))

    def severity(self, severity: str | None) -> None:
        """Hear by which level is logged after somebody told it anew; None for as before."""
        status = self._status
        self._change(replace(status, severity=severity or status.severity, heeded=status.heeded + 1))

    def close(self) -> None:
        """Take the file away: no agent runs."""
        self._is_closed = True
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _change(self, status: AgentStatus) -> None:
        if status != self._status:
            self._status = status
            if not self._is_due:
                self._is_due = True
                asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Have what has changed be known now."""
        if not self._is_due or self._is_closed:
            return
        self._is_due = False
        self._write()
        if self.line != self._told:
            self._told = self.line
            self._manager.status(self.line)

    def _write(self) -> None:
        new = self._path.with_name(f".{self._path.name}.new")
        try:
            with os.fdopen(open_anew(new), "wb") as file:
                file.write(self._status.encode())
            new.replace(self._path)
            self._has_complained = False
        except OSError as err:
            if not self._has_complained:
                _log.warning("cannot write %s: %s; `edge-agent status` tells nothing", self._path, err.strerror)
            self._has_complained = True
