"""The events that wait to be sent: in memory, and on disk as far as the disk allows.

`events.jsonl` begins with a line that holds the running number so far and how many events gave way unreported,
`{"base": N, "lost": M}`; every further line is one event. Lines are only ever appended; what has been acknowledged
goes when the file is written anew. A torn last line, left by a power cut, is passed over. Memory is the truth while
the agent runs: a disk that is full or broken costs the events their safety across a restart, nothing more.
"""

from __future__ import annotations

import errno
import json
import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from protocol import limits
from protocol.messages import MessageError, NodeEvent

FILE = "events.jsonl"
_LINE_MAX = limits.AUDIT_LINE_MAX
# Written anew when it holds twice what may wait; a file beyond that is not ours.
_WRITTEN_MAX = 2 * limits.EVENT_QUEUE_MAX_BYTES
_FILE_MAX = _WRITTEN_MAX + 2 * _LINE_MAX
# Numbers further ahead of what the controller holds are a slip: it would soon refuse them.
_AHEAD_MAX = limits.EVENT_SEQUENCE_JUMP_MAX // 2
# A batch stays well below what the controller reads of one body.
_BATCH_BYTES = limits.HTTP_BODY_MAX * 3 // 4


@dataclass(frozen=True, slots=True)
class _Queued:
    sequence: int
    line: bytes


