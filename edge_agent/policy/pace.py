"""What becomes of a program's output where one of those who see it cannot keep up.

Alone, somebody holds the program, and nothing is lost to them. With others there, who only looks on holds nobody: they
miss what they have not taken, and are then shown the screen as it is by that time. Who types as well may hold the
program for a while first, so that a short stall costs them nothing; but whose line is simply too slow may do so once,
and not again and again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from protocol import limits
from protocol.joining import JoinMode

_PATIENCE = limits.PEER_PATIENCE.total_seconds()
# A program that was held goes on when so much of what waited is gone.
_CAUGHT_UP = limits.PARTY_BEHIND // 4
# Who was behind is waited for again once they have kept up for so many seconds.
_PROBATION = 10.0


class Pace(Enum):
    """What to do on account of one party."""

    GO_ON = "go on"
    HOLD = "hold"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far behind a party is.

    Attributes:
        is_full: whether its channel or the link takes nothing at present.
        waiting: bytes that wait for it, but for those of a snapshot: they make up for what it missed.
        held: for how many seconds the program has been held for it; None where it is not.
        kept_up: for how many seconds it has kept up since it was behind; None where it never was.
    """

    is_full: bool
    waiting: int
    held: float | None = None
    kept_up: float | None = None

    @property
    def may_hold(self) -> bool:
        """Whether a peer is worth waiting for."""
        return self.kept_up is None or self.kept_up >= _PROBATION


def decide_pace(backlog: Backlog, mode: JoinMode, *, is_alone: bool) -> Pace:
    """Return what to do; to be asked again when something of it changes, and when `PEER_PATIENCE` is over."""
    if not backlog.is_full:
        return Pace.GO_ON
    if is_alone:
        return Pace.HOLD
    if backlog.held is None:
        if backlog.waiting <= limits.PARTY_BEHIND:
            return Pace.GO_ON
        return Pace.HOLD if mode == "peer" and backlog.may_hold else Pace.DROP
    if backlog.waiting <= _CAUGHT_UP:
        return Pace.GO_ON
    return Pace.HOLD if mode == "peer" and backlog.held < _PATIENCE else Pace.DROP
