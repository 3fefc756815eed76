"""Recordings as their notes and the index tell of them, arriving and kept alike."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date
from typing import cast

from controller.recordings.listed import Listed, Wanted, is_line
from controller.recordings.note import Note
from controller.recordings.storage import DamagedFactsError, Facts, Storage
from protocol.fields import MessageError
from protocol.instants import from_milliseconds
from protocol.names import SessionId

LOG = logging.getLogger("RECORDINGS")
_ARRIVALS_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Batch:
    """Recordings of a listing, a day's or fewer, the newest first.

    Attributes:
        examined: how many were looked at, wanted or not.
    """

    examined: int
    listed: Iterator[Listed]


class Shelf:
    """Notes of the recordings in `storage`.

    Every method may raise `OSError`; `DamagedFactsError` for one note that is damaged.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._lock = threading.Lock()
        self._seen: Mapping[SessionId, tuple[object, Note]] = {}

    def arriving(self, session: SessionId) -> Note | None:
        """Return the note of a recording that is arriving."""
        facts = self.storage.arrival(session)
        return _note(facts) if facts is not None else None

    def arrivals(self) -> list[Note]:
        """Return the notes of all that are arriving, but for those that are damaged, which are logged.

        What was read is kept for as long as the storage says that it has not changed.
        """
        known, seen = self._seen, dict[SessionId, tuple[object, Note]]()
        for session in self.storage.arrivals():
            stamp = self.storage.stamp(session)
            found = known.get(session)
            if found is None or found[0] != stamp:
                note = self._peek(session)
                found = None if note is None else (stamp, note)  # the stamp is from before the reading
            if found is not None:
                seen[session] = found
        with self._lock:
            self._seen = dict(list(seen.items())[:_ARRIVALS_REMEMBERED])
        return [note for _, note in seen.values()]

    def _peek(self, session: SessionId) -> Note | None:
        try:
            return self.arriving(session)
        except OSError as err:
            LOG.warning("recording %s cannot be looked at: %s", session, err)
            return None

    def kept(self, session: SessionId) -> Note | None:
        """Return the note of a recording that is kept."""
        facts = self.storage.kept(session)
        return _note(facts) if facts is not None else None

    def find(self, session: SessionId) -> Note | None:
        """Return the note of a recording, arriving or kept."""
        return self.arriving(session) or self.kept(session) or self.arriving(session)  # it may have come back meanwhile

    # --- listings -------------------------------------------------------------------------------------------

    def newest_first(self, wanted: Wanted) -> Iterator[Batch]:
        """Yield what is wanted, day by day, reading no more days than the caller asks for, and no note but for need."""
        first = wanted.first_day
        arriving = [Listed.of(note) for note in self.arrivals() if not note.is_empty]
        waiting = sorted((one.to_facts() for one in arriving), key=_order)
        for day in self.storage.days():
            if wanted.until is not None and day > wanted.until.astimezone(UTC).date():
                continue
            if first is not None and day < first:
                break
            later = [waiting.pop() for _ in range(sum(_day(line) >= day for line in waiting))]
            lines = self._lines(day)
            for line in later:  # a crash, or a look in between, may show it in both places
                lines.pop(SessionId(str(line["session"])), None)
            yield self._batch([*lines.values(), *later], wanted)
        if waiting:
            yield self._batch(waiting, wanted)

    def _lines(self, day: date) -> dict[SessionId, Facts]:
        """Return the lines of a day. Where the index lacks one, the note is read, and the index has it from then on."""
        index = self.storage.index(day)
        lines = {session: line for session, line in index.items() if line is not None and is_line(line)}
        found = {
            session: line for session in index.keys() - lines.keys() if (line := self._line(day, session)) is not None
        }
        self._mend(day, *found.values())
        return lines | found

    def _mend(self, day: date, *lines: Facts) -> None:
        """Put lines into a day's index: without them it costs more to list, and that is all."""
        try:
            if lines:
                self.storage.put_in_index(day, lines)
        except OSError as err:
            LOG.warning("the index of %s cannot be mended: %s", day, err)

    def _line(self, day: date, session: SessionId) -> Facts | None:
        try:
            facts = self.storage.kept(session, day)
            return None if facts is None else Listed.of(_note(facts)).to_facts()
        except OSError as err:
            LOG.warning("recording %s cannot be listed: %s", session, err)
            return None

    def _batch(self, lines: list[Facts], wanted: Wanted) -> Batch:
        found = sorted((line for line in lines if wanted.takes(line)), key=_order, reverse=True)
        return Batch(len(lines), (one for line in found if (one := self._listed(line)) is not None))

    def _listed(self, line: Facts) -> Listed | None:
        try:
            return Listed.from_facts(line)
        except (MessageError, OverflowError) as err:
            LOG.warning("a line in the index is damaged, and its note is looked at: %s", err)
        day = _day(line)
        mended = self._line(day, SessionId(str(line["session"])))
        if mended is None:
            return None
        self._mend(day, mended)
        return Listed.from_facts(mended)


def _order(line: Facts) -> tuple[int, str]:
    return cast("int", line["started"]), cast("str", line["session"])


def _day(line: Facts) -> date:
    return from_milliseconds(_order(line)[0]).date()


def _note(facts: Facts) -> Note:
    try:
        return Note.from_facts(facts)
    except (MessageError, ValueError) as err:
        raise DamagedFactsError(f"the note of recording {facts.get('session')} is damaged: {err}") from err
