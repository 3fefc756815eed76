"""How fast a recording's time passes for its viewer."""

from __future__ import annotations

SPEEDS = (0.5, 1.0, 2.0, 4.0, 8.0)
# Where nothing happens for longer, no more than this of it is waited for, if the viewer wishes so.
IDLE_MAX = 500
_AT_ONCE = 1e-3  # milliseconds that are not waited for


class Pace:
    """The recording's time, and when it was that. Moments are milliseconds of it; `now` is seconds of any clock.

    Attributes:
        moment: the recording's time, when it was last looked at.
        late: what comes next is waited for: its time begins when it is there.
    """

    def __init__(self, now: float, speed: float, *, skip_idle: bool) -> None:
        """Begin at the recording's start."""
        self.moment, self._since = 0.0, now
        self.speed = speed
        self.late = False
        self._skip_idle = skip_idle

    def set(self, moment: float, now: float) -> None:
        """Say that it is `moment` now."""
        self.moment, self._since = moment, now

    def pass_on(self, now: float) -> None:
        """Let time pass until now."""
        self.set(self._time(now), now)

    def change(self, by: int) -> None:
        """Go faster or slower, by steps."""
        at = SPEEDS.index(self.speed) + by
        self.speed = SPEEDS[min(max(at, 0), len(SPEEDS) - 1)]

    def wait_for(self, time: int, last: int, now: float) -> float:
        """Return how many seconds of the viewer's time are left until `time`; what is before it happened at `last`."""
        here = self._time(now)
        if self.late and here > time:
            self.late = False
            self.set(float(max(time, last)), now)
            return 0.0
        self.late = False
        due = time
        if self._skip_idle and time - last > IDLE_MAX:
            due = last + IDLE_MAX
            if due - here <= _AT_ONCE:
                self.set(float(time), now)
        return (due - here) / 1000 / self.speed if due - here > _AT_ONCE else 0.0

    def _time(self, now: float) -> float:
        return self.moment + (now - self._since) * 1000 * self.speed
