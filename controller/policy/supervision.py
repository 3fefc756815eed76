"""When a process that ended is started again: at once, then ever later, and soon again once it held out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST_DELAY = timedelta(seconds=1)
LONGEST_DELAY = timedelta(seconds=30)
STABLE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Restarts:
    """What is remembered of a process: when it was last started, and how often it fell over since it was stable."""

    started: datetime
    falls: int = 0


def decide_restart(restarts: Restarts, now: datetime) -> tuple[timedelta, int]:
    """Return how long to wait before the next start, and the number of falls to remember."""
    falls = 1 if now - restarts.started >= STABLE else restarts.falls + 1
    delay = timedelta(0) if falls == 1 else min(FIRST_DELAY * 2 ** min(falls - 2, 10), LONGEST_DELAY)
    return delay, falls
