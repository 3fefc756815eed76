"""One recording gone through once, in steps: where in it is what, whether it is whole, and nothing of it kept.

A survey is what seeking and the verdict rest on. It goes on where it stood when more has arrived, does a bounded piece
of work each time it is asked to, and opens records only to find the few things that a player marks.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from protocol import limits
from protocol.recording import cast
from protocol.recording.cast import CastError, CastHeader, Event
from protocol.recording.fault import RecordingError
from protocol.recording.framing import Position
from protocol.recording.header import Header
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, Reader
from protocol.recording.verdict import Examiner, Verdict

# Returns at most so many bytes of the recording from an offset on.
Read = Callable[[int, int], bytes]
MarkKind = Literal["resize", "join", "leave", "marker"]
_MARKS: dict[str, MarkKind] = {"r": "resize", "j": "join", "l": "leave", "m": "marker"}
_SIGNS = tuple(f',"{code}",'.encode() for code in _MARKS)
# Where the code of a line can stand at the latest: after its time.
_CODE_END = 24
MARKS_MAX = 1000
MARK_TEXT_MAX = 200
# Bytes read and bytes unpacked, with so many for each record, in one step: some tenths of a second.
STEP_EFFORT = 16 * 1024 * 1024
_RECORD_EFFORT = 8 * 1024
# So much of one recording is unpacked to find what is marked; what comes after is played without marks.
LOOKED_INTO_MAX = 256 * 1024 * 1024
# A stretch is what is read at a time: so many bytes of records, or more where there would be too many stretches.
_STRETCH_MIN = 32 * 1024
_STRETCHES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some records that follow one another.

    Attributes:
        position: where the first of them begins.
        begin: when the first data record among them begins, milliseconds since the session's start.
    """

    position: Position
    begin: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that a player marks. `time` is in milliseconds since the session's start."""

    time: int
    kind: MarkKind
    text: str


class Survey:
    """What is known of one recording by now. Its methods may be called by any thread.

    Attributes:
        header: the recording's.
        opener: opens its records; None where this controller cannot.
        size: columns and rows of the terminal at the beginning.
        command: as the content says it; empty for a shell.
        returns: whether lines end in a line feed alone: there was no terminal to make two characters of it.
        marks: what was found, in its order; at most `MARKS_MAX`.
        marked: up to which moment it was looked for, milliseconds.
    """

    def __init__(self, header: Header, opener: Opener | None) -> None:
        self.header = header
        self.opener = opener
        self.size = (80, 24)
        self.command = ""
        self.returns = False
        self.marks: list[Mark] = []
        self.marked = 0
        self._lock = threading.Lock()
        self._examiner = Examiner()
        self._taken = 0
        self._stretches: list[Stretch] = []
        self._stretch_size = _STRETCH_MIN
        self._looked = 0
        self._began = False

    @property
    def taken(self) -> int:
        """How many bytes were gone through."""
        return self._taken

    @property
    def end(self) -> Position:
        """Where the last good record ends."""
        verdict = self._examiner.verdict()
        return Position(verdict.records, verdict.size, verdict.hash)

    @property
    def fault(self) -> RecordingError | None:
        """What is wrong, and where; nothing was read beyond it."""
        return self._examiner.fault

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """All stretches, in their order."""
        with self._lock:
            return tuple(self._stretches)

    def advance(self, read: Read, size: int, effort: int = STEP_EFFORT) -> bool:
        """Go on, up to `size` bytes of the recording or about so much `effort`; tell whether all was gone through."""
        with self._lock:
            while self._taken < size and effort > 0 and self.fault is None:
                piece = read(self._taken, min(limits.RECORDING_PIECE_MAX, size - self._taken))
                if not piece:
                    break
                effort -= len(piece)
                self._taken += len(piece)
                for record in self._examiner.feed(piece):
                    if isinstance(record, DataRecord):
                        effort -= self._note(record)
            return self._taken >= size or self.fault is not None

    def verdict(self, signer: bytes | None) -> Verdict:
        """Return the verdict on what was gone through, had its seals been checked with this key."""
        with self._lock:
            verdict = self._examiner.verdict()
        if signer is None or verdict.fault is not None or verdict.header is None:
            return verdict
        if signer == verdict.header.signer:
            return replace(verdict, vouched=True)
        wrong = RecordingError("F10", 0, "the recording was signed with another key")
        return replace(verdict, state="broken", records=0, sealed=0, size=0, vouched=True, fault=wrong)

    def stretch_of(self, number: int) -> int | None:
        """Return which stretch the record of that number lies in; None where it has not come."""
        stretches = self.stretches
        if not stretches or number >= self.end.number:
            return None
        return max(0, bisect_right(stretches, number, key=lambda each: each.position.number) - 1)

    def stretch_at(self, time: int) -> int | None:
        """Return the last stretch that begins by `time`, or the first; None where there is none."""
        stretches = self.stretches
        return max(0, bisect_right(stretches, time, key=lambda each: each.begin) - 1) if stretches else None

    def records(self, stretch: int, read: Read) -> Iterator[DataRecord]:
        """Yield the data records of a stretch, holding one piece at a time. Raises `RecordingError`."""
        stretches = self.stretches
        at, end = stretches[stretch].position, self.end.offset
        if stretch + 1 < len(stretches):
            end = stretches[stretch + 1].position.offset
        reader = Reader.resume(self.header, at, begin=0, sealed=0, last=None, signer=None)
        offset = at.offset
        while offset < end and (piece := read(offset, min(limits.RECORDING_PIECE_MAX, end - offset))):
            offset += len(piece)
            for record in reader.feed(piece):
                if isinstance(record, DataRecord):
                    yield record

    def _note(self, record: DataRecord) -> int:
        """Take a record down; return how much effort that was."""
        last = self._stretches[-1] if self._stretches else None
        if last is None or record.position.offset - last.position.offset >= self._stretch_size:
            self._stretches.append(Stretch(record.position, record.begin))
        if len(self._stretches) > _STRETCHES_MAX:
            del self._stretches[1::2]
            self._stretch_size *= 2
        return _RECORD_EFFORT + self._look_into(record)

    def _look_into(self, record: DataRecord) -> int:
        if self.opener is None or self._looked >= LOOKED_INTO_MAX or len(self.marks) >= MARKS_MAX:
            return 0
        try:
            content = self.opener.content(record)
            if not self._began:
                self._introduce(content)
            if any(sign in content for sign in _SIGNS):
                self.marks += [_mark(event) for event in _marked(content)][: MARKS_MAX - len(self.marks)]
        except (RecordingError, CastError):
            return 0  # who plays it is told
        self._looked += len(content)
        self.marked = record.begin
        return len(content)

    def _introduce(self, content: bytes) -> None:
        self._began = True
        line = content.partition(b"\n")[0]
        first = cast.parse_lines(line)[:1] if line.startswith(b"{") else []
        if first and isinstance(first[0], CastHeader):
            self.size = (first[0].width, first[0].height)
            self.command = first[0].command
            self.returns = first[0].said.get("interactive") is False


def _marked(content: bytes) -> Iterator[Event]:
    """Yield the events that are marked, without reading the others. Raises `CastError`."""
    for part in cast.split(content):
        if not isinstance(part, bytes):  # output can read like anything
            continue
        for line in part.split(b"\n"):
            if any(sign in line[:_CODE_END] for sign in _SIGNS):
                yield from (each for each in cast.parse_lines(line) if isinstance(each, Event) and each.code in _MARKS)


def _mark(event: Event) -> Mark:
    return Mark(event.time, _MARKS[event.code], event.data[:MARK_TEXT_MAX])
