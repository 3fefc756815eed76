"""The places in the hall: how many connections of a kind there are at once, of one person and in all.

A place is taken while the request is judged, under a lock, and before its connection comes: so no number of requests at
the same moment gets more than there are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from controller.policy.ticket import decide_room
from controller.web.hall.guest import Kind
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import UserName

# A place whose connection has not come by then is free again: the browser went before its answer was written.
_COMES_WITHIN = 120.0


@dataclass(eq=False, slots=True)
class Place:
    """One place.

    Attributes:
        since: when it was given, seconds of a monotonic clock.
        is_taken: whether its connection has come.
    """

    kind: Kind
    user: UserName
    since: float
    is_taken: bool = False


class Places:
    """All places of one process. May be asked by any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._places: set[Place] = set()

    def reserve(self, kind: Kind, user: UserName) -> Granted[Place] | Refused:
        """Take a place, where there is one (WS5)."""
        with self._lock:
            self._forget_stale()
            room = _decide(kind, self._count(kind, user), self._count(kind))
            if isinstance(room, Refused):
                return room
            place = Place(kind, user, self._clock())
            self._places.add(place)
        return Granted(place)

    def release(self, place: Place) -> None:
        """Give a place back; again is no harm."""
        with self._lock:
            self._places.discard(place)

    def count(self, kind: Kind, user: UserName | None = None) -> int:
        """Return how many are taken, of one person or of all."""
        with self._lock:
            return self._count(kind, user)

    def _count(self, kind: Kind, user: UserName | None = None) -> int:
        return sum(place.kind == kind and user in {None, place.user} for place in self._places)

    def _forget_stale(self) -> None:
        stale = self._clock() - _COMES_WITHIN
        self._places -= {place for place in self._places if not place.is_taken and place.since < stale}


def _decide(kind: Kind, of_user: int, in_all: int) -> Granted[None] | Refused:
    if kind == "terminal":
        return decide_room(of_user, in_all)
    if of_user >= limits.STREAMS_PER_USER or in_all >= limits.STREAMS_PER_WORKER:
        return Refused("so many pages are open that no more are told what changes", "WS5")
    return Granted(None)
