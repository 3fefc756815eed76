"""TinyDB's storage, made atomic and shared: one file of tables, read without a lock, written in transactions.

TinyDB asks a storage for all tables and hands all of them back. `TablesFile` keeps what it parsed for as
long as the file stays the same one, so that reading costs one `stat`; `transaction` holds the file's lock
from the first read to the last write, and puts everything on the disk in one step at its end.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tinydb import Storage

from controller.store.durable import LOCK_TIMEOUT, LockTimeoutError, locked, replace_file, sync_directory
from controller.store.interface import StoreError

Tables = dict[str, dict[str, Any]]
_Signature = tuple[int, int, int, int]


def _signature(stat: os.stat_result) -> _Signature:
    return (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)


class _Pin:
    """Keeps a file's number from being given to another file for as long as this object lives.

    A file system may give the number of a replaced file to the next one at once, within one tick of its
    clock and with the same size: only an open descriptor makes "the same number" mean "the same file".
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self._fd)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    tables: Tables
    signature: _Signature
    pin: _Pin


class ReadOnlyStorage(Storage):
    """Tables as they were at one instant."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def read(self) -> Tables:
        """Return the tables."""
        return self._tables

    def write(self, data: Tables) -> None:
        """Refuse: writes belong in a transaction."""
        del data
        raise StoreError("written outside a transaction")


class TransactionStorage(Storage):
    """Tables that are being changed. What is read here may be handed to nobody until it is on the disk."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.changed: Tables | None = None

    def read(self) -> Tables:
        """Return the tables with what this transaction did; the outer mapping is the caller's to change."""
        return dict(self._tables if self.changed is None else self.changed)

    def write(self, data: Tables) -> None:
        """Keep `data` for the end of the transaction."""
        self.changed = data


class TablesFile:
    """One JSON file of TinyDB tables, `path`; its lock is `lock`.

    Args:
        path: the file; absent means no tables.
        lock: the lock file that all writers share.
        is_document: tells whether a parsed document is one that was written here.
        timeout: how long a writer waits for the others.
    """

    def __init__(
        self, path: Path, lock: Path, is_document: Callable[[Any], bool], *, timeout: timedelta = LOCK_TIMEOUT
    ) -> None:
        self._path = path
        self._lock = lock
        self._is_document = is_document
        self._timeout = timeout
        self._snapshot: _Snapshot | None = None

    def snapshot(self) -> ReadOnlyStorage:
        """Return the tables as they are now. Raises `StoreError`."""
        return ReadOnlyStorage(self._read())

    def stamp(self) -> object:
        """Return something equal to itself alone, and the same for as long as the file is. Raises `StoreError`."""
        current = self._current()
        return None if current is None else current.pin

    @contextlib.contextmanager
    def transaction(self) -> Iterator[TransactionStorage]:
        """Yield a storage whose writes reach the disk when the block ends without an error, or not at all.

        Raises:
            StoreError: the file cannot be read, locked or written.
        """
        with self._locked():
            storage = TransactionStorage(self._read())
            yield storage
            if storage.changed is not None:
                self._commit(storage.changed)

    @contextlib.contextmanager
    def taken_away(self) -> Iterator[ReadOnlyStorage]:
        """Yield the tables for the last time: when the block ends without an error, the file is gone.

        Raises:
            StoreError: the file cannot be read, locked or removed.
        """
        if self._current() is None:
            yield ReadOnlyStorage({})
            return
        with self._locked():
            yield self.snapshot()
            try:
                self._path.unlink(missing_ok=True)
                sync_directory(self._path.parent)
            except OSError as err:
                raise StoreError(_cannot("remove", self._path, err)) from err

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self._lock, self._timeout))
            except LockTimeoutError as err:
                raise StoreError(f"gave up waiting to write {self._path}: {err}; find it with `fuser -v`") from err
            except OSError as err:
                raise StoreError(_cannot("write", self._path, err)) from err
            yield

    def _read(self) -> Tables:
        current = self._current()
        return {} if current is None else current.tables

    def _current(self) -> _Snapshot | None:
        known = self._snapshot  # taken once: its pin must live until the comparison is over
        try:
            if known is not None and known.signature == _signature(os.stat(self._path)):  # noqa: PTH116 - the hot path
                return known
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise StoreError(_cannot("read", self._path, err)) from err
        return self._load(fd)

    def _load(self, fd: int) -> _Snapshot:
        pin = _Pin(fd)
        try:
            signature = _signature(os.fstat(fd))
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read()
        except OSError as err:
            raise StoreError(_cannot("read", self._path, err)) from err
        self._snapshot = loaded = _Snapshot(self._parse(data), signature, pin)
        return loaded

    def _parse(self, data: bytes) -> Tables:
        try:
            tables = json.loads(data)
        except (ValueError, RecursionError):
            tables = None
        if not self._is_sound(tables):
            raise StoreError(
                f"{self._path} is damaged: it is not what a store writes. Nothing was changed. Stop the controller, "
                "put the file back from a backup, or move it away to begin without its records"
            )
        sound: Tables = tables
        return sound

    def _is_sound(self, tables: object) -> bool:
        if not isinstance(tables, dict):
            return False
        return all(isinstance(table, dict) and all(map(self._is_document, table.values())) for table in tables.values())

    def _commit(self, tables: Tables) -> None:
        data = json.dumps(tables, separators=(",", ":")).encode("ascii")
        try:
            fd = replace_file(self._path, data)
        except OSError as err:
            raise StoreError(_cannot("write", self._path, err)) from err
        pin = _Pin(fd)
        self._snapshot = _Snapshot(tables, _signature(os.fstat(fd)), pin)


def _cannot(verb: str, path: Path, err: OSError) -> str:
    mend = "mend that and try again"
    if isinstance(err, PermissionError):
        mend = "run this as the user that owns the store, or as root"
    elif err.errno in {errno.ENOSPC, errno.EDQUOT}:
        mend = "nothing was lost; free some space and try again"
    return f"cannot {verb} {path}: {err.strerror or err}; {mend}"
