"""The embedded store: TinyDB, one JSON file a collection, safe among processes and against crashes.

Every write is on the disk when it returns. Readers take no lock. A write costs its whole file, and so does the next
read in every process: collections with records of each node stand in many files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from tinydb import Storage, where
from tinydb.queries import QueryInstance
from tinydb.table import Document, Table

from controller.store import record as rules
from controller.store.durable import leftovers, locked, make_private_directory
from controller.store.interface import Collection, Record, StoreError, Value
from controller.store.sharded import ShardedCollection, share_of
from controller.store.tables import TablesFile

# The collections that grow with the fleet and are written node by node. A fleet of 10,000 is some 150 nodes a file.
SHARDED = frozenset({"node_keys", "nodes", "spent_challenges"})
_LETTERS = "abcdefgh"
_SUFFIXES = tuple(first + second for first in _LETTERS for second in _LETTERS)


class _Records(Table):
    """A TinyDB table whose document ids are the records' keys."""

    document_id_class = str  # type: ignore[assignment]  # TinyDB means it to be replaced but types it as int

    def find(self, key: str) -> Record | None:
        document = self.get(doc_id=key)  # type: ignore[call-overload]  # the same
        return None if document is None else _decode(key, document)

    def put(self, records: Sequence[Record]) -> None:
        # Removed and inserted, never updated: an update would change the documents that readers hold.
        self.remove(doc_ids=[record.key for record in records])  # type: ignore[misc]  # the same
        self.insert_multiple(Document(_encode(record), record.key) for record in records)  # type: ignore[arg-type]


def _table(storage: Storage, name: str) -> _Records:
    # One object an operation, and no query cache: another process may have written since.
    return _Records(storage, name, cache_size=0)


