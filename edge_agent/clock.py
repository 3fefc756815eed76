"""The time on this device, by the controller's clock: the device's own is not trusted.

The agent learns the controller's time over links that are authenticated, and carries it on by the clock that counts
since the machine was started. `clock.json` remembers the last good time, and how far the device's clock was off, over
restarts; how that is used is `edge_agent.policy.clock`'s to say.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from edge_agent.identity import DataDirectory
from edge_agent.policy.clock import Anchor, Memory, guess_time, is_doubtful, may_pulse_teach
from edge_agent.side_thread import SideThread
from protocol import limits
from protocol.events import Json
from protocol.fields import Fields, text, whole
from protocol.instants import from_milliseconds
from protocol.messages import JoinReply, MessageError
from protocol.ssh.certificate import BadCertificateError, parse_certificate_line

_log = logging.getLogger("skerry.agent")
# Says between which two instants the time surely is.
Span = Callable[[], tuple[datetime, datetime]]
FILE = "clock.json"
_FILE_MAX = 4096
_LAST = 253_402_300_799_999  # the end of the year 9999
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_KEEP = limits.CLOCK_KEEP.total_seconds()
# The clock is kept at once where the device's has moved by so many milliseconds against the controller's.
_STEP = 1000


def device_milliseconds() -> int:
    """Return the time by the device's own clock, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def uptime_milliseconds() -> int:
    """Return for how long the machine has been up, suspended or not."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def boot_id() -> str:
    """Return what names this run of the machine; nothing where the kernel does not say."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


