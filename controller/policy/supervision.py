"""When a process that ended is started again, and when one that says nothing counts as hung.

Started again at once, then ever later, and soon again once it held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST_DELAY = timedelta(seconds=1)
LONGEST_DELAY = timedelta(seconds=30)
STABLE = timedelta(seconds=60)
# How often a role's own loop says that it turns. No loop of ours rests for longer; a loaded machine makes it late.
PULSE = timedelta(seconds=1)
# A role that has been silent for so long has a loop that does not turn: stopped, blocked, or spinning.
SILENCE = timedelta(seconds=30)
# Before it serves, a role reads and checks all that it stands on, and its loop may not have begun.
START_SILENCE = timedelta(minutes=3)
# A program that says nothing by itself is asked so often, and may take so long to answer. A whole fleet may come to the
# broker at once, and whoever asks then waits behind it: 5,000 agents took 202 s on a busy machine until all were back.
# Ended within that, it would have all of them come again. So its limit is longer, and holds two asks that are waited
# for to their end: who asks anew has lost its place.
ASK_AGAIN = timedelta(seconds=5)
ASK_PATIENCE = timedelta(minutes=2)
ASKED_SILENCE = timedelta(minutes=5)
# What a web worker runs beside its own loop. Its silence is heeded by that loop, and the worker's by its arbiter.
HALL_SILENCE = timedelta(seconds=15)
WORKER_SILENCE = timedelta(seconds=30)
# How long a role that is silent may take to end when it is asked to.
HUNG_PATIENCE = timedelta(seconds=5)


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


@dataclass(frozen=True, slots=True)
class Silence:
    """How long nothing has been heard of a role, as far as somebody listened.

    Attributes:
        looked: seconds by a clock that nobody sets, when it was last looked.
        lasted: for how long it has been silent.
    """

    looked: float
    lasted: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Limits:
    """For how long a role may be silent, once it serves and before; and a program that is asked, once it answered."""

    serving: timedelta = SILENCE
    starting: timedelta = START_SILENCE
    asked: timedelta = ASKED_SILENCE

    def of(self, *, is_ready: bool, is_asked: bool = False) -> timedelta:
        """Return the limit that holds."""
        if not is_ready:
            return self.starting
        return self.asked if is_asked else self.serving


def listen(silence: Silence, steady: float, *, is_heard: bool) -> Silence:
    """Return what is known of a role's silence after one more look.

    One look counts for two pulses at most: where the listener itself was stopped meanwhile, that says nothing of the
    role.

    Args:
        silence: what was known.
        steady: seconds, by the clock of `Silence.looked`.
        is_heard: whether the role has said anything since the last look.
    """
    passed = min(max(timedelta(seconds=steady - silence.looked), timedelta(0)), 2 * PULSE)
    return Silence(steady, timedelta(0) if is_heard else silence.lasted + passed)
