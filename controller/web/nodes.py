"""The nodes page: which devices there are, which are up, and the line that opens each."""

from __future__ import annotations

from collections import Counter

from flask import Blueprint, Response, request

from controller.accounts import UserRecord
from controller.web import visit
from controller.web.listing import Listing, Question, Sight, list_nodes
from controller.web.reply import page

blueprint = Blueprint("nodes", __name__)

_DONE = {
    "remove": "The node was removed. Its certificates are void; to come back it has to join anew.",
    "reject": "The device was turned away. To come back it needs another token.",
}
NEXT_COMMAND = "tctl tokens add --type=node"


@blueprint.get("/web/nodes")
def show_nodes() -> Response:
    """Show the page."""
    done = _DONE.get(request.args.get("done", ""))
    return page("nodes.html", listing=_listing(), next_command=NEXT_COMMAND, done=done)


@blueprint.get("/web/nodes/table")
def show_table() -> Response:
    """Return the table alone, for the page that keeps itself up to date."""
    return page("nodes_table.html", listing=_listing(), next_command=NEXT_COMMAND)


def _listing() -> Listing:
    services, person = visit.services(), visit.person()
    cards = services.catalogue.cards(services.fleet.seen_by(person))
    return list_nodes(cards, Question.read(request.args, request.args.getlist("label")), sight_of(person))


def sight_of(person: UserRecord) -> Sight:
    """Return what beside the nodes themselves `person` is shown of them."""
    services = visit.services()
    return Sight(
        now=services.clock(),
        opens=services.fleet.opened_by(person),
        logins=person.logins,
        sessions=Counter(entry.node_id for entry in services.live.sessions_for(person)),
        locked={lock.value for lock in services.locks.list() if lock.kind == "node"},
    )
