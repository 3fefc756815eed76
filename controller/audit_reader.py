"""The audit log as people look at it: newest first, filtered, page by page. No question reads more than so much."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from controller.audit import AuditError, AuditLog, is_before
from controller.audit_places import BadCursorError, Cursor, Place, newest, place_after, read_back
from controller.audit_verifier import AuditVerifier, Verification
from controller.policy import chain
from controller.policy.inquiry import Sieve, Wanted
from protocol import limits
from protocol.events import EventKind

__all__ = ["AuditError", "AuditPage", "AuditReader", "BadCursorError", "Newest", "Verification", "Wanted"]

# What a line costs that was passed over with those around it, of what a line costs that was looked at.
_PASSED_OVER = 0.1
# Of so many questions that are asked again and again it is kept what they found, for so long.
_KEPT = 64
_ANEW = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some events.

    Attributes:
        events: as they stand in the log, the newest first: in the order in which they were written. Where an end in
            time was asked for, what happened before it but was written long after comes last.
        next: where to go on; None where there is nothing more to look at. There may be no events and yet more to
            look at: one question looks at `limits.AUDIT_EXAMINED_MAX` lines and no more.
        examined: how many lines were looked at.
    """

    events: tuple[dict[str, Any], ...]
    next: str | None
    examined: int


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest events of a kind.

    Attributes:
        events: the newest first.
        is_cut: whether there may be more, among what was not looked at.
        head: up to where the log was read.
        stamp: the log's, then.
        begun: when all of them were last read.
    """

    events: tuple[dict[str, Any], ...]
    is_cut: bool
    head: Place | None
    stamp: object
    begun: datetime


class AuditReader:
    """Reads one audit log. Any thread may ask.

    Args:
        log: what is read.
        clock: the time, UTC.
        opening: the kind of event that the log was begun with; see `AuditLog.verify`.
    """

    def __init__(self, log: AuditLog, clock: Callable[[], datetime], opening: EventKind | None = None) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, Newest] = OrderedDict()
        self._verifier = AuditVerifier(log, clock, opening)

    def page(self, wanted: Wanted, before: str | None = None, most: int = limits.AUDIT_PAGE) -> AuditPage:
        """Return the newest events that are wanted.

        Args:
            wanted: which.
            before: `AuditPage.next` of the page before; the end of the log where there is none.
            most: how many, at least one.

        Raises:
            BadCursorError: `before` is none.
            AuditError: the log cannot be read.
        """
        with self._log.reading():
            return self._read(wanted, self._spans(self._log.files(), wanted, before), most)

    def newest(self, wanted: Wanted, most: int, within: timedelta | None = None) -> Newest:
        """Return the newest events that are wanted, for those who ask again and again: what was read is kept.

        Only what was added is read anew. The answer is the same object for as long as nothing was written.

        Args:
            wanted: which, whenever they were.
            most: how many.
            within: none that is older than that.

        Raises:
            AuditError: the log cannot be read.
        """
        key = (wanted, most, within)
        with self._lock, self._log.reading():
            now, stamp, known = self._clock(), self.stamp(), self._kept.get(key)
            if known is not None and not timedelta() <= now - known.begun < _ANEW:
                known = None
            if known is None or known.stamp != stamp:
                asked = wanted if within is None else replace(wanted, since=now - within)
                self._kept[key] = known = self._look(asked, most, known, stamp)
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return known

    def _look(self, wanted: Wanted, most: int, known: Newest | None, stamp: object) -> Newest:
        files = self._log.files()
        head = newest(files)
        if known is not None:
            with suppress(BadCursorError):  # the log is another one
                page = self._read(wanted, [_Span(files, head, known.head, None)], most)
                sieve = Sieve(wanted)  # of what was found before, some may be too old by now
                before = () if page.next is not None else tuple(filter(sieve.passes, known.events))
                events = (*page.events, *before)
                is_cut = known.is_cut or page.next is not None or len(events) > most
                return Newest(events[:most], is_cut, head, stamp, known.begun)
        near = [path for path in files if wanted.since is None or not is_before(path, wanted.since)]
        page = self._read(wanted, [_Span(near, head, None, None)], most)
        return Newest(page.events, page.next is not None, head, stamp, self._clock())

    def export(self, wanted: Wanted, most: int = limits.AUDIT_EXPORT_MAX) -> Iterator[dict[str, Any]]:
        """Yield all events that are wanted, the newest first, `most` of them; reads as it goes. Raises `AuditError`."""
        sieve = Sieve(wanted)
        files = [path for path in self._log.files() if wanted.since is None or not is_before(path, wanted.since)]
        with self._log.reading():
            events = (_event_in(piece.data, sieve) for piece in read_back(files, None, None, sieve))
            yield from islice((event for event in events if event is not None), most)

    def stamp(self) -> object:
        """Return what is another as soon as something was written. Raises `AuditError`."""
        with self._log.reading():
            files = self._log.files()
            stat = files[-1].stat() if files else None
            return None if stat is None else (files[-1].name, stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def verification(self) -> Verification:
        """Return whether the log is as it was written; checks what was added since the last call. Raises nothing."""
        return self._verifier.look()

    # --- reading backwards --------------------------------------------------------------------------------------

    def _spans(self, files: list[Path], wanted: Wanted, before: str | None) -> Sequence[_Span]:
        """Return from where to where to read, in this order."""
        near = [path for path in files if wanted.since is None or not is_before(path, wanted.since)]
        if before is None:
            turn = place_after(files, wanted.until) if wanted.until else None
            top = turn
        else:
            cursor = Cursor.parse(before)
            top, turn = cursor.place, cursor.turn
        if turn is None:
            return [_Span(near, top, None, None)]
        late = _Span(files, None, turn, turn)
        if top is not None and top > turn:
            return [replace(late, top=top)]
        return [_Span(near, top, None, turn), late]

    def _read(self, wanted: Wanted, spans: Sequence[_Span], most: int) -> AuditPage:
        found: list[dict[str, Any]] = []
        examined, effort, sieve = 0, 0.0, Sieve(wanted)
        for number, span in enumerate(spans):
            for piece in read_back(span.files, span.top, span.floor, sieve):
                examined += piece.count
                effort += 1 if piece.data else piece.count * _PASSED_OVER
                event = _event_in(piece.data, sieve)
                if event is not None:
                    found.append(event)
                if len(found) >= max(1, most) or effort >= limits.AUDIT_EXAMINED_MAX:
                    is_last = number == len(spans) - 1 and span.is_end(piece.place)
                    following = None if is_last else str(Cursor(piece.place, span.turn))
                    return AuditPage(tuple(found), following, examined)
        return AuditPage(tuple(found), None, examined)


@dataclass(frozen=True, slots=True)
class _Span:
    """What to read, from `top` down to `floor`; see `read_back`. `turn` is the cursor's."""

    files: Sequence[Path]
    top: Place | None
    floor: Place | None
    turn: Place | None

    def is_end(self, place: Place) -> bool:
        """Tell whether nothing of it is below."""
        if self.floor is not None and place <= self.floor:
            return True
        return place.offset == 0 and not any(path.name < place.name for path in self.files)


def _event_in(line: bytes, sieve: Sieve) -> dict[str, Any] | None:
    """Return the event in a line, where it is wanted; damage is passed over, as `AuditLog.entries` does."""
    if not line or not sieve.may_pass(line):
        return None
    event = chain.parse_line(line)
    return event if event is not None and sieve.passes(event) else None
