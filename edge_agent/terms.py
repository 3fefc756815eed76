"""How this cluster records, as the controller said it last, and what time it is there.

The terms come with the join, and are asked for when the agent starts, when the tunnel comes up, and every hour;
they are kept in `recording_terms.json`, so that an agent that starts without a link knows them. The controller's
time is carried on by the clock that counts since the machine was started: nobody sets that one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.courier import Courier
from edge_agent.fault import RefusedError, UnreachableError, UntrustedError
from edge_agent.identity import DataDirectory
from edge_agent.policy.link import decide_wait
from edge_agent.side_thread import SideThread
from protocol import endpoints, limits
from protocol.events import Json
from protocol.fields import Fields, MessageError, text, whole
from protocol.recordings import Mode, RecordingTerms

_log = logging.getLogger("skerry.agent")
FILE = "recording_terms.json"
_FILE_MAX = 64 * 1024
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_INTERVAL = limits.RECORDING_TERMS_INTERVAL.total_seconds()
# What was said so short a time ago is not asked for again because the tunnel has come up.
_FRESH = 60.0
# After failures one asks that much less often than others do who have something to send.
_PATIENCE = 5
# What a controller answers that knows nothing of recordings.
_UNKNOWN_THERE = frozenset({404, 501})


@dataclass(frozen=True, slots=True)
class Anchor:
    """A moment by two clocks, in milliseconds: the controller's, and the one that counts since the machine started."""

    there: int
    uptime: int


def _uptime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


class Terms:
    """The terms, kept up to date.

    Attributes:
        current: None where the controller has never said any.
    """

    def __init__(
        self, directory: Path, granted: RecordingTerms | None, courier: Courier, *, uptime: Callable[[], int] = _uptime
    ) -> None:
        self._directory = DataDirectory(directory)
        self._courier = courier
        self._uptime = uptime
        self._wanted = asyncio.Event()
        self._asked = float("-inf")
        self._are_unknown_there = False
        self.current = granted
        self._anchor: Anchor | None = None
        # Whether the machine was started after the controller had said so: that is as long ago as it is up, or longer.
        self._is_of_before = False
        self._load()

    @property
    def mode(self) -> Mode | None:
        """How sessions are recorded; None where that is not known."""
        if self.current:
            return self.current.mode
        return "off" if self._are_unknown_there else None

    def times(self) -> tuple[int, int]:
        """Return the time by the device's clock, and by the controller's as far as it is known; ms since 1970."""
        device = time.time_ns() // 1_000_000
        if self._anchor:
            return device, self._anchor.there + self._uptime() - self._anchor.uptime
        there = self.current.time if self.current else 0
        return device, max(device, there + (self._uptime() if self._is_of_before else 0))

    # --- asking -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask now, and again when it is time or `refresh` says so, until cancelled."""
        failures = 0
        while True:
            self._wanted.clear()
            chance = random.random()  # noqa: S311 - spreads devices, hides nothing
            try:
                await self._ask()
                failures, wait = 0, _INTERVAL * (0.75 + chance / 2)
            except (UnreachableError, UntrustedError, RefusedError, MessageError) as err:
                level = logging.DEBUG if failures else logging.WARNING
                _log.log(level, "cannot ask how sessions are to be recorded: %s", err)
                wait = _PATIENCE * decide_wait(failures, getattr(err, "retry_after", None), chance)
                failures += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), wait)

    def refresh(self) -> None:
        """Ask soon, unless that was done just now: the tunnel has come up."""
        if asyncio.get_running_loop().time() - self._asked > _FRESH:
            self._wanted.set()

    async def _ask(self) -> None:
        try:
            reply = await self._courier.ask(endpoints.RECORDING_TERMS)
        except RefusedError as err:
            if err.status in _UNKNOWN_THERE:
                self._are_unknown_there = True
            raise
        terms = RecordingTerms.from_dict(reply)
        if self.current and self.current.mode != terms.mode:
            _log.info("sessions are recorded from now on: %s", terms.mode)
        self.current, self._anchor = terms, Anchor(terms.time, self._uptime())
        self._asked = asyncio.get_running_loop().time()
        thread = SideThread("terms")
        try:
            await thread.submit(self._keep)
        except OSError as err:
            _log.warning("cannot keep how sessions are to be recorded: %s", err.strerror)
        finally:
            thread.close()

    # --- keeping ------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        if self.current and self._anchor:
            record: dict[str, Json] = {
                "version": 1,
                "terms": self.current.to_dict(),
                "boot": _boot(),
                "uptime": self._anchor.uptime,
            }
            self._directory.write(FILE, json.dumps(record, indent=1).encode())

    def _load(self) -> None:
        try:
            with (self._directory.path / FILE).open("rb") as file:
                fields = Fields(json.loads(file.read(_FILE_MAX)))
            terms = fields.take("terms", RecordingTerms.from_dict)
            boot, uptime = fields.take("boot", text), fields.take("uptime", whole)
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as err:
            reason = getattr(err, "strerror", None) or err
            _log.warning(
                "%s cannot be read (%s); the terms of the join hold until the controller is asked", FILE, reason
            )
            return
        self.current = terms
        self._is_of_before = uptime > self._uptime() or bool(boot and _boot() and boot != _boot())
        if boot and boot == _boot() and not self._is_of_before:
            self._anchor = Anchor(terms.time, uptime)
