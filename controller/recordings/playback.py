"""A recording handed out to a player in pieces: what comes next, and the screen at any moment.

What programs printed is hostile: sizes are kept within what a browser can draw, and what steers a terminal is left to
the player, which has a terminal of its own that obeys nothing but its own drawing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from controller.recordings.survey import Read, Survey
from protocol import limits
from protocol.recording import cast
from protocol.recording.binary import parse_summary
from protocol.recording.cast import CastHeader, Event
from protocol.recording.fault import RecordingError
from protocol.recording.reader import DataRecord
from protocol.screen_tail import ScreenTail

# A larger terminal is shown as one of these sizes: nobody's window has more.
COLUMNS_MAX, ROWS_MAX = 500, 200
# One answer holds about so much of what was printed, and looks at no more records.
PASSAGE_SIZE = 512 * 1024
PASSAGE_RECORDS = 1024
# Looking back for what is on the screen ends here, found or not: bytes unpacked, with so many for each record.
_BACK_EFFORT = 8 * 1024 * 1024
_RECORD_EFFORT = 4 * 1024

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Passage:
    """Some of a recording's events.

    Attributes:
        events: as a player of asciicast knows them: codes ``o``, ``r`` and ``m``.
        following: the number of the record that comes next.
        more: whether that has been gone through already, or may have been.
        fault: why nothing more can be played; empty where it can.
    """

    events: tuple[Event, ...]
    following: int
    more: bool
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Still:
    """The screen at one moment.

    Attributes:
        size: of the terminal, columns and rows.
        text: what makes an empty terminal of that size look as it did.
        number: the record in which, or after which, what comes next is.
    """

    size: Size
    text: str
    number: int


def bounded(columns: int, rows: int) -> Size:
    """Return a terminal's size as it is shown."""
    return min(max(columns, 1), COLUMNS_MAX), min(max(rows, 1), ROWS_MAX)


def passage(survey: Survey, read: Read, number: int, most: int = PASSAGE_RECORDS) -> Passage:
    """Return what follows from the record of that number on: at most so many records, and about `PASSAGE_SIZE`."""
    events: list[Event] = []
    size = count = 0
    following = max(number, 0)
    try:
        for record in _records_from(survey, read, number):
            if count >= most or size >= PASSAGE_SIZE:
                return Passage(tuple(events), following, more=True)
            found = _opened(survey, record)
            events += found
            size += sum(len(event.data) for event in found)
            count += 1
            following = record.position.number + 1
    except RecordingError as err:
        return Passage(tuple(events), following, more=False, fault=str(err))
    return Passage(tuple(events), following, more=False)


def still(survey: Survey, read: Read, time: int) -> Still:
    """Return the screen as it was `time` milliseconds after the session's start.

    Raises `RecordingError` where what leads to it cannot be read.
    """
    room, effort, number = limits.SCREEN_TAIL_MAX, _BACK_EFFORT, 0
    pieces: list[list[Event]] = []
    for record in _records_before(survey, read, time):
        events = [event for event in _opened(survey, record) if event.time <= time]
        number = max(number, record.position.number)
        pieces.append(events)
        room -= sum(len(event.data) for event in events if event.code == "o")
        effort -= _RECORD_EFFORT + sum(len(event.data) for event in events)
        if room <= 0 or effort <= 0:
            break
    size = _size_at(survey, time)
    tail = ScreenTail()
    for event in itertools.chain.from_iterable(reversed(pieces)):
        if event.code == "o":
            tail.add(event.data.encode(errors="replace"))
        elif event.code == "r":
            size = bounded(*cast.parse_size(event.data))
    return Still(size, tail.snapshot().decode(errors="replace"), number)


def _records_before(survey: Survey, read: Read, time: int) -> Iterator[DataRecord]:
    """Yield the records that begin by a moment, the last first, holding those of one stretch at a time."""
    last = survey.stretch_at(time)
    for stretch in range(-1 if last is None else last, -1, -1):
        yield from reversed([record for record in survey.records(stretch, read) if record.begin <= time])


def _size_at(survey: Survey, time: int) -> Size:
    sizes = [mark.text for mark in survey.marks if mark.kind == "resize" and mark.time <= time]
    return bounded(*(cast.parse_size(sizes[-1]) if sizes else survey.size))


def _records_from(survey: Survey, read: Read, number: int) -> Iterator[DataRecord]:
    first = survey.stretch_of(number)
    if first is None:
        return
    for stretch in range(first, len(survey.stretches)):
        for record in survey.records(stretch, read):
            if record.position.number >= number:
                yield record


def _opened(survey: Survey, record: DataRecord) -> list[Event]:
    """Return a record's events as they are played. Raises `RecordingError`."""
    if survey.opener is None:
        raise RecordingError(
            "O1", record.position.number, "this controller does not have the key that it is locked with"
        )
    events = [event for event in survey.opener.events(record) if not isinstance(event, CastHeader)]
    return [played for event in events if (played := _played(event, returns=survey.returns)) is not None]


def _played(event: Event, *, returns: bool) -> Event | None:
    """Return an event as the player knows it; None where it has no use for it: what was typed is not shown twice."""
    match event.code:
        case "o" | "e":
            text = event.data.replace("\r\n", "\n").replace("\n", "\r\n") if returns else event.data
            return Event(event.time, "o", text)
        case "b":
            return Event(event.time, "o", f"\r\n[{parse_summary(event.data).describe()}]\r\n")
        case "r":
            columns, rows = bounded(*cast.parse_size(event.data))
            return Event(event.time, "r", f"{columns}x{rows}")
        case "j" | "l" | "m":
            known = cast.to_cast(event)
            return None if known is None else replace(known, data=known.data[:200])
        case _:
            return None
