"""The terminal's page, the tickets that its scripts get, and the two addresses whose connections go to the hall."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, jsonify, request

from controller.accounts import SignedIn
from controller.policy.ticket import Order, Ticket, decide_source, decide_ticket, parse_kind, parse_path
from controller.throttle import network_of
from controller.web import headers, refusal, visit
from controller.web.hall.errands import SocketErrand
from controller.web.hall.hall import Hall
from controller.web.hall.kept_response import KeptResponse
from controller.web.hall.places import Place
from controller.web.hall.road import Traveller
from controller.web.hall.tickets import digest
from controller.web.hall.web_socket import handshake
from controller.web.reply import page
from protocol import events, limits, names
from protocol.access import AccessTarget, decide_access
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.joining import JoinMode, parse_join_mode
from protocol.names import Login, SessionId

blueprint = Blueprint("hall", __name__)

_REFUSED = "This terminal is not opened. Reload the page and try again."
_NO_HALL = "This door has no terminals."


# --- the page ---------------------------------------------------------------------------------------------------


@blueprint.get("/web/terminal/<node>")
def show_terminal(node: str) -> Response:
    """Show a terminal on a node, or in a session of somebody's there."""
    target = _target(node)
    if target is None:
        return refusal.answer(404)
    logins = visit.person().logins
    try:
        wanted = _login(request.args.get("login", ""), logins)
        session, mode = _joining(request.args)
    except ValueError as err:
        return refusal.answer(400, f"The terminal's address cannot be read: {err}.")
    headers.loosen(styles=True)  # xterm.js writes its rules itself
    return page(
        "terminal.html",
        node=target,
        logins=logins,
        login=wanted,
        session_id=session or "",
        mode=mode if session else "",
        file_max=limits.WEB_FILE_MAX,
        ahead_max=limits.SOCKET_BEHIND,
        piece=limits.SOCKET_MESSAGE_MAX // 2,
        typed_ahead=limits.TYPED_AHEAD,
    )


def _target(node: str) -> AccessTarget | None:
    """Return the node of that id or name, where this person may open it."""
    person = visit.person()
    for target in visit.services().enrolment.nodes.targets().values():
        if node in {target.node_id, target.name} and isinstance(decide_access(person, target, None), Granted):
            return target
    return None


def _login(text: str, logins: tuple[Login, ...]) -> Login | None:
    """Return the login that is asked for; the only one, where none is; None where there are several or none at all."""
    if not text:
        return logins[0] if len(logins) == 1 else None
    return names.parse_login(text)


def _joining(fields: Mapping[str, str]) -> tuple[SessionId | None, JoinMode]:
    """Return the session that is to be joined, and how. Raises `ValueError`."""
    session = fields.get("session", "")
    mode = parse_join_mode(fields.get("mode", "") or "observer")
    return (names.parse_session_id(session) if session else None), mode


# --- tickets ----------------------------------------------------------------------------------------------------


@blueprint.post("/web/tickets")
def give_ticket() -> Response:
    """Give the page's script a ticket for one terminal or one file."""
    hall = visit.services().hall
    if hall is None:
        return refusal.answer(503, _NO_HALL)
    try:
        order = _order()
    except ValueError as err:
        return _problem(400, str(err))
    target = visit.services().enrolment.nodes.targets().get(order.node)
    answer = Refused("no such node", "A3") if target is None else decide_access(visit.person(), target, order.login)
    if isinstance(answer, Refused):
        _tell_refused(answer, order.node, order.login)
        return _problem(403, "You may not open this device as that login.")
    ticket = Ticket(visit.signed_in().user, digest(visit.session_token().reveal()), order)
    return jsonify({"ticket": hall.tickets.give(ticket).reveal()})


def _order() -> Order:
    form = request.form
    kind = parse_kind(form.get("kind", ""))
    session, mode = _joining(form)
    return Order(
        kind=kind,
        node=names.parse_node_id(form.get("node", "")),
        login=names.parse_login(form.get("login", "")),
        session=session if kind == "terminal" else None,
        mode=mode,
        path="" if kind == "terminal" else parse_path(form.get("path", "")),
    )


def _problem(status: int, text: str) -> Response:
    """Return a refusal for the page's own script."""
    response = jsonify({"error": text})
    response.status_code = status
    return response


# --- sockets ----------------------------------------------------------------------------------------------------


@blueprint.get("/web/socket", websocket=True)
def open_socket() -> Response:
    """Open the WebSocket that a ticket is good for: see `controller.policy.ticket` for the checks."""
    hall = visit.services().hall
    if hall is None or request.method != "GET":
        return refusal.answer(404)
    opening = handshake(dict(request.headers))
    if opening is None:
        return refusal.answer(400, "This address answers to the terminals of our own pages alone.")
    answer = _judge(hall, request.args.get("ticket", "")[:100])
    if isinstance(answer, Refused):
        _tell_refused(answer)
        return refusal.answer(403, _REFUSED)
    order, target, place = answer.value
    person = visit.person()
    traveller = Traveller(SignedIn(person.name, person.valid_from), visit.origin())
    errand = SocketErrand(hall, *opening, order, target, traveller)
    return KeptResponse(hall, place, errand, has_head=False)


def _judge(hall: Hall, text: str) -> Granted[tuple[Order, AccessTarget, Place]] | Refused:
    """Judge a ticket, take a place for it, and spend it last."""
    source = decide_source(request.headers.get("Origin"), request.host)
    if isinstance(source, Refused):
        return source
    session = visit.session()
    sign_in = digest(visit.session_token().reveal()) if session else None
    answer = decide_ticket(hall.tickets.find(text), sign_in)
    if isinstance(answer, Refused):
        return answer
    order, user = answer.value.order, answer.value.user
    target = visit.services().enrolment.nodes.targets().get(order.node)
    if target is None:
        return Refused("the node was removed", "WS3")
    room = hall.places.reserve("terminal", user)
    if isinstance(room, Refused):
        return room
    try:
        spent = hall.tickets.spend(text)
    except BaseException:
        hall.places.release(room.value)
        raise
    if isinstance(spent, Refused):
        hall.places.release(room.value)
        return spent
    return Granted((order, target, room.value))


def _tell_refused(refused: Refused, node: str = "", login: str = "") -> None:
    """Tell the audit log: of one person, or of an address of nobody's, the same once in a while, and then how often."""
    found, services = visit.session(), visit.services()
    fields: dict[str, Json] = {
        "user": found.user if found else "",
        "reason": refused.reason,
        "check": refused.check,
        "addr.remote": visit.origin().address,
    }
    fields |= {"server_id": node, "target": f"{login}@{node}"} if node else {}
    services.socket_refusals.tell(
        found.user if found else network_of(visit.address()),
        f"{refused.check} {login} {node}",
        fields,
        services.clock(),
        lambda fields: services.audit.write(events.TERMINAL_REFUSED, fields),
    )


# --- the pages' news --------------------------------------------------------------------------------------------


@blueprint.get("/web/events")
def follow() -> Response:
    """Tell a page what changes, for as long as it is open."""
    hall = visit.services().hall
    if request.method == "HEAD":
        return Response(mimetype="text/event-stream")
    place = hall.places.reserve("stream", visit.signed_in().user) if hall else None
    if hall is None or not isinstance(place, Granted):
        return refusal.answer(503, retry_after=limits.TERMINAL_CHECK)
    return KeptResponse(hall, place.value, hall.tell_news, mimetype="text/event-stream")
