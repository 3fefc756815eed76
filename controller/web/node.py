"""One node's page: what it is, how it is, who is on it, what was done there; and what an admin does about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

from flask import Blueprint, Response, jsonify, request

from controller.audit_reader import Wanted
from controller.enrolment.nodes import NodeError, NodeRecord
from controller.fleet import NodeView
from controller.locks import LockError
from controller.policy.label import LabelChange
from controller.policy.viewing import decide_viewing, sees_all
from controller.presence.history import NodeHistory
from controller.web import refusal, visit
from controller.web.listing import Row, make_row
from controller.web.locking import put_on
from controller.web.nodes import sight_of
from controller.web.plots import Day, plot_day
from controller.web.portrait import Portrait, paint
from controller.web.reply import page, see_other
from protocol import limits, names
from protocol.access import sees_audit
from protocol.decision import Granted
from protocol.durations import parse_duration
from protocol.event_sentences import time_of
from protocol.locks import Lock
from protocol.names import BadNameError, NodeId
from protocol.recordings import RecordingEntry

blueprint = Blueprint("node", __name__)

SHOWN = 20
# What a lock may be put on for here; empty for until it is taken off.
LOCK_SPANS = (("", "until it is taken off"), ("1h", "1 hour"), ("8h", "8 hours"), ("24h", "1 day"), ("168h", "7 days"))
_DONE = {
    "labels": "The labels were changed. Access goes by the new ones at once.",
    "lock": "The node is locked: sessions on it end, and none begin.",
    "unlock": "The lock was taken off.",
    "approve": "The node was approved. It comes online within seconds.",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A node that this person may see. `target`: what commands call it: its name, where that names no other."""

    view: NodeView
    record: NodeRecord
    row: Row
    target: str
    lock: Lock | None

    def history(self) -> NodeHistory | None:
        """Ask for its last day of heartbeats; the one who knows may take a while, or not answer: then None."""
        return visit.services().history(self.view.node_id)


@blueprint.get("/web/nodes/<node>")
def show_node(node: str) -> Response:
    """Show the page; whoever may not see the node is told that there is none."""
    found = _find(node)
    return refusal.answer(404) if found is None else _page(found, done=_DONE.get(request.args.get("done", "")))


@blueprint.get("/web/nodes/<node>/facts")
def show_facts(node: str) -> Response:
    """Return what changes by itself, for the page that keeps itself up to date."""
    found = _find(node)
    return refusal.answer(404) if found is None else page("node_facts.html", **_facts(found, found.history()))


@blueprint.get("/web/nodes/<node>/past")
def show_past(node: str) -> Response:
    """Return what was done there, for the page that keeps itself up to date."""
    found = _find(node)
    return refusal.answer(404) if found is None else page("node_past.html", **_past(found))


@blueprint.get("/web/nodes/<node>/history")
def show_history(node: str) -> Response:
    """Return a day of heartbeats, for the page's plots."""
    found = _find(node)
    if found is None:
        return refusal.answer(404)
    day = _day(found.history())
    return jsonify({"begin": 0, "step": 0, "series": []} if day is None else day.to_dict())


@blueprint.post("/web/nodes/<node>/labels")
def change_labels(node: str) -> Response:
    """Give the node the labels of the form, and no others."""
    found = _find(node)
    if found is None:
        return refusal.answer(404)
    text = request.form.get("labels", "")
    try:
        wanted = names.parse_labels_text(",".join(text.splitlines()))
        changes = [LabelChange(name, None) for name in found.view.labels if name not in wanted]
        changes += [LabelChange(name, value) for name, value in wanted.items()]
        visit.services().enrolment.nodes.relabel(found.view.node_id, changes, visit.origin())
    except (BadNameError, NodeError) as err:
        return _page(found, problem=f"The labels stay as they are: {err}", labels=text[:4000], status=422)
    return _back(found, "labels")


@blueprint.post("/web/nodes/<node>/lock")
def lock_node(node: str) -> Response:
    """Keep everybody out of the node."""
    found = _find(node)
    if found is None:
        return refusal.answer(404)
    message, span = request.form.get("message", ""), request.form.get("ttl", "")
    try:
        ttl = parse_duration(span) if span else None
        put_on("node", found.view.node_id, message, ttl)
    except (ValueError, LockError) as err:
        return _page(found, problem=f"The node was not locked: {err}", status=422)
    return _back(found, "lock")


@blueprint.post("/web/nodes/<node>/unlock")
def unlock_node(node: str) -> Response:
    """Take off the lock that the form names: one on this node."""
    found = _find(node)
    if found is None or found.lock is None or found.lock.lock_id != request.form.get("lock"):
        return refusal.answer(404)
    try:
        visit.services().locks.remove(found.lock.lock_id, visit.origin())
    except LockError as err:
        return _page(found, problem=str(err), status=409)
    return _back(found, "unlock")