class EventQueue:
    """Events in the order of their numbers, at most `most` in at most `most_bytes`; the oldest give way.

    Attributes:
        lost: how many gave way and have not been reported as lost.
        fault: what the disk said last; empty where it is well.
    """

    def __init__(
        self, directory: Path, most: int = limits.EVENT_QUEUE_MAX, most_bytes: int = limits.EVENT_QUEUE_MAX_BYTES
    ) -> None:
        self._path = directory / FILE
        self._most = most
        self._most_bytes = most_bytes
        self._events: deque[_Queued] = deque()
        self._size = 0
        self._last = 0
        self._file: int | None = None
        self._lines = self._written = 0
        self.lost = 0
        self.fault = ""
        self._load()
        # The last number as it was found, until it is known what the controller holds.
        self._found: int | None = self._last

    def __len__(self) -> int:
        return len(self._events)

    def next_sequence(self) -> int:
        """Return the next event's number and count it as used."""
        self._last += 1
        return self._last

    def append(self, event: NodeEvent) -> None:
        """Take one event, numbered by `next_sequence`. Never raises for the disk's sake."""
        line = _line(event.to_dict())
        if len(line) > _LINE_MAX:
            self.lost += 1
            self._rewrite()
            return
        self._add(event.sequence, line)
        self._make_room()
        if self._file is None or self._lines > 2 * self._most or self._written > _WRITTEN_MAX:
            self._rewrite()
        else:
            self._write(line)

    def batch(self) -> tuple[NodeEvent, ...]:
        """Return the oldest events, as many as fit one message."""
        found: list[NodeEvent] = []
        size = 0
        for queued in self._events:
            size += len(queued.line)
            if len(found) == limits.EVENT_BATCH_MAX or (found and size > _BATCH_BYTES):
                break
            found.append(NodeEvent.from_dict(json.loads(queued.line)))
        return tuple(found)

    def forget(self, sequence: int) -> None:
        """Drop all events up to `sequence`: the controller holds them."""
        before = len(self._events)
        while self._events and self._events[0].sequence <= sequence:
            self._remove_first()
        if len(self._events) != before:
            self._rewrite()

    def drop(self, sequence: int) -> None:
        """Give up one event, and count it as lost; nothing where it has gone already."""
        kept = [queued for queued in self._events if queued.sequence != sequence]
        if len(kept) != len(self._events):
            self._hold(kept)
            self.lost += 1
            self._rewrite()

    def forgive(self, count: int) -> None:
        """Take `count` off the events that were lost: the controller knows of them."""
        self.lost = max(self.lost - count, 0)
        self._rewrite()

    def settle(self, held: int) -> bool:
        """Fit the numbers to what the controller says it holds; tell whether that gave new ones.

        What was numbered after the counter was lost, or had stood still on a disk that took nothing, would pass
        for what the controller has; what is numbered far ahead, it would refuse.
        """
        known = self._last if self._found is None else self._found
        fits = held <= known <= held + _AHEAD_MAX
        if fits:
            self.forget(held)
        else:
            self._renumber(held)
        self._found = None
        return not fits

    def _renumber(self, beyond: int) -> None:
        """Give the events that wait new numbers above `beyond`."""
        events = [NodeEvent.from_dict(json.loads(queued.line)) for queued in self._events]
        self._hold([])
        self._last = beyond
        for event in events:
            number = self.next_sequence()
            self._add(number, _line(event.to_dict() | {"sequence": number}))
        self._rewrite()

    def _add(self, sequence: int, line: bytes) -> None:
        self._events.append(_Queued(sequence, line))
        self._size += len(line)

    def _remove_first(self) -> None:
        self._size -= len(self._events.popleft().line)

    def _make_room(self) -> None:
        while len(self._events) > self._most or self._size > self._most_bytes:
            self._remove_first()
            self.lost += 1

    def _hold(self, events: list[_Queued]) -> None:
        self._events = deque(events)
        self._size = sum(len(queued.line) for queued in events)

    def sync(self) -> None:
        """Have the disk keep what was written. Blocks; for a thread. Never raises for the disk's sake."""
        file = self._file  # another thread may close it
        if file is not None:
            with suppress(OSError):
                os.fdatasync(file)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self.sync()
            os.close(self._file)
            self._file = None

    def _load(self) -> None:
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size <= _FILE_MAX:
                    self._read(file.read(_FILE_MAX))
                else:
                    self._read(file.readline(_LINE_MAX))
        except FileNotFoundError:
            pass
        except OSError as err:
            self.fault = f"cannot be read: {err.strerror}"
        self._rewrite()

    def _read(self, data: bytes) -> None:
        for line in data.split(b"\n")[:-1]:  # what follows the last newline is torn, or nothing
            with suppress(ValueError, MessageError, TypeError, AttributeError, RecursionError):
                record = json.loads(line)
                if "base" in record:
                    self._last = max(self._last, _count(record["base"]))
                    self.lost = _count(record.get("lost", 0))
                    continue
                event = NodeEvent.from_dict(record)
                self._add(event.sequence, line + b"\n")
                self._last = max(self._last, event.sequence)
        self._make_room()

    def _write(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            _write_whole(self._file, line)
            self._lines += 1
            self._written += len(line)
        except OSError as err:
            self._give_up(err)

    def _rewrite(self) -> None:
        """Write the whole file anew and keep it open for more."""
        self._shut()
        temporary = self._path.with_name(f".{FILE}.new")
        first = self._events[0].sequence if self._events else self._last + 1
        try:
            temporary.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(temporary, flags, 0o600)
            whole = _line({"base": max(first - 1, 0), "lost": self.lost}) + b"".join(
                queued.line for queued in self._events
            )
            _write_whole(self._file, whole)
            temporary.rename(self._path)  # not synced here, which could hold up the sessions: see `sync`
            self._lines, self._written = len(self._events), len(whole)
            self.fault = ""
        except OSError as err:
            self._give_up(err)

    def _give_up(self, err: OSError) -> None:
        self.fault = f"cannot be written: {err.strerror}"
        self._shut()

    def _shut(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None


def _write_whole(fd: int, data: bytes) -> None:
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, "no space left on the device")


def _count(value: object) -> int:
    """Return a number from a file that anything may have happened to. Raises `ValueError`."""
    if not isinstance(value, int) or value < 0:
        raise ValueError("no count")
    return value


def _line(record: object) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"
