"""A recording as others read it: asciicast v2 for asciinema and its kin, or the bare output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import IO, Literal

from protocol.recording.cast import CastHeader, Event, to_cast
from protocol.recording.fault import RecordingError
from protocol.recording.header import Header
from protocol.recording.opening import Opener
from protocol.recording.plain import PlainText
from protocol.recording.reader import DataRecord, HeaderRecord, Record
from protocol.recording.verdict import Examiner, Verdict
from protocol.secret import Secret

Form = Literal["cast", "text"]
OpenKey = Callable[[Header], Secret[bytes] | None]
_SCREEN = (80, 24)


class Export:
    """Writes one recording, record by record: it holds no more than one of them.

    Args:
        form: what to write.
        out: where to.
        examiner: checks what is written; what comes after the first fault is not.
        open_key: returns the recording's own key. It is asked once, before anything is written.
    """

    def __init__(self, form: Form, out: IO[bytes], examiner: Examiner, open_key: OpenKey) -> None:
        self._write = self._write_cast if form == "cast" else self._write_text
        self._out = out
        self._examiner = examiner
        self._open_key = open_key
        self._opener: Opener | None = None
        self._header: CastHeader | None = None
        self._plain = PlainText()
        self._time = 0
        self._returns = False  # lines end in a line feed alone: there was no terminal to make two characters of it

    def run(self, pieces: Iterable[bytes]) -> Verdict:
        """Write all that is good, and return the verdict. Raises `OSError`, and what `open_key` raises."""
        for _ in self.steps(pieces):
            pass
        return self._examiner.verdict()

    @property
    def fault(self) -> RecordingError | None:
        """What ended it too early, if anything did."""
        return self._examiner.fault

    def mark(self, text: str) -> None:
        """Write a marker after what is written: for a cast, whose reader has no other word of ours."""
        if self._opener is None:  # not even its beginning could be read
            self._header = CastHeader(*_SCREEN, 0)
        self._write_cast([Event(self._time, "m", text)])

    def steps(self, pieces: Iterable[bytes]) -> Iterator[None]:
        """Write all that is good, with a pause after each record. Raises as `run` does."""
        for piece in pieces:
            for record in self._examiner.feed(piece):
                if not self._take(record):
                    break
                yield
            if self._examiner.fault is not None:
                break
        self._write([])
        self._out.write(self._plain.end().encode())
        yield

    def _take(self, record: Record) -> bool:
        """Write one record; tell whether that could be done."""
        if isinstance(record, HeaderRecord):
            self._begin(record.header)
        elif isinstance(record, DataRecord) and self._opener is not None:
            try:
                events = self._opener.events(record)
            except RecordingError as err:
                self._examiner.reject(record, err)
                return False
            self._write(events)
        return True

    def _begin(self, header: Header) -> None:
        self._opener = Opener(header, self._open_key(header))
        self._header = CastHeader(*_SCREEN, header.corrected // 1000)

    def _write_cast(self, events: list[CastHeader | Event]) -> None:
        if self._header is not None:  # once: asciicast has one header, and it is the first line
            given = events[0] if events and isinstance(events[0], CastHeader) else self._header
            self._out.write(given.line())
            self._header = None
            self._returns = given.said.get("interactive") is False
        self._time = max([self._time, *(event.time for event in events if isinstance(event, Event))])
        known = (to_cast(self._returned(event)) for event in events if isinstance(event, Event))
        self._out.writelines(event.line() for event in known if event is not None)

    def _returned(self, event: Event) -> Event:
        """Return an event as a terminal has to be given it, which goes down a line at a line feed, and not back."""
        if not self._returns or event.code not in ("o", "e"):
            return event
        return replace(event, data=event.data.replace("\r\n", "\n").replace("\n", "\r\n"))

    def _write_text(self, events: list[CastHeader | Event]) -> None:
        shown = (self._plain.show(event) for event in events if isinstance(event, Event))
        self._out.write("".join(shown).encode(errors="replace"))