@blueprint.post("/web/nodes/<node>/approve")
def approve_node(node: str) -> Response:
    """Let the node in that waits."""
    found = _find(node)
    if found is None:
        return refusal.answer(404)
    try:
        visit.services().enrolment.nodes.approve(found.view.node_id, visit.origin())
    except NodeError as err:
        return _page(found, problem=str(err), status=409)
    waiting = visit.own_page(request.form.get("back"), "")
    return see_other(waiting) if waiting else _back(found, "approve")


@blueprint.post("/web/nodes/<node>/reject")
def reject_node(node: str) -> Response:
    """Turn the node away that waits."""
    found = _find(node)
    if found is None:
        return refusal.answer(404)
    try:
        visit.services().enrolment.nodes.reject(found.view.node_id, visit.origin())
    except NodeError as err:
        return _page(found, problem=str(err), status=409)
    return see_other("/web/nodes?done=reject")


@blueprint.post("/web/nodes/<node>/remove")
def remove_node(node: str) -> Response:
    """Remove the node: its certificates are void at once."""
    found = _find(node)
    if found is None:
        return refusal.answer(404)
    try:
        visit.services().enrolment.nodes.remove(found.view.node_id, visit.origin())
    except NodeError as err:
        return _page(found, problem=str(err), status=409)
    return see_other("/web/nodes?done=remove")


def _back(found: Found, done: str) -> Response:
    return see_other(f"/web/nodes/{found.view.node_id}?done={done}")


def _find(text: str) -> Found | None:
    """Return the node of that id, where there is one and this person may see it."""
    try:
        node_id = names.parse_node_id(text)
    except BadNameError:
        return None
    services, person = visit.services(), visit.person()
    seen = services.fleet.seen_by(person)
    view = next((each for each in seen if each.node_id == node_id), None)
    record = services.enrolment.nodes.get(node_id)
    if view is None or record is None:
        return None
    repeated = sum(each.name == view.name for each in seen) > 1
    row = make_row(view, sight_of(person), is_repeated=repeated)
    target = view.node_id if repeated else view.name
    return Found(view, record, row, target, services.locks.find(node=node_id))


def _page(
    found: Found, *, done: str | None = None, problem: str | None = None, labels: str | None = None, status: int = 200
) -> Response:
    typed = names.format_labels(found.view.labels) if labels is None else labels
    history = found.history()
    return page(
        "node.html",
        status,
        done=None if problem else done,
        problem=problem,
        typed_labels=typed,
        lock_spans=LOCK_SPANS,
        day=_day(history),
        **_facts(found, history) | _past(found),
    )


def _facts(found: Found, history: NodeHistory | None) -> dict[str, Any]:
    services, person = visit.services(), visit.person()
    return {
        "found": found,
        "row": found.row,
        "portrait": _portrait(found, history),
        "live": services.live.on_node(found.view.node_id, person),
    }


def _past(found: Found) -> dict[str, Any]:
    person = visit.person()
    return {
        "found": found,
        "recordings": _recordings(found.view.node_id),
        "happened": _happened(found.view.node_id) if sees_audit(person.roles) else None,
    }


def _portrait(found: Found, history: NodeHistory | None) -> Portrait:
    services = visit.services()
    drops = None if history is None else sum(count or 0 for count in history.offline)
    newest = services.depot.version()
    return paint(found.view, found.record, services.fleet.broker(), drops, services.clock(), newest)


def _day(history: NodeHistory | None) -> Day | None:
    return None if history is None else plot_day(history)


def _recordings(node_id: NodeId) -> tuple[RecordingEntry, ...]:
    """Return the newest recordings of the node that this person may see, of the last month."""
    services, person = visit.services(), visit.person()
    participant = None if sees_all(person) else person.user
    since = services.clock() - timedelta(days=30)
    found = services.recordings.browse(since=since, participant=participant, most=limits.RECORDINGS_EXAMINED_MAX)
    mine = (one.entry for one in found if one.entry.node == node_id)
    return tuple(islice((entry for entry in mine if isinstance(decide_viewing(person, entry), Granted)), SHOWN))


def _happened(node_id: NodeId) -> tuple[dict[str, Any], ...]:
    """Return the newest events of the node, each with its sentence."""
    events = visit.services().ledger.newest(Wanted(node=node_id), SHOWN).events
    return tuple({"at": time_of(event), "event": event, "ok": event.get("success") is not False} for event in events)
