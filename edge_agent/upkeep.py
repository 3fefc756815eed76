"""What a service does beside its work: it says that it is up, its heart beats, and it heeds SIGHUP."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edge_agent.config import Settings
from edge_agent.interruption import beside
from edge_agent.log import set_severity
from edge_agent.service_manager import ServiceManager
from edge_agent.severity import SeverityError, find_severity, take_order
from edge_agent.status import StatusBoard

_log = logging.getLogger("skerry.agent")


class Upkeep:
    """One for an event loop, while it runs."""

    def __init__(
        self, settings: Settings, board: StatusBoard, manager: ServiceManager, runtime: Path, stop: Callable[[], None]
    ) -> None:
        """Take note of what it needs to know; `stop` is called where a terminal that we run on is hung up."""
        self._settings, self._board, self._manager, self._runtime = settings, board, manager, runtime
        self._stop = stop
        self._asked = asyncio.Event()
        self._has_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

    async def run(self) -> None:
        """Do it until cancelled."""
        take_order(self._runtime)  # what was ordered of a run before is not for this one
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hear)
        self._manager.ready(self._board.line)
        try:
            await beside(self._manager.keep_beating(), self._heed())
        finally:
            self._manager.beat()  # whatever comes now may take its time

    def _hear(self) -> None:
        """Hear a SIGHUP: a wish to read the settings again, or the end of the terminal that we run on."""
        if self._has_terminal and not _has_terminal():
            self._stop()
        else:
            self._asked.set()

    async def _heed(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._manager.reloading()
            try:
                self._log_by(await find_severity(self._settings, self._runtime))
            except SeverityError as err:
                _log.error("what is logged stays as it is: %s", err)
                self._board.severity(None)
            self._board.flush()
            self._manager.ready(self._board.line)

    def _log_by(self, severity: str) -> None:
        set_severity(severity)
        _log.log(logging.getLogger("skerry").level, "logging what is %s and above", severity)
        self._board.severity(severity)


def _has_terminal() -> bool:
    """Tell whether there is a terminal that controls this process; once it is hung up there is none (tty(4))."""
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        return True
    return False
