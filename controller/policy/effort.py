"""How much of what a node uploads is looked into, to learn who took part.

All of it is checked by its chain and its seals. What is in it must be decrypted, unpacked and searched as well, and a
few bytes can be made to cost much there: so each piece, and each node within a minute, has so much and no more. What is
beyond it is taken all the same, and seen when it is played.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from protocol import limits

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Effort:
    """What one node's uploads took within a minute.

    Attributes:
        since: when the minute began.
        spent: bytes that were unpacked, and work that takes as long.
    """

    since: datetime
    spent: int


def decide_allowance(before: Effort | None, now: datetime) -> int:
    """Return how much the next piece may take; 0 for nothing."""
    spent = before.spent if before is not None and _is_within(before, now) else 0
    return max(0, min(limits.UPLOAD_UNPACKED_PER_PIECE, limits.UPLOAD_UNPACKED_PER_MINUTE - spent))


def add_effort(before: Effort | None, spent: int, now: datetime) -> Effort:
    """Return what a node's uploads took, after one more piece."""
    if before is None or not _is_within(before, now):
        return Effort(now, spent)
    return Effort(before.since, before.spent + spent)


def _is_within(effort: Effort, now: datetime) -> bool:
    return effort.since <= now < effort.since + _MINUTE
