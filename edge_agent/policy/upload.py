"""What the device's owner says about recordings, and what follows for when and how fast they are sent.

`edge_agent.policy.turn` says which is sent next, and `edge_agent.policy.answer` what follows from an answer. `now`
counts seconds on any clock that only goes forward; `local` is the device's own wall clock, which may be wrong and
may jump.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from protocol import limits
from protocol.sizes import format_size, parse_size

Order = Literal["newest", "oldest"]
_DAY = 24 * 60
# Room for a few sessions at a time: each begins with 256 KiB, and one beside them may be waiting for the link.
SPOOL_MAX_MIN = 8 * 2**20
MIN_FREE_MAX = 2**40
RATE_MIN = 500
RATE_MAX = 10**11
# One request's worth: long enough that what goes with it is little, short enough that another's turn comes soon.
PIECE_FIRST = 16 * 1024
PIECE_MIN = 2 * 1024
_PIECE_GROWTH = 4
_TURN_ALONE = 4.0
_TURN_LIVE = 1.0
_RATE_UNITS = {
    "bit/s": 1 / 8,
    "kbit/s": 1e3 / 8,
    "Mbit/s": 1e6 / 8,
    "Gbit/s": 1e9 / 8,
    "B/s": 1,
    "kB/s": 1e3,
    "KB/s": 1e3,
    "MB/s": 1e6,
    "GB/s": 1e9,
    "KiB/s": 2**10,
    "MiB/s": 2**20,
    "GiB/s": 2**30,
}
_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,3})?) ?([A-Za-z]{1,4}/s)", re.ASCII)
_TIME = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII)


# --- settings ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """A time of day during which recordings are sent: from one minute of the day up to another.

    Attributes:
        begin: minutes since midnight.
        end: minutes since midnight, up to 1440; below `begin` where the window crosses midnight.
    """

    begin: int
    end: int

    def is_open(self, local: datetime) -> bool:
        """Tell whether `local` lies within."""
        minute = local.hour * 60 + local.minute
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end

    def until_open(self, local: datetime) -> float:
        """Return the seconds from `local` until the window opens, by the same clock; 0 where it is open."""
        if self.is_open(local):
            return 0.0
        since_midnight = local.hour * 3600 + local.minute * 60 + local.second + local.microsecond / 1e6
        return (self.begin * 60 - since_midnight) % (_DAY * 60)

    def __str__(self) -> str:
        return f"{self.begin // 60:02}:{self.begin % 60:02}-{self.end // 60:02}:{self.end % 60:02}"


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """What the device's owner says about recordings.

    Attributes:
        spool_max: bytes of recordings that the device keeps at most.
        min_free: bytes that stay free on its disk.
        upload_rate: bytes a second on the wire at most; None for as fast as the link is.
        upload_window: when recordings are sent; None for always.
        upload_order: what is sent first of what has ended.
    """

    spool_max: int = 512 * 2**20
    min_free: int = 64 * 2**20
    upload_rate: int | None = None
    upload_window: Window | None = None
    upload_order: Order = "newest"


def parse_spool_max(value: object) -> int:
    """Read how much the device keeps at most, in bytes, as `protocol.sizes.parse_size` does. Raises `ValueError`."""
    size = parse_size(value)
    if size < SPOOL_MAX_MIN:
        raise ValueError(f"too little for sessions to be recorded: at least {format_size(SPOOL_MAX_MIN)}")
    return size


def parse_min_free(value: object) -> int:
    """Read how much of the disk stays free, in bytes, as `protocol.sizes.parse_size` does. Raises `ValueError`."""
    size = parse_size(value)
    if size > MIN_FREE_MAX:
        raise ValueError(f"no disk would have as much left for recordings: at most {format_size(MIN_FREE_MAX)}")
    return size


def parse_window(value: object) -> Window:
    """Read ``22:00-06:00``. Raises `ValueError`."""
    begin, dash, end = (value if isinstance(value, str) else "").partition("-")
    window = Window(_minute(begin), _minute(end)) if dash else Window(-1, -1)
    if min(window.begin, window.end) < 0 or window.begin == _DAY:
        raise ValueError('should be two times of day, as in "22:00-06:00"')
    if window.begin == window.end:
        raise ValueError("begins and ends at the same time: leave it out to send at any time")
    return window


def _minute(text: str) -> int:
    found = _TIME.fullmatch(text.strip())
    minute = int(found[1]) * 60 + int(found[2]) if found and int(found[2]) < 60 else -1
    return minute if minute <= _DAY else -1


def parse_rate(value: object) -> int:
    """Return the bytes a second that a text names: ``32kbit/s``, ``1Mbit/s``, ``200KB/s``. Raises `ValueError`."""
    if value in {0, "0"} and not isinstance(value, bool):
        raise ValueError("nothing would ever be sent: at least 4kbit/s; leave it out to send as fast as the link is")
    found = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found[2] not in _RATE_UNITS:
        raise ValueError("should be a rate with its unit, such as 32kbit/s, 1Mbit/s or 200KB/s")
    rate = int(float(found[1]) * _RATE_UNITS[found[2]])
    if not RATE_MIN <= rate <= RATE_MAX:
        raise ValueError("too slow to get anything across: at least 4kbit/s" if rate < RATE_MIN else "too fast to mean")
    return rate


def parse_order(value: object) -> Order:
    """Read ``newest`` or ``oldest``. Raises `ValueError`."""
    if value == "newest" or value == "oldest":  # noqa: PLR1714 - so written, the type checker can tell
        return value
    raise ValueError("should be newest or oldest")


# --- pace -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pace:
    """A token bucket: by any moment, no more has been sent than `rate` times the time, and a burst.

    Attributes:
        rate: bytes a second.
        burst: seconds' worth that may be sent at once after a pause.
        paid: `now` at which all that was sent is paid for.
    """

    rate: float
    burst: float
    paid: float

    def take(self, size: int, now: float) -> tuple[Pace, float]:
        """Return the pace after `size` more bytes, and how many seconds to wait before they may be sent."""
        paid = max(self.paid, now - self.burst) + size / self.rate
        return replace(self, paid=paid), max(0.0, paid - now)


def first_piece(rate: int | None) -> int:
    """Return how many bytes the first request should carry."""
    return max(PIECE_MIN, min(PIECE_FIRST, int(rate * _TURN_LIVE))) if rate else PIECE_FIRST


def decide_piece(piece: int, size: int, seconds: float, *, is_live: bool) -> int:
    """Return how many bytes the next request may carry.

    Args:
        piece: how many the last might have carried.
        size: how many it did carry.
        seconds: how long it took.
        is_live: whether a live recording may want a turn soon.
    """
    turn = _TURN_LIVE if is_live else _TURN_ALONE
    if size < piece and seconds <= turn:
        return piece  # it was short because there was no more: that says nothing
    fitting = int(size / max(seconds, 1e-3) * turn)
    return max(PIECE_MIN, min(fitting, piece * _PIECE_GROWTH, limits.RECORDING_PIECE_MAX))


def smaller_piece(size: int) -> int:
    """Return how many bytes to try after a request with `size` did not come through."""
    return max(PIECE_MIN, min(size, PIECE_FIRST) // 2)
