"""The nodes page: which devices there are, which are up, and the line that opens each."""

from __future__ import annotations

from flask import Blueprint, Response, request

from controller.web import visit
from controller.web.listing import Listing, list_nodes
from controller.web.reply import page

blueprint = Blueprint("nodes", __name__)

NEXT_COMMAND = "tctl tokens add --type=node"


@blueprint.get("/web/nodes")
def show_nodes() -> Response:
    """Show the page."""
    return page("nodes.html", listing=_listing(), next_command=NEXT_COMMAND)


@blueprint.get("/web/nodes/table")
def show_table() -> Response:
    """Return the table alone, for the page that keeps itself up to date."""
    return page("nodes_table.html", listing=_listing(), next_command=NEXT_COMMAND)


def _listing() -> Listing:
    services, person = visit.services(), visit.person()
    wanted = request.args.get("page", "")
    return list_nodes(
        services.fleet.nodes_for(person),
        search=request.args.get("q", ""),
        page=int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 7 else 1,
        login=person.logins[0] if person.logins else None,
        now=services.clock(),
    )
