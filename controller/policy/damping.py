"""When a change of a node's presence is told to the audit log, and how a link that flaps is kept from filling it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from protocol import limits

# What the audit log was last told of a node.
Told = Literal["online", "offline", ""]
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Tale:
    """What was told of one node so far.

    Attributes:
        told: the last event; empty where there was none.
        times: when events were written within the last hour, oldest first.
        untold: changes since the last event that were told by none.
    """

    told: Told = ""
    times: tuple[datetime, ...] = ()
    untold: int = 0


def note_change(tale: Tale) -> Tale:
    """Return `tale` with one change more that nobody has told yet."""
    return Tale(tale.told, tale.times, tale.untold + 1)


def decide_telling(tale: Tale, actual: Told, since: datetime, now: datetime) -> Tale | None:
    """Return what `tale` becomes where `actual` is to be told now; None where it is not, or not yet.

    Args:
        tale: what was told.
        actual: how it is.
        since: since when it is so.
        now: the present.
    """
    if actual in ("", tale.told) or now - since < limits.PRESENCE_SETTLE:
        return None
    recent = tuple(time for time in tale.times if now - time < _HOUR)
    if len(recent) >= limits.PRESENCE_EVENTS_PER_HOUR:
        return None
    return Tale(actual, (*recent, now), 0)
