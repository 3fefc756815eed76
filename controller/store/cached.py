"""What was made of a collection's records, kept for as long as the store says that nothing was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from controller.store.interface import Collection, Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _View(Generic[T]):
    """What was made of the records as they were under one stamp."""

    stamp: object
    made: T


class Cached(Generic[T]):
    """The very same object for as long as nothing changes, whoever may write.

    Args:
        collection: whose records they are.
        make: makes something of all its live records.
        clock: the time, UTC. What expires stays until the next write: who minds that looks at the times.
    """

    def __init__(
        self, collection: Collection, make: Callable[[Sequence[Record]], T], clock: Callable[[], datetime]
    ) -> None:
        self._collection = collection
        self._make = make
        self._clock = clock
        self._view: _View[T] | None = None

    def read(self) -> T:
        """Return what `make` made of the records as they are now. Raises `StoreError`."""
        stamp, view = self._collection.stamp(), self._view
        if view is None or stamp != view.stamp:
            # The stamp is from before the reading: a write in between makes it old, and the next call reads again.
            self._view = view = _View(stamp, self._make(self._collection.list(now=self._clock())))
        return view.made