class Clock:
    """The time, as far as it is known. Used from one event loop, or from one thread before there is one.

    Attributes:
        doubted: called where a pulse is so far behind that somebody should ask the controller for the time.
    """

    def __init__(
        self,
        directory: Path,
        *,
        device: Callable[[], int] = device_milliseconds,
        uptime: Callable[[], int] = uptime_milliseconds,
        boot: str | None = None,
    ) -> None:
        """Read what `directory` remembers. The rest is for tests: two clocks, and this run of the machine."""
        self._directory = DataDirectory(directory)
        self._device, self._uptime = device, uptime
        self._boot = boot_id() if boot is None else boot
        self._anchor: Anchor | None = None
        self._memory: Memory | None = None
        self._kept: int | None = None
        self._trouble: str | None = None
        self._must_keep = asyncio.Event()
        self.doubted: Callable[[], None] = lambda: None
        self._load()

    def now(self) -> datetime:
        """Return the controller's time as far as it is known, UTC."""
        try:
            return from_milliseconds(self.times()[1])
        except OverflowError:  # the device's clock is beyond the calendar's end
            return from_milliseconds(_LAST)

    def times(self) -> tuple[int, int]:
        """Return the time by the device's clock, and by the controller's as far as it is known; ms since 1970."""
        device, uptime = self._device(), self._uptime()
        if self._anchor:
            return device, self._anchor.carried_on(uptime)
        return device, guess_time(self._memory, device=device, uptime=uptime)

    def span(self) -> tuple[datetime, datetime]:
        """Return the earliest and the latest that it can be now: what a peer's certificate is to be judged by.

        Once the controller was heard both are now. Before, a device whose clock is wrong could believe nobody, and
        would never hear it: nothing is known then but that it is no earlier than the last good time.
        """
        if self._anchor:
            now = self.now()
            return now, now
        return from_milliseconds(min(self._floor(), _LAST)), from_milliseconds(_LAST)

    def _floor(self) -> int:
        """Return what it surely is no earlier than: the last good time, and the uptime of the machine since."""
        return self._memory.good + self._uptime() if self._memory else 0

    @property
    def is_known(self) -> bool:
        """Whether the controller's time was heard since the machine was started."""
        return self._anchor is not None

    @property
    def offset_ms(self) -> int | None:
        """By how much the device's clock is ahead, milliseconds (negative: behind); None where that is not known."""
        if self._anchor is None:
            return None
        device, there = self.times()
        return device - there

    # --- learning -----------------------------------------------------------------------------------------------------

    def learn(self, there_ms: int, *, after_s: float = 0.0) -> None:
        """Take over the controller's time, from an answer that was asked for over an authenticated link.

        Args:
            there_ms: milliseconds since 1970 by its clock. What the calendar does not hold is passed over.
            after_s: seconds that have gone by since it said so.
        """
        there = there_ms + round(after_s * 1000)
        if not 0 <= there <= _LAST:
            return
        self._anchor = Anchor(there, self._uptime())
        self._note()

    def hear(self, there_ms: int) -> None:
        """Take a time for what it is worth that the controller signed some time ago, as in a pulse: it can be late."""
        uptime, anchor = self._uptime(), self._anchor
        known = anchor.carried_on(uptime) if anchor else self._floor()
        if may_pulse_teach(there_ms, known=known, age=uptime - anchor.uptime if anchor else uptime):
            self.learn(there_ms)
        elif anchor is None or is_doubtful(there_ms, known):
            self.doubted()

    def is_late(self, there_ms: int) -> bool:
        """Whether what the controller said at `there_ms` by its clock was said long ago, or nobody can tell."""
        return self._anchor is None or is_doubtful(there_ms, self.times()[1])

    def remember(self, there_ms: int) -> None:
        """Take note that it is no earlier than `there_ms`, where nothing better is known."""
        if self._memory is None and 0 < there_ms <= _LAST:
            self._memory = Memory(max(there_ms - self._uptime(), 0), 0)

    def _note(self) -> None:
        device, there = self.times()
        self._memory = Memory(there, device - there)
        if self._kept is None or abs(self._memory.offset - self._kept) > _STEP:
            self._must_keep.set()

    # --- keeping ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the time on disk: soon after it was learned anew, and now and then. Until cancelled."""
        thread = SideThread("clock")
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_KEEP):  # `wait_for` may miss that it is cancelled
                        await self._must_keep.wait()
                self._must_keep.clear()
                if self._anchor:
                    await thread.submit(self.keep)
        finally:
            thread.close()

    def keep(self) -> None:
        """Write what is known to disk, where anything is. A disk that will not have it is told to the log."""
        if self._anchor is None:
            return
        uptime = self._uptime()
        device, there = self.times()
        self._kept = device - there
        record: dict[str, Json] = {
            "version": 1,
            "boot": self._boot,
            "uptime": uptime,
            "good": there,
            "offset": device - there,
        }
        try:
            self._directory.write(FILE, json.dumps(record).encode())
        except OSError as err:
            if err.strerror != self._trouble:
                _log.warning("cannot keep the time: %s: %s", FILE, err.strerror)
            self._trouble = err.strerror
        else:
            self._trouble = None

    def _load(self) -> None:
        try:
            fields = Fields(json.loads(self._directory.read(FILE, _FILE_MAX)))
            boot, uptime = fields.take("boot", text), fields.take("uptime", whole)
            good, offset = fields.take("good", _instant), fields.take("offset", _offset)
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as err:
            reason = getattr(err, "strerror", None) or err
            _log.warning(
                "%s cannot be read (%s); going by the device's clock until the controller is heard", FILE, reason
            )
            return
        self._memory, self._kept = Memory(good, offset), offset
        if boot and boot == self._boot and uptime <= self._uptime():
            self._anchor = Anchor(good, uptime)


def _instant(value: object) -> int:
    found = whole(value)
    if found > _LAST:
        raise MessageError("beyond the calendar's end")
    return found


def _offset(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise MessageError("not a whole number")
    return value


def time_told(granted: JoinReply) -> int:
    """Return the controller's time when it gave this reply, as far as it tells; milliseconds since 1970.

    A host certificate begins to be good `limits.CLOCK_LEEWAY` before it was made.
    """
    told = granted.recording.time if granted.recording else 0
    with suppress(BadCertificateError, OverflowError):
        made = parse_certificate_line(granted.host_certificate).valid_after + limits.CLOCK_LEEWAY
        told = max(told, round(made.timestamp() * 1000))
    return told
