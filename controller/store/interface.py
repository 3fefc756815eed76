"""What a store promises, as Protocols. The contract suite in tests/controller/store runs on every implementation.

A store holds named collections; a collection holds records: a key, a JSON object, a revision that every
write raises, and perhaps an instant at which the record stops existing. Everything that must happen once
(spending a token, a code, an invite) is one `create`, one `replace` or one `delete`, each of which exactly
one of any number of racing callers wins, in whatever process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from protocol.events import Json

Value = Mapping[str, Json]


class StoreError(Exception):
    """The store could not be read or written; its message says what was being done."""


class AlreadyExistsError(StoreError):
    """`create` found a record with that key."""


class ConflictError(StoreError):
    """`replace` found another revision than the caller had read, or no record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was when it was read.

    Attributes:
        key: its key within the collection.
        value: a JSON object; the caller must not change it.
        revision: 1 at creation, one more with each write.
        expires: the instant from which it is gone, UTC; None for never.
    """

    key: str
    value: Value
    revision: int
    expires: datetime | None = None


class Collection(Protocol):
    """Records of one kind. `now` is the caller's clock: an expired record is as good as absent."""

    def create(self, key: str, value: Value, *, now: datetime, expires: datetime | None = None) -> Record:
        """Insert or refuse, atomically. Raises `AlreadyExistsError` where a live record has that key."""
        ...

    def get(self, key: str, *, now: datetime) -> Record | None:
        """Return the record, or None."""
        ...

    def list(self, *, now: datetime) -> Sequence[Record]:
        """Return all live records, sorted by key."""
        ...

    def stamp(self) -> object:
        """Return something that stays equal for as long as nothing is written to this collection, by anyone.

        It costs less than a read, and lets a reader keep what it made of the records.
        """
        ...

    def parts(self) -> Sequence[Collection]:
        """Return the collections that it is made of, each with a stamp of its own; itself where it is one.

        Who keeps what it made of a large collection makes anew only what belongs to the part that was written.
        """
        ...

    def alone(self) -> AbstractContextManager[object]:
        """Hold the right to change what nobody else may change meanwhile, among all threads and processes.

        It binds those that ask for it, and ends with its holder: so an event can be written that is true by the time
        it is done. What is at stake is read inside. Raises `StoreError` where somebody else holds it for too long.
        """
        ...

    def replace(self, record: Record, value: Value, *, now: datetime, expires: datetime | None = None) -> Record:
        """Compare and swap: write `value` if `record` is still the newest. Raises `ConflictError`."""
        ...

    def delete(self, key: str, *, now: datetime, revision: int | None = None) -> Record | None:
        """Remove the record and return it: to exactly one caller. None where it was absent.

        With `revision`, raises `ConflictError` where the record is live at another revision.
        """
        ...

    def put_many(self, values: Mapping[str, Value], *, now: datetime) -> None:
        """Create or overwrite several records in one atomic write, without expiry.

        For derived state with one writer (the proxy's view of tunnels), never for one-time things.
        """
        ...

    def purge(self, *, now: datetime) -> int:
        """Drop expired records for good; return how many."""
        ...


class Store(Protocol):
    """All collections of one controller."""

    def collection(self, name: str) -> Collection:
        """Return the collection `name` (small letters and ``_``), made on first use."""
        ...
