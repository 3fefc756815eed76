"""One moment by two clocks: the one that people read, which may be set, and one that only goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from protocol import limits

_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happens.

    Attributes:
        now: UTC, for what is shown and stored.
        steady: by a clock that nobody sets, for how long something lasted; by itself it means nothing.
    """

    now: datetime
    steady: datetime

    @classmethod
    def of(cls, now: datetime, tick: float) -> Moment:
        """Return the moment at which one clock shows `now`, and the other `tick`, in seconds since whenever."""
        return cls(now, _BEGINNING + timedelta(seconds=tick))

    def shown(self, steady: datetime) -> datetime:
        """Return when it was `steady`, as the clock that people read has it by now."""
        return self.now - (self.steady - steady)


def was_set(before: Moment, after: Moment) -> bool:
    """Tell whether the clock was set between two moments, or the machine slept."""
    apart = (after.now - before.now) - (after.steady - before.steady)
    return abs(apart) > limits.CLOCK_JUMP
