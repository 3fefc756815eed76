"""What time it is on a device whose clock nobody trusts. All in milliseconds since 1970.

The controller's time, once it was heard, is carried on by the clock that counts since the machine was started: nobody
sets that one. Only a machine that was started since has to guess, until it hears the controller again.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol import limits

_LEEWAY = limits.CLOCK_LEEWAY // limits.MILLISECOND
# A clock so far behind is one without a battery, or was set since: what it lacked then says nothing about today.
_FAR = limits.CLOCK_FAR // limits.MILLISECOND
# How fast a device's counting clock may run, at the worst: 500 millionths.
_DRIFT = 2000


@dataclass(frozen=True, slots=True)
class Anchor:
    """A moment by two clocks: the controller's, and the one that counts since the machine was started."""

    there: int
    uptime: int

    def carried_on(self, uptime: int) -> int:
        """Return the controller's time when the counting clock says `uptime`."""
        return self.there + uptime - self.uptime


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered over a restart of the machine.

    Attributes:
        good: the last time that was known to be right.
        offset: by how much the device's clock was ahead then (negative: behind).
    """

    good: int
    offset: int


def guess_time(memory: Memory | None, *, device: int, uptime: int) -> int:
    """Return the time where the controller's was not heard since the machine was started.

    It is never before the last good time and the `uptime` of the machine since. A clock that is known to be off is
    corrected by as much, where that makes sense: not where the clock was far behind and no longer is, as one that
    has no battery and was set from the network meanwhile.
    """
    if memory is None:
        return device
    floor = memory.good + uptime
    corrected = device - memory.offset
    is_set_since = memory.offset < -_FAR and device >= floor
    if abs(memory.offset) > _LEEWAY and corrected >= memory.good and not is_set_since:
        return max(corrected, floor)
    return max(device, floor)


def may_pulse_teach(pulse: int, *, known: int, age: int) -> bool:
    """Tell whether a pulse's time is to be believed.

    A pulse may have been on its way for long, or held back: it can only ever be late. So it sets the clock forward,
    but back by no more than the counting clock may have gone too fast.

    Args:
        pulse: what it says.
        known: the controller's time as carried on; where it was not heard since the machine was started, the earliest
            that it can be.
        age: for how long that has been carried on by the counting clock.
    """
    return pulse >= known - age // _DRIFT


def is_doubtful(pulse: int, known: int) -> bool:
    """Tell whether a pulse is so far behind what is `known` that the controller is to be asked for the time."""
    return pulse < known - _LEEWAY
