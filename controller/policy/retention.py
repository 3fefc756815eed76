"""Which recordings are to be removed: first those past their age, then others until the rest fits.

Of these, each is the oldest of the node whose recordings take most, so that a node that floods the controller pushes
out its own and nobody else's.

A recording's age is counted from the last byte of it that the controller took, by the controller's own clock: no
device's word on the time decides how long what was done on it can be looked at.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from protocol import limits
from protocol.names import NodeId, SessionId

Reason = Literal["age", "size"]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long, and how much, to keep; None for no end.

    Attributes:
        age: a recording goes once nothing was added to it for so long.
        size: bytes that all of them together may take.
    """

    age: timedelta | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """One recording as far as retention is concerned.

    Attributes:
        node: whose it is.
        grown: when the controller last took something of it, UTC.
        size: bytes it takes.
        is_arriving: whether its node may still have more of it.
    """

    session: SessionId
    node: NodeId
    grown: datetime
    size: int
    is_arriving: bool


@dataclass(frozen=True, slots=True)
class Removal:
    """One recording that is to go, and why."""

    session: SessionId
    reason: Reason


def decide_removals(held: Iterable[Held], retention: Retention, now: datetime, *, most: int) -> list[Removal]:
    """Return what to remove now, in that order, at most `most` of them.

    What has only just grown is spared, and longer so while it is arriving: its node would begin to send it anew.
    """
    everything = sorted(held, key=lambda one: (one.grown, one.session))
    aged = [one for one in everything if _has_settled(one, now) and _is_aged(one, retention, now)]
    removals = [Removal(one.session, "age") for one in aged]
    if retention.size is not None:
        gone = {one.session for one in aged}
        left = [one for one in everything if one.session not in gone]
        removals += [Removal(one.session, "size") for one in _that_give_way(left, retention.size, now)]
    return removals[:most]


def _that_give_way(oldest_first: Sequence[Held], size: int, now: datetime) -> Iterator[Held]:
    """Yield what must go so that the rest takes no more than `size` bytes, as far as it may."""
    taken, queues = Counter[NodeId](), defaultdict[NodeId, deque[Held]](deque)
    for one in oldest_first:
        taken[one.node] += one.size
        if _has_settled(one, now):
            queues[one.node].append(one)
    excess = taken.total() - size
    nodes = [(-taken[node], node) for node in queues]
    heapq.heapify(nodes)
    while nodes and excess > 0:
        minus, node = nodes[0]
        one = queues[node].popleft()
        yield one
        excess -= one.size
        if queues[node]:
            heapq.heapreplace(nodes, (minus + one.size, node))
        else:
            heapq.heappop(nodes)


def _has_settled(one: Held, now: datetime) -> bool:
    return now - one.grown >= (limits.RECORDING_ARRIVAL_MAX if one.is_arriving else limits.RECORDING_SETTLE)


def _is_aged(one: Held, retention: Retention, now: datetime) -> bool:
    return retention.age is not None and now - one.grown >= retention.age
