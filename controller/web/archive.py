"""Past sessions: the recordings that a person may see, searched and turned page by page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import get_args
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from controller.policy.viewing import decide_viewing, sees_all
from controller.recordings import Listed
from controller.web import visit
from controller.web.reply import page
from protocol import limits
from protocol.decision import Granted
from protocol.instants import from_milliseconds, parse_day
from protocol.recordings import RecordingEntry, State
from protocol.sizes import format_size

blueprint = Blueprint("archive", __name__)

PAGE_SIZE = 50
PERIODS: Mapping[str, tuple[str, timedelta | None]] = {
    "": ("Any time", None),
    "1d": ("Last 24 hours", timedelta(days=1)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
STATES: Mapping[str, tuple[str, str]] = {
    "complete": ("complete", "online"),
    "arriving": ("arriving", "live"),
    "interrupted": ("interrupted", "stale"),
    "stopped": ("stopped", "stale"),
    "refused": ("refused", "danger"),
}
_WORDS_MAX = 100
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """From when to when: what began before `until`, and had not ended by `since`. None for no bound."""

    since: datetime | None
    until: datetime | None

    @classmethod
    def read(cls, asked: Mapping[str, str], now: datetime) -> Period:
        """Read it from the page's address: ``last``, or the days ``from`` and ``to``; what is no day is left out."""
        span = PERIODS.get(asked.get("last", ""), ("", None))[1]
        since, last_day = _day(asked.get("from", "")), _day(asked.get("to", ""))
        if span is not None:
            since = max(now - span, since) if since else now - span
        return cls(since, last_day + _DAY if last_day and last_day.year < 9999 else None)


@dataclass(frozen=True, slots=True)
class Search:
    """What the page's address asks for.

    Attributes:
        node: a part of the node's name, or its id.
        user: who took part.
        state: empty for any.
        before: leave out this recording, and what is newer; start in milliseconds and session's id.
    """

    node: str
    user: str
    state: str
    before: tuple[int, str] | None

    @classmethod
    def read(cls, asked: Mapping[str, str]) -> Search:
        """Read it from the page's address; what makes no sense is left out."""
        state = asked.get("state", "")
        return cls(
            node=asked.get("node", "").strip()[:_WORDS_MAX],
            user=asked.get("user", "").strip()[:_WORDS_MAX],
            state=state if state in get_args(State) else "",
            before=_cursor(asked.get("before", "")),
        )

    def takes(self, entry: RecordingEntry) -> bool:
        """Tell whether a recording is asked for, its time aside."""
        return (
            (not self.state or entry.state == self.state)
            and (not self.user or self.user in entry.participants)
            and (not self.node or self.node.lower() in entry.hostname.lower() or self.node == entry.node)
            and (self.before is None or (entry.started, entry.session) < self.before)
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One recording as its row shows it."""

    entry: RecordingEntry
    began: datetime
    lasted: str
    size: str
    state: str
    tone: str


@blueprint.get("/web/recordings")
def show_recordings() -> Response:
    """Show the page."""
    asked = {name: request.args.get(name, "") for name in ("node", "user", "state", "last", "from", "to")}
    search = Search.read(request.args)
    rows, is_more, is_cut = _find(search, Period.read(request.args, visit.services().clock()))
    kept = {name: value for name, value in asked.items() if value}
    older = None
    if is_more:
        last = rows[-1].entry
        older = "?" + urlencode({**kept, "before": f"{last.started}.{last.session}"})
    newest = "?" + urlencode(kept) if search.before else None
    return page(
        "recordings.html",
        rows=rows,
        asked=asked,
        periods=PERIODS,
        states=STATES,
        older=older,
        newest=newest,
        is_cut=is_cut,
    )


def row_of(entry: RecordingEntry) -> Row:
    """Return how a recording is shown in a row."""
    state, tone = STATES.get(entry.state, (entry.state, ""))
    return Row(
        entry, from_milliseconds(entry.started), describe_length(entry.duration), format_size(entry.size), state, tone
    )


def describe_length(milliseconds: int) -> str:
    """Return a session's length to read: ``0:07``, ``12:30``, ``3:05:00``."""
    minutes, seconds = divmod(milliseconds // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _find(search: Search, period: Period) -> tuple[list[Row], bool, bool]:
    """Return the rows of one page, whether there are older ones, and whether not all could be looked at."""
    person = visit.person()
    until = period.until
    if search.before is not None:
        newest = from_milliseconds(search.before[0]) + timedelta(milliseconds=1)
        until = min(newest, until) if until else newest
    found = visit.services().recordings.browse(
        since=period.since,
        until=until,
        participant=None if sees_all(person) else person.user,
        most=limits.RECORDINGS_EXAMINED_MAX,
    )
    rows = [row_of(entry) for entry in islice(_wanted(found, search), PAGE_SIZE + 1)]
    return rows[:PAGE_SIZE], len(rows) > PAGE_SIZE, found.is_cut


def _wanted(found: Iterable[Listed], search: Search) -> Iterable[RecordingEntry]:
    person = visit.person()
    entries = (each.entry for each in found)
    return (each for each in entries if search.takes(each) and isinstance(decide_viewing(person, each), Granted))


def _cursor(text: str) -> tuple[int, str] | None:
    started, _, session = text.partition(".")
    if not (started.isascii() and started.isdigit() and len(started) < 15 and len(session) < 64):
        return None
    try:
        from_milliseconds(int(started) + 1)
    except OverflowError:
        return None
    return int(started), session


def _day(text: str) -> datetime | None:
    try:
        return parse_day(text)
    except ValueError:
        return None
