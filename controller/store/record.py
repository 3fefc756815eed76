"""The rules of records, the same for every store: what is live, what a write makes, what a conflict is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from controller.store.interface import AlreadyExistsError, ConflictError, Record, StoreError, Value
from protocol.events import Json

_NAME = re.compile(r"[a-z_]{1,64}", re.ASCII)


def is_collection_name(name: str) -> bool:
    """Tell whether a collection may be called `name`."""
    return bool(_NAME.fullmatch(name))


def check_collection_name(name: str) -> str:
    """Return `name` if a collection may be called so. Raises `StoreError`: it becomes a file's name."""
    if not is_collection_name(name):
        raise StoreError(f"not a collection's name: {name[:80]!r} (small letters and '_')")
    return name


def frozen(key: str, value: Value) -> Value:
    """Return a deep copy of `value` as JSON will give it back. Raises `StoreError` where it is not JSON."""
    try:
        copy: dict[str, Json] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as err:
        raise StoreError(f"record {key!r} cannot be stored: its value is not JSON") from err
    return copy


def first(key: str, value: Value, expires: datetime | None) -> Record:
    """Return the record that a `create` makes. Raises `StoreError` where `value` is not JSON."""
    return Record(key, frozen(key, value), 1, _utc(expires))


def successor(current: Record, value: Value, expires: datetime | None) -> Record:
    """Return the record that takes the place of `current`. Raises `StoreError` where `value` is not JSON."""
    return Record(current.key, frozen(current.key, value), current.revision + 1, _utc(expires))


def handed_out(record: Record) -> Record:
    """Return `record` for a caller: what that caller does to the value (one level deep) reaches nobody else."""
    return Record(record.key, dict(record.value), record.revision, record.expires)


def _utc(instant: datetime | None) -> datetime | None:
    if instant is not None and instant.tzinfo is None:
        raise StoreError("an expiry must say its time zone")
    return instant.astimezone(UTC) if instant else None


def live(record: Record | None, now: datetime) -> Record | None:
    """Return `record` unless it is none or has expired; at its very instant it has."""
    if record is None or (record.expires is not None and record.expires <= now):
        return None
    return record


def require_absent(collection: str, key: str, current: Record | None) -> None:
    """Raise `AlreadyExistsError` where there is a live record, `current`."""
    if current is not None:
        raise AlreadyExistsError(f"{collection} already holds {key!r}")


def require_same(collection: str, current: Record | None, known: Record) -> Record:
    """Return `current` where it is what the caller knows. Raises `ConflictError`.

    The whole record is compared, not only its revision: a record that was deleted and made anew begins at
    revision 1 again, and must not be taken for the old one.
    """
    if current is None or current != known:
        state = "is gone" if current is None else f"is at revision {current.revision}, not the one that was read"
        raise ConflictError(f"{collection}: {known.key!r} {state}")
    return current


def require_revision(collection: str, current: Record, revision: int | None) -> None:
    """Raise `ConflictError` where the caller names another revision."""
    if revision is not None and revision != current.revision:
        raise ConflictError(f"{collection}: {current.key!r} is at revision {current.revision}, not {revision}")


def merged(current: Mapping[str, Record | None], values: Mapping[str, Value]) -> list[Record]:
    """Return the records that `put_many` writes over the live ones in `current`, none of which expires."""
    return [
        first(key, value, None) if (old := current.get(key)) is None else successor(old, value, None)
        for key, value in values.items()
    ]
