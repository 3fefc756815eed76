"""The sessions that are going on, who is in them, and the button that ends one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlencode

from flask import Blueprint, Response

from controller.web import refusal, visit
from controller.web.ending import end_for_all
from controller.web.listing import describe_age
from controller.web.reply import page, see_other
from controller.web.viewing import session_named
from protocol.decision import Refused
from protocol.fleet_sessions import SessionEntry
from protocol.instants import from_milliseconds
from protocol.joining import JoinMode

blueprint = Blueprint("sessions", __name__)


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One session as its row shows it.

    Attributes:
        age: how long it has been going on, such as ``3 h``.
        watch, join: where the browser's terminal joins it.
        command: what joins it from a terminal.
        takes_part: whether whoever asks is in it already.
    """

    entry: SessionEntry
    since: datetime
    age: str
    watch: str
    join: str
    command: str
    takes_part: bool


@blueprint.get("/web/sessions")
def show_sessions() -> Response:
    """Show the page."""
    return page("sessions.html", rows=_rows())


@blueprint.get("/web/sessions/table")
def show_table() -> Response:
    """Return the list alone, for the page that keeps itself up to date."""
    return page("sessions_table.html", rows=_rows())


@blueprint.post("/web/sessions/<session>/end")
def end(session: str) -> Response:
    """End a session for all who take part."""
    named = session_named(session)
    services, person = visit.services(), visit.person()
    entry = services.live.find(named, person) if named else None
    if entry is None or not entry.may_join:
        return refusal.answer(404)
    answer = end_for_all(entry)
    if isinstance(answer, Refused):
        return refusal.answer(409, f"The session could not be ended: {answer.reason}")
    return see_other(f"/web/sessions/{entry.live.session}?ended=1")


def row_of(entry: SessionEntry) -> LiveRow:
    """Return how a live session is shown to whoever asks."""
    since = from_milliseconds(entry.live.started)
    user = visit.signed_in().user
    return LiveRow(
        entry=entry,
        since=since,
        age=describe_age(visit.services().clock() - since),
        watch=terminal_link(entry, "observer"),
        join=terminal_link(entry, "peer"),
        command=f"tsh join --mode=peer {entry.live.session}",
        takes_part=any(party.user == user for party in entry.live.parties),
    )


def terminal_link(entry: SessionEntry, mode: JoinMode) -> str:
    """Return the address of the terminal that joins a session in the browser."""
    asked: Mapping[str, str] = {"login": entry.live.login, "session": entry.live.session, "mode": mode}
    return f"/web/terminal/{quote(entry.node_id, safe='')}?{urlencode(asked)}"


def _rows() -> list[LiveRow]:
    return [row_of(entry) for entry in visit.services().live.sessions_for(visit.person())]
