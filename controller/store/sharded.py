"""A collection in many parts, so that a write costs a part of it, and a reader reads again only what was written."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from operator import attrgetter

from controller.store import record as rules
from controller.store.interface import Collection, Record, Value


class ShardedCollection:
    """One collection, its records spread over others by their keys. As `controller.store.interface.Collection`.

    `put_many` writes each part at once, and not all of them together.

    Args:
        parts: the collections it is made of, always in the same order.
        whole: gives the right of `Collection.alone`.
    """

    def __init__(self, parts: Sequence[Collection], whole: Collection) -> None:
        self._parts = tuple(parts)
        self._whole = whole

    def create(self, key: str, value: Value, *, now: datetime, expires: datetime | None = None) -> Record:
        """Insert or refuse."""
        return self._part(key).create(key, value, now=now, expires=expires)

    def get(self, key: str, *, now: datetime) -> Record | None:
        """Return the record, or None."""
        return self._part(key).get(key, now=now)

    def list(self, *, now: datetime) -> Sequence[Record]:
        """Return all live records, sorted by key."""
        return list(heapq.merge(*(part.list(now=now) for part in self._parts), key=attrgetter("key")))

    def stamp(self) -> object:
        """Return something that stays equal for as long as nothing is written."""
        return tuple(part.stamp() for part in self._parts)

    def parts(self) -> Sequence[Collection]:
        """Return the parts."""
        return self._parts

    def alone(self) -> AbstractContextManager[object]:
        """Hold the right to change."""
        return self._whole.alone()

    def replace(self, record: Record, value: Value, *, now: datetime, expires: datetime | None = None) -> Record:
        """Compare and swap."""
        return self._part(record.key).replace(record, value, now=now, expires=expires)

    def delete(self, key: str, *, now: datetime, revision: int | None = None) -> Record | None:
        """Remove the record and return it: to exactly one caller."""
        return self._part(key).delete(key, now=now, revision=revision)

    def put_many(self, values: Mapping[str, Value], *, now: datetime) -> None:
        """Create or overwrite several records, in one write a part."""
        shares: dict[int, dict[str, Value]] = {}
        for key, value in values.items():
            # What is not JSON is refused before anything is written.
            shares.setdefault(share_of(key, len(self._parts)), {})[key] = rules.frozen(key, value)
        for number, share in shares.items():
            self._parts[number].put_many(share, now=now)

    def purge(self, *, now: datetime) -> int:
        """Drop expired records for good; return how many."""
        return sum(part.purge(now=now) for part in self._parts)

    def _part(self, key: str) -> Collection:
        return self._parts[share_of(key, len(self._parts))]


def share_of(key: str, parts: int) -> int:
    """Return which of so many parts a key belongs to. What is stored stands by it: it cannot be changed."""
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % parts
