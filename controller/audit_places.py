"""Places in the audit log, and its files read backwards. Nothing here knows what an event is but for its time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median_low

from controller.audit import is_after
from controller.policy.inquiry import Sieve, time_in
from protocol import limits
from protocol.instants import format_instant

_PLACE = r"(\d{4}-\d{2}-\d{2})\.(\d{1,15})"
_CURSOR = re.compile(rf"{_PLACE}(?:~{_PLACE})?", re.ASCII)
_BLOCK = 128 * 1024
# What happened is written within so long, but for what a node without a link told later.
_WRITTEN_WITHIN = timedelta(minutes=10)
# So much is read in the middle of a file, to see what time it was there: some dozens of lines.
_PROBE = 32 * 1024


class BadCursorError(ValueError):
    """What should say where to go on says nothing of this log; its message is safe to show."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Between two lines of the log: how many bytes of a file are before it. Places are in the order of the log."""

    name: str
    offset: int

    def __str__(self) -> str:
        return f"{self.name.removeprefix('audit-').removesuffix('.log')}.{self.offset}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where to go on.

    Attributes:
        place: below this.
        turn: where reading began that has an end in time; what was written after it is looked at last.
    """

    place: Place
    turn: Place | None = None

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what `__str__` gives. Raises `BadCursorError`."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise BadCursorError("this is no place in the audit log; begin again at its newest events")
        turn = Place(f"audit-{found[3]}.log", int(found[4])) if found[3] else None
        return cls(Place(f"audit-{found[1]}.log", int(found[2])), turn)

    def __str__(self) -> str:
        return f"{self.place}~{self.turn}" if self.turn else str(self.place)


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read: one line, or `count` of which none is wanted, and `data` is empty. It begins at `place`."""

    place: Place
    data: bytes
    count: int = 1


def newest(files: Sequence[Path]) -> Place | None:
    """Return where the last whole line of the log ends, or the last file begins; None where there is no file."""
    if not files:
        return None
    with files[-1].open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        while end > 0:
            start = max(0, end - _BLOCK)
            newline = os.pread(file.fileno(), end - start, start).rfind(b"\n")
            if newline >= 0:
                return Place(files[-1].name, start + newline + 1)
            end = start
    return Place(files[-1].name, 0)


def place_after(files: Sequence[Path], until: datetime) -> Place | None:
    """Return a place at which about all is written that happened before `until`; None where that is the end.

    Lines stand in the order in which they were written, which is nearly that of their times. So this is where a search
    for what happened before then does well to begin, and no more than that.
    """
    try:
        bound = format_instant(until + _WRITTEN_WITHIN)
    except OverflowError:
        return None
    place = None
    for path in reversed(files):
        with path.open("rb") as file:
            if not is_after(path, until) and _probe(file.fileno(), 0) < bound:
                return _place_in(path, file.fileno(), bound) or place
        place = Place(path.name, 0)
    return place


def _place_in(path: Path, descriptor: int, bound: str) -> Place | None:
    """Return the place in a file where lines of that time begin; None for its end."""
    size = os.fstat(descriptor).st_size
    low, high = 0, size
    while high - low > _PROBE:
        middle = (low + high) // 2
        if _probe(descriptor, middle) < bound:
            low = middle
        else:
            high = middle
    if high >= size:
        return None
    newline = os.pread(descriptor, limits.AUDIT_LINE_MAX + 2, high).find(b"\n")
    return Place(path.name, high + newline + 1) if newline >= 0 else None


def _probe(descriptor: int, offset: int) -> str:
    """Return what time it was in the middle of the lines that begin there; empty where none says."""
    data = os.pread(descriptor, _PROBE if offset else 4096, offset)
    lines = data.split(b"\n")[bool(offset) : -1]
    times = [time for time in map(time_in, lines) if time]
    return median_low(times) if times else ""


def read_back(files: Sequence[Path], top: Place | None, floor: Place | None, sieve: Sieve) -> Iterator[Piece]:
    """Yield what stands between two places, the newest first.

    Args:
        files: those of the log, the oldest first.
        top: begin below this; the end of the log for None.
        floor: stop here; at the beginning of `files` for None.
        sieve: what is wanted. Blocks that have no line for it are passed over as a whole.

    Raises:
        BadCursorError: a place is none, or is no more.
        OSError: the log cannot be read.
    """
    for path in reversed(files):
        if (top is not None and path.name > top.name) or (floor is not None and path.name < floor.name):
            continue
        with path.open("rb") as file:
            descriptor = file.fileno()
            end = _checked(descriptor, top.offset if top is not None and path.name == top.name else None)
            start = _checked(descriptor, floor.offset) if floor is not None and path.name == floor.name else 0
            for offset, line, count in _lines_before(descriptor, start, end, sieve):
                yield Piece(Place(path.name, offset), line, count)


def _checked(descriptor: int, offset: int | None) -> int:
    """Return a place in a file, its end for None. Raises `BadCursorError` where no line ends there."""
    size = os.fstat(descriptor).st_size
    if offset is None:
        return size
    if offset > size or (offset > 0 and os.pread(descriptor, 1, offset - 1) != b"\n"):
        raise BadCursorError("there is no such place in the audit log any more; begin again at its newest events")
    return offset


def _lines_before(descriptor: int, floor: int, end: int, sieve: Sieve) -> Iterator[tuple[int, bytes, int]]:
    """Yield the whole lines between two places, the last first: where each begins, itself, and how many they are.

    What follows the last line's end is being written, or was torn: it is none. Of a line that is longer than any of
    ours, which somebody else wrote, nothing is kept but that it is there.
    """
    rest = b""  # what was read already of a line that begins further before
    is_tail = True
    while end > floor:
        start = max(floor, end - _BLOCK)
        block = os.pread(descriptor, end - start, start)
        stop = len(block)
        if not sieve.may_be_in(block + rest):
            first, lines = block.find(b"\n"), block.count(b"\n") - is_tail
            if first >= 0:
                if lines > 0:
                    yield start + first + 1, b"", lines
                rest, stop, is_tail = b"", first, False
        while (newline := block.rfind(b"\n", 0, stop)) >= 0:
            if not is_tail:
                yield start + newline + 1, _bounded(block[newline + 1 : stop] + rest), 1
            rest, stop, is_tail = b"", newline, False
        rest, end = (block[:stop] + rest)[-limits.AUDIT_LINE_MAX - 1 :], start
    if not is_tail:
        yield floor, _bounded(rest), 1


def _bounded(line: bytes) -> bytes:
    return line if len(line) <= limits.AUDIT_LINE_MAX else b""
