"""The first page: how the fleet is, what to look at, who is on it, what changed, and how to begin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response

from controller.accounts import UserRecord
from controller.home import CHANGES, Backlog, Beginning, Change, Changes, Home
from controller.policy.viewing import decide_viewing, sees_all
from controller.web import visit
from controller.web.reply import page
from protocol import limits
from protocol.access import administers
from protocol.decision import Granted
from protocol.event_sentences import time_of
from protocol.recordings import RecordingEntry
from protocol.sizes import format_size

blueprint = Blueprint("home", __name__)

_RECENT = 8
_LOOK_BACK = timedelta(days=7)
# What each subject of the last day's changes is called, one of it and many.
_SUBJECTS = {
    "joined": ("node joined", "nodes joined"),
    "removed": ("node removed", "nodes removed"),
    "locked": ("lock put on", "locks put on"),
    "unlocked": ("lock taken off", "locks taken off"),
    "refused sign-ins": ("sign-in refused", "sign-ins refused"),
    "rotated": ("step of a rotation", "steps of a rotation"),
    "policy": ("change of the policy", "changes of the policy"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One card: a number, what it counts, and the list that it leads to."""

    number: str
    label: str
    link: str
    tone: str = ""
    more: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the beginning; `command` does it, where a line does."""

    title: str
    is_done: bool
    text: str = ""
    command: str = ""
    link: tuple[str, str] | None = None


@blueprint.get("/web/home")
def show_home() -> Response:
    """Show the page."""
    return page("home.html", **_figures())


@blueprint.get("/web/home/figures")
def show_figures() -> Response:
    """Return what changes by itself, for the page that keeps itself up to date."""
    return page("home_figures.html", **_figures())


def _figures() -> dict[str, Any]:
    services, person = visit.services(), visit.person()
    home = services.home.of(person)
    live = services.live.sessions_for(person)
    return {
        "home": home,
        "cards": tuple(cards_of(home)),
        "live": live[:_RECENT],
        "recent": _recent(person, {entry.live.session for entry in live}),
        "changes": tuple(map(_changed, _of_people(home.changes))) if home.changes else None,
        "steps": _steps(home.beginning, person) if home.beginning and home.is_beginning else (),
        "may_add": administers(person.roles),
    }


def cards_of(home: Home) -> Iterator[Figure]:
    """Yield the cards of a home, each leading to what it counts."""
    nodes, uncertain = home.nodes, home.nodes["stale"] + home.nodes["tunnel down"]
    waiting = home.nodes["pending"] + home.nodes["unknown"]
    yield Figure(str(nodes["online"]), "online", "/web/nodes?state=online", "online" if nodes["online"] else "")
    yield Figure(str(nodes["stale"]), "stale", "/web/nodes?state=stale", "stale" if nodes["stale"] else "")
    if nodes["tunnel down"]:
        yield Figure(str(uncertain - nodes["stale"]), "tunnel down", "/web/nodes?state=tunnel-down", "stale")
    yield Figure(str(nodes["offline"]), "offline", "/web/nodes?state=offline")
    if waiting:
        yield Figure(str(waiting), "pending", "/web/nodes?state=pending", "pending")
    yield Figure(str(home.sessions), "live sessions", "/web/sessions", "live" if home.sessions else "")
    yield _backlog(home.backlog, home.sessions)
    worst = home.alerts[0].severity if home.alerts else ""
    tone = {"danger": "danger", "warning": "stale", "notice": "pending"}.get(worst, "")
    yield Figure(str(len(home.alerts)), "alert" if len(home.alerts) == 1 else "alerts", "#alerts", tone)


def _backlog(backlog: Backlog, sessions: int) -> Figure:
    """Return the card of what waits on nodes: a live session's recording does too, and is nothing to worry about."""
    if not backlog.files:
        return Figure("0", "to upload", "/web/nodes?sort=-backlog")
    more = f"{format_size(backlog.bytes)}, {backlog.nodes} {'node' if backlog.nodes == 1 else 'nodes'}"
    tone = "stale" if backlog.files > sessions else ""
    return Figure(str(backlog.files), "to upload", "/web/nodes?sort=-backlog", tone, more)


def _recent(person: UserRecord, live: set[Any]) -> tuple[RecordingEntry, ...]:
    """Return the newest recordings that this person may see and that are not going on."""
    services = visit.services()
    participant = None if sees_all(person) else person.user
    since = services.clock() - _LOOK_BACK
    found = services.recordings.browse(since=since, participant=participant, most=limits.RECORDINGS_EXAMINED_MAX)
    seen = (one.entry for one in found if isinstance(decide_viewing(person, one.entry), Granted))
    return tuple(islice((entry for entry in seen if entry.session not in live), _RECENT))


def _of_people(changes: Changes) -> Iterator[Change]:
    """Yield what changed but for new versions of the policy: each only follows from another change."""
    return (each for each in changes.of if each.subject != "policy")


def _changed(change: Change) -> dict[str, Any]:
    one, many = _SUBJECTS[change.subject]
    asked = {"kind": ",".join(kind.code for kind in CHANGES[change.subject]), "last": "1d"}
    return {
        "count": change.count,
        "words": one if change.count == 1 else many,
        "link": "/web/audit?" + urlencode(asked, safe=","),
        "newest": [{"at": time_of(each), "event": each} for each in change.newest],
    }


def _steps(beginning: Beginning, person: UserRecord) -> tuple[Step, ...]:
    """Return the getting-started list: what is done is ticked, and each step says what to type or where to go."""
    services = visit.services()
    opened = services.fleet.nodes_for(person)
    target = next((node.name for node in opened if node.status == "online"), opened[0].name if opened else "NODE")
    can_open = bool(person.logins)
    first = f"tsh ssh {person.logins[0] if person.logins else 'LOGIN'}@{target}"
    return (
        Step(
            "Make a join token",
            beginning.token,
            "It lets a device in, once.",
            "tctl tokens add --type=node",
            ("/web/devices/new", "Add a device"),
        ),
        Step(
            "Join the first device",
            beginning.device,
            "Run the line that the token came with on it, as root. It appears here by itself.",
        ),
        Step(
            "Open the first session",
            beginning.session,
            "From a terminal, or with Connect in the list of nodes." if can_open else "Somebody with a login does.",
            first,
            ("/web/nodes", "Nodes"),
        ),
    )
