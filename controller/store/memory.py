"""A store in memory: for tests, and for what need not outlive the process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from controller.store import record as rules
from controller.store.interface import Collection, Record, Value


class MemoryCollection:
    """Records in a dictionary, one lock around each step. As `controller.store.interface.Collection`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._records: dict[str, Record] = {}
        self._writes = 0

    def create(self, key: str, value: Value, *, now: datetime, expires: datetime | None = None) -> Record:
        """Insert or refuse."""
        fresh = rules.first(key, value, expires)
        with self._lock:
            rules.require_absent(self._name, key, self._live(key, now))
            self._records[key] = fresh
            self._writes += 1
        return rules.handed_out(fresh)

    def get(self, key: str, *, now: datetime) -> Record | None:
        """Return the record, or None."""
        found = self._live(key, now)
        return rules.handed_out(found) if found else None

    def list(self, *, now: datetime) -> Sequence[Record]:
        """Return all live records, sorted by key."""
        with self._lock:
            records = sorted(self._records.items())
        return [rules.handed_out(record) for _, record in records if rules.live(record, now)]

    def stamp(self) -> object:
        """Return something that stays equal for as long as nothing is written."""
        return self._writes

    def parts(self) -> Sequence[Collection]:
        """Return this collection alone: it is one."""
        return (self,)

    def alone(self) -> AbstractContextManager[object]:
        """Hold the right to change."""
        return self._turn

    def replace(self, record: Record, value: Value, *, now: datetime, expires: datetime | None = None) -> Record:
        """Compare and swap."""
        with self._lock:
            current = rules.require_same(self._name, self._live(record.key, now), record)
            fresh = rules.successor(current, value, expires)
            self._records[record.key] = fresh
            self._writes += 1
        return rules.handed_out(fresh)

    def delete(self, key: str, *, now: datetime, revision: int | None = None) -> Record | None:
        """Remove the record and return it: to exactly one caller."""
        with self._lock:
            current = self._live(key, now)
            if current is not None:
                rules.require_revision(self._name, current, revision)
                del self._records[key]
                self._writes += 1
        return current

    def put_many(self, values: Mapping[str, Value], *, now: datetime) -> None:
        """Create or overwrite several records."""
        with self._lock:
            fresh = rules.merged({key: self._live(key, now) for key in values}, values)
            self._records.update({record.key: record for record in fresh})
            self._writes += 1

    def purge(self, *, now: datetime) -> int:
        """Drop expired records for good; return how many."""
        with self._lock:
            kept = {key: record for key, record in self._records.items() if rules.live(record, now)}
            dropped = len(self._records) - len(kept)
            self._records = kept
            self._writes += bool(dropped)
        return dropped

    def _live(self, key: str, now: datetime) -> Record | None:
        return rules.live(self._records.get(key), now)


class MemoryStore:
    """All collections of one process; another process sees none of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collections: dict[str, MemoryCollection] = {}

    def collection(self, name: str) -> Collection:
        """Return the collection `name`, made on first use. Raises `StoreError` for a name that may not be."""
        with self._lock:
            return self._collections.setdefault(rules.check_collection_name(name), MemoryCollection(name))
