"""The one writer of the audit log: JSON lines, one file a day, each line chained to the one before.

An event is on the disk when `write` returns. Any number of processes and threads may write at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from controller.policy import chain
from controller.policy.chain import Broken, Intact, Line, LineTooLongError
from controller.store.durable import (
    locked,
    make_private_directory,
    open_shared,
    sync_directory,
    write_all,
)
from protocol import limits
from protocol.events import AUDIT_RECOVERED, EventKind, Json
from protocol.instants import format_instant
from protocol.names import ClusterName

__all__ = ["AuditError", "AuditLog", "Broken", "Intact"]

_FILE = re.compile(r"audit-(\d{4}-\d{2}-\d{2})\.log", re.ASCII)
# A torn line, a whole one before it, and the end of the one before that.
_TAIL = 2 * limits.AUDIT_LINE_MAX + 3
# A node's event may be stamped a little later than the controller's clock when it was written.
_STAMPED_AHEAD = timedelta(days=1)


class AuditError(Exception):
    """The audit log could not be written or read; its message says why and what to do."""


@dataclass(frozen=True, slots=True)
class _Tail:
    """How a file ends: its last whole line's hash (None where there is none), and what stands after that line."""

    last_hash: str | None
    torn: bytes


class AuditLog:
    """The audit log in one directory, made 0700 where it is missing.

    Args:
        directory: where the files are.
        cluster_name: stands in every event.
        clock: the time, UTC; its day names the file.
    """

    def __init__(self, directory: Path, cluster_name: ClusterName, clock: Callable[[], datetime]) -> None:
        self._directory = directory
        self._cluster = cluster_name
        self._clock = clock
        self._lock_path = directory / "audit.lock"
        self._known: tuple[tuple[str, int, int, int], str] | None = None

    def write(
        self, kind: EventKind, fields: Mapping[str, Json], *, time: datetime | None = None, uid: str | None = None
    ) -> dict[str, Json]:
        """Append one event and return it as written. It is on the disk then.

        Args:
            kind: which event.
            fields: its own fields; long values are cut.
            time: when it happened, where that is not now.
            uid: its UUID, where it has one already.

        Raises:
            BadEventError: the fields are not those of `kind`: a mistake in the caller.
            AuditError: it could not be written; the log is as it was.
        """
        now = self._clock()
        event = chain.compose(kind, fields, cluster=self._cluster, time=time or now, uid=uid or str(uuid.uuid4()))
        try:
            with self._locked():
                return self._append(event, now)
        except (OSError, LineTooLongError, TypeError) as err:
            raise AuditError(
                f"cannot write {kind.name} to the audit log in {self._directory}: {_words(err)}; "
                "nothing that must be audited can be done until that is mended"
            ) from err

    def entries(
        self, *, since: datetime | None = None, kinds: Collection[str] = (), user: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield events, the oldest first, reading as it goes.

        Args:
            since: leave out what happened before it.
            kinds: names (``user.login``) or codes (``T1000W``) to keep; none keeps all.
            user: keep this user's only.

        Raises:
            AuditError: the log cannot be read. A damaged line is passed over: `verify` is what finds it.
        """
        earliest = format_instant(since) if since else ""
        for path in self.files():
            if since and is_before(path, since):
                continue
            for line in self.lines(path):
                event = chain.parse_line(line.data)
                if line.whole and event is not None and _is_wanted(event, earliest, kinds, user):
                    yield event

    def verify(self, *, noted: str | None = None, opening: EventKind | None = None) -> Intact | Broken:
        """Check the whole log: finds any line changed, removed, inserted or moved, and any missing file.

        The chain cannot show one thing: that the newest lines or files were cut off, or that the very last line
        was changed, for nothing follows them yet. `Intact.last_hash` is there to be noted elsewhere (on paper, in
        another system); given again as `noted`, it must be found in the log, or something up to it is gone.

        Args:
            noted: a hash that must be found.
            opening: the kind of event that the log was begun with; without that event it was emptied or removed.

        Raises:
            AuditError: the log cannot be read.
        """
        lines = (line for path, stat in self.stats().items() for line in self.lines(path, stat.st_size))
        return chain.check_chain(lines, noted=noted, opening=opening)

    def lines(self, path: Path, size: int | None = None, *, start: int = 0, number: int = 0) -> Iterator[Line]:
        """Yield the lines of a file. None is longer than memory can bear. Raises `AuditError`.

        Args:
            path: the file.
            size: no more than its first so many bytes; all of it by default.
            start: where a line begins, to begin there.
            number: how many lines are before it.
        """
        with self.reading(), path.open("rb") as file:
            left = (os.fstat(file.fileno()).st_size if size is None else size) - start
            file.seek(start)
            while left > 0 and (data := file.readline(min(left, limits.AUDIT_LINE_MAX + 2))):
                left -= len(data)
                number += 1
                yield Line(path.name, number, data.removesuffix(b"\n"), data.endswith(b"\n"))

    def files(self) -> list[Path]:
        """Return the log's files, the oldest first. Raises `AuditError`."""
        with self.reading():
            if not self._directory.is_dir():
                return []
            return sorted(path for path in self._directory.iterdir() if _FILE.fullmatch(path.name))

    def stats(self) -> dict[Path, os.stat_result]:
        """Return the files as they are now, the oldest first, while nobody is in the middle of writing.

        Raises:
            AuditError: they cannot be looked at.
        """
        if not self.files():
            return {}
        with self.reading(), self._locked():
            return {path: path.stat() for path in self.files()}

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Raise `AuditError` for an `OSError` in the block: the log cannot be read."""
        try:
            yield
        except OSError as err:
            raise AuditError(f"cannot read the audit log in {self._directory}: {err.strerror or err}") from err

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        make_private_directory(self._directory)
        with locked(self._lock_path):
            yield

    def _append(self, event: dict[str, Json], now: datetime) -> dict[str, Json]:
        files = self.files()
        previous, torn = self._end(files)
        path = self._directory / f"audit-{now.astimezone(UTC):%Y-%m-%d}.log"
        # The chain runs in the order of the files' names: where the clock was set back, the newest file goes on,
        # and so it does where its last line has yet to be ended.
        if files and (torn or files[-1] > path):
            path = files[-1]
        data = b""
        if torn:
            line = self._recovered_line(path, torn, previous, now)
            data, previous = b"\n" + line + b"\n", chain.line_hash(line)
        written, line = chain.encode(event, previous)
        self._append_bytes(path, data + line + b"\n")
        self._known = (_signature(path), chain.line_hash(line))
        return written

    def _recovered_line(self, path: Path, torn: bytes, after: str, now: datetime) -> bytes:
        fields: dict[str, Json] = {"file": path.name, "bytes": len(torn), "after": after}
        event = chain.compose(AUDIT_RECOVERED, fields, cluster=self._cluster, time=now, uid=str(uuid.uuid4()))
        return chain.encode(event, chain.line_hash(torn))[1]

    def _end(self, files: list[Path]) -> tuple[str, bytes]:
        """Return the hash of the log's last whole line, and what a crash left after it."""
        if files and self._known is not None and self._known[0] == _signature(files[-1]):
            return self._known[1], b""
        torn = b""
        for path in reversed(files):
            tail = self._tail(path)
            torn = torn or tail.torn
            if tail.last_hash is not None:
                return tail.last_hash, torn
        return chain.GENESIS, torn

    def _tail(self, path: Path) -> _Tail:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = max(0, size - _TAIL)
            data = os.pread(file.fileno(), _TAIL, start)
        whole, newline, torn = data.rpartition(b"\n")
        last = whole.rpartition(b"\n")[2]
        if start and (not newline or last == whole):
            raise AuditError(
                f"{path} ends with something that is no line of an audit log; look at it, and move it away "
                "(`tctl audit verify` will say that it is missing)"
            )
        return _Tail(chain.line_hash(last) if newline else None, torn)

    @staticmethod
    def _append_bytes(path: Path, data: bytes) -> None:
        fd = open_shared(path, os.O_APPEND)
        try:
            size = os.fstat(fd).st_size
            try:
                write_all(fd, data)
                os.fdatasync(fd)
                if size == 0:
                    sync_directory(path.parent)
            except BaseException:
                with contextlib.suppress(OSError):  # if even that fails, the next write finds a torn line
                    os.ftruncate(fd, size)
                raise
        finally:
            os.close(fd)


def _signature(path: Path) -> tuple[str, int, int, int]:
    stat = path.stat()
    return (path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def is_before(path: Path, since: datetime) -> bool:
    """Tell whether all that stands in a file of the log happened before `since`."""
    return since.astimezone(UTC).date() - _day(path) > _STAMPED_AHEAD


def is_after(path: Path, until: datetime) -> bool:
    """Tell whether what stands in a file of the log was written after `until`, though some may have happened before."""
    return _day(path) - until.astimezone(UTC).date() > _STAMPED_AHEAD


def _day(path: Path) -> date:
    match = _FILE.fullmatch(path.name)
    try:
        return date.fromisoformat(match[1]) if match else date.max
    except ValueError:
        return date.max  # a name that no day gives: kept in sight rather than passed over


def _is_wanted(event: Mapping[str, Any], earliest: str, kinds: Collection[str], user: str | None) -> bool:
    if str(event.get("time", "")) < earliest or (user is not None and event.get("user") != user):
        return False
    return not kinds or event.get("event") in kinds or event.get("code") in kinds


def _words(err: Exception) -> str:
    return err.strerror or str(err) if isinstance(err, OSError) else str(err)
