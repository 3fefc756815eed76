"""The agent's door to the manager that started it (systemd): it says how it is doing, and its heart beats there."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from edge_agent.side_thread import SideThread
from protocol import service_manager

_log = logging.getLogger("skerry.agent")
_CGROUP = Path("/proc/self/cgroup")
_UNIT = re.compile(r"/([A-Za-z0-9:_.@\\-]{1,255}\.service)$", re.MULTILINE | re.ASCII)
_ANSWER = 1.0


class ServiceManager:
    """Says things to the manager; where there is none, nothing happens. What it does not take is left unsaid.

    Attributes:
        is_there: whether somebody listens.
    """

    def __init__(self, address: str | bytes | None, pulse: float | None) -> None:
        """Take note of where to say things, and how many seconds may pass between two pulses."""
        self.is_there = address is not None
        self._address = address
        self._pulse = pulse
        self._socket: socket.socket | None = None
        self._has_complained = False

    @classmethod
    def from_environment(cls) -> ServiceManager:
        """Return the door to the manager that this process was started by."""
        return cls(service_manager.parse_address(os.environ), service_manager.parse_pulse(os.environ, os.getpid()))

    def ready(self, status: str) -> None:
        """Say that the agent is up, or has read its settings again."""
        self._say(service_manager.ready(status))

    def status(self, text: str) -> None:
        """Say how things stand."""
        self._say(service_manager.status(text))

    def reloading(self) -> None:
        """Say that settings are being read again."""
        self._say(service_manager.reloading(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))

    def stopping(self, text: str) -> None:
        """Say that the agent ends."""
        self._say(service_manager.stopping(text))

    def beat(self) -> None:
        """Say that the agent is alive, where somebody counts on hearing it."""
        if self._pulse is not None:
            self._say(service_manager.PULSE)

    async def keep_beating(self) -> None:
        """Beat for as long as the event loop runs: whoever is hung does not, and is started again."""
        while True:
            self.beat()
            await asyncio.sleep(self._pulse if self._pulse is not None else 3600)

    def _say(self, message: bytes) -> None:
        if self._address is None:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.sendto(message, self._address)
        except OSError as err:
            if not self._has_complained:
                _log.warning("the service manager does not hear us: %s", err.strerror or err)
            self._has_complained = True


async def will_start_again() -> bool:
    """Tell whether the manager, which is stopping this unit, is to start it again (`systemctl restart`).

    It says so nowhere but in its list of jobs (systemctl(1)). Where it cannot be asked the answer is no.
    """
    if (unit := own_unit()) is None:
        return False
    thread = SideThread("jobs")
    try:
        return await thread.submit(lambda: _is_restarted(unit))
    except OSError:
        return False
    finally:
        thread.close()


def own_unit(cgroup: Path = _CGROUP) -> str | None:
    """Return the name of the unit that this process belongs to; None where it is none's."""
    with suppress(OSError, UnicodeDecodeError):
        found = _UNIT.search(cgroup.read_text("ascii"))
        return found[1] if found else None
    return None


def _is_restarted(unit: str) -> bool:
    command = ["systemctl", "list-jobs", "--no-legend", "--no-pager", "--plain", unit]
    with suppress(OSError, subprocess.TimeoutExpired):
        jobs = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWER, check=False)
        return any(line.split()[2:3] == [b"restart"] for line in jobs.stdout.splitlines())
    return False