def _instant(moment: datetime) -> str:
    """Return RFC 3339 text of fixed width, so that texts sort as their instants do."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _is_after(expires: str | None, instant: str) -> bool:
    return expires is None or expires > instant


def _lives_at(now: datetime) -> QueryInstance:
    return where("expires").test(_is_after, _instant(now))  # type: ignore[arg-type]  # TinyDB types fields as mappings


def _encode(record: Record) -> dict[str, Any]:
    expires = _instant(record.expires) if record.expires else None
    return {"value": record.value, "revision": record.revision, "expires": expires}


def _decode(key: str, document: Mapping[str, Any]) -> Record:
    expires = document["expires"]
    # The value is copied one level deep: what a caller does to it must not reach other readers.
    return Record(
        key, dict(document["value"]), document["revision"], None if expires is None else datetime.fromisoformat(expires)
    )


def _is_document(document: object) -> bool:
    match document:
        case {"value": dict(), "revision": int(), "expires": None}:
            return True
        case {"value": dict(), "revision": int(), "expires": str(text)}:
            return _is_instant(text)
        case _:
            return False


def _is_instant(text: str) -> bool:
    try:
        return _instant(datetime.fromisoformat(text)) == text
    except (ValueError, OverflowError):
        return False


class TinyCollection:
    """One collection in one file. As `controller.store.interface.Collection`; each method may raise `StoreError`."""

    def __init__(self, directory: Path, name: str, suffix: str = "") -> None:
        """Begin with nothing read. With `suffix` it is a part of the collection `name`, in a file of its own."""
        self._name = name
        file = name + suffix
        self._turn = directory / f"{file}.turn"
        self._file = TablesFile(directory / f"{file}.json", directory / f"{file}.lock", _is_document)

    def hand_over(self, parts: Sequence[TinyCollection], part_of: Callable[[str], int]) -> None:
        """Move every record, as it is, to the one of `parts` that its key belongs to; nothing where there is none.

        Cut short by a crash, it is done again: until it is done, nobody reads or writes the parts.
        """
        with self._file.taken_away() as storage:
            shares: dict[int, list[Record]] = {}
            for document in _table(storage, self._name).all():
                key = str(document.doc_id)
                shares.setdefault(part_of(key), []).append(_decode(key, document))
            for number, records in shares.items():
                parts[number].keep(records)

    def keep(self, records: Sequence[Record]) -> None:
        """Put records in as they are, over any with the same keys."""
        with self._file.transaction() as storage:
            _table(storage, self._name).put(records)

    def create(self, key: str, value: Value, *, now: datetime, expires: datetime | None = None) -> Record:
        """Insert or refuse."""
        fresh = rules.first(key, value, expires)
        with self._file.transaction() as storage:
            table = _table(storage, self._name)
            rules.require_absent(self._name, key, rules.live(table.find(key), now))
            table.put([fresh])
        return rules.handed_out(fresh)

    def get(self, key: str, *, now: datetime) -> Record | None:
        """Return the record, or None."""
        return rules.live(_table(self._file.snapshot(), self._name).find(key), now)

    def list(self, *, now: datetime) -> Sequence[Record]:
        """Return all live records, sorted by key."""
        documents = _table(self._file.snapshot(), self._name).search(_lives_at(now))
        return [_decode(key, document) for key, document in sorted((str(found.doc_id), found) for found in documents)]

    def stamp(self) -> object:
        """Return something that stays equal for as long as nothing is written. Raises `StoreError`."""
        return self._file.stamp()

    def parts(self) -> Sequence[Collection]:
        """Return this collection alone: it is one."""
        return (self,)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the right to change: a file's lock, as a write's is, and beside it."""
        with ExitStack() as held:
            try:
                held.enter_context(locked(self._turn))
            except OSError as err:
                raise StoreError(f"gave up waiting to change {self._name}: {err}; try again") from err
            yield

    def replace(self, record: Record, value: Value, *, now: datetime, expires: datetime | None = None) -> Record:
        """Compare and swap."""
        with self._file.transaction() as storage:
            table = _table(storage, self._name)
            current = rules.require_same(self._name, rules.live(table.find(record.key), now), record)
            fresh = rules.successor(current, value, expires)
            table.put([fresh])
        return rules.handed_out(fresh)

    def delete(self, key: str, *, now: datetime, revision: int | None = None) -> Record | None:
        """Remove the record and return it: to exactly one caller."""
        with self._file.transaction() as storage:
            table = _table(storage, self._name)
            current = rules.live(table.find(key), now)
            if current is not None:
                rules.require_revision(self._name, current, revision)
                table.remove(doc_ids=[key])  # type: ignore[list-item]  # a key is a document id here
        return current

    def put_many(self, values: Mapping[str, Value], *, now: datetime) -> None:
        """Create or overwrite several records in one write."""
        with self._file.transaction() as storage:
            table = _table(storage, self._name)
            table.put(rules.merged({key: rules.live(table.find(key), now) for key in values}, values))

    def purge(self, *, now: datetime) -> int:
        """Drop expired records for good; return how many."""
        dead = ~_lives_at(now)
        with self._file.transaction() as storage:
            table = _table(storage, self._name)
            return len(table.remove(dead)) if table.contains(dead) else 0


class TinyStore:
    """All collections under one directory, made 0700 where it is missing.

    Any number of processes may hold a `TinyStore` of the same directory, and share what is in it.
    """

    def __init__(self, directory: Path) -> None:
        """Open the store. Raises `StoreError`."""
        self._directory = directory
        self._lock = Lock()
        self._collections: dict[str, Collection] = {}
        try:
            make_private_directory(directory)
            self._clean()
        except OSError as err:
            raise StoreError(f"cannot open the store in {directory}: {err.strerror or err}") from err

    def collection(self, name: str) -> Collection:
        """Return the collection `name`, made on first use. Raises `StoreError` for a name that may not be."""
        checked = rules.check_collection_name(name)
        with self._lock:
            if checked not in self._collections:
                self._collections[checked] = self._open(checked)
            return self._collections[checked]

    def _open(self, name: str) -> Collection:
        whole = TinyCollection(self._directory, name)
        if name not in SHARDED:
            return whole
        parts = [TinyCollection(self._directory, name, f"_{suffix}") for suffix in _SUFFIXES]
        whole.hand_over(parts, lambda key: share_of(key, len(parts)))
        return ShardedCollection(parts, whole)

    def _clean(self) -> None:
        """Remove what crashes left of writes that were never acknowledged, but no file that is being written."""
        for leftover in leftovers(self._directory):
            name = leftover.name.partition(".")[0]
            if rules.is_collection_name(name):
                with locked(self._directory / f"{name}.lock"):
                    leftover.unlink(missing_ok=True)
