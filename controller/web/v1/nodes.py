"""Nodes, for programs: listed, looked at, and dealt with by who administers the cluster."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import NotFound

from controller.authority.ssh import fingerprint
from controller.enrolment.nodes import NodeError, NodeRecord, UnknownNodeError
from controller.fleet import NodeView
from controller.policy.label import LabelChange
from controller.web import refusal, visit
from controller.web.listing import Card
from controller.web.permissions import rule
from controller.web.v1 import question
from protocol import endpoints, limits, names
from protocol.events import Json
from protocol.instants import to_milliseconds
from protocol.messages import parse_node_status
from protocol.names import NodeId
from protocol.node_details import NodeDetail, NodeLabels, NodePage
from protocol.presences import NodeState

blueprint = Blueprint("v1_nodes", __name__)


@blueprint.get(endpoints.NODES.path)
def nodes() -> Response:
    """List the nodes this person may open; with ``all``, all that they may know of.

    Without any parameter the answer is all of them at once, as tsh wants it.
    """
    if not request.args:
        return Response(visit.services().fleet.listing_for(visit.person()), mimetype="application/json")
    cards = visit.services().catalogue.cards(_views())
    shown = question.page(filter(_wanted(), cards), _place, limits.NODES_PAGE_MAX)
    return jsonify(NodePage(tuple(card.view.entry() for card in shown.items), shown.next).to_dict())


def _views() -> tuple[NodeView, ...]:
    person, fleet = visit.person(), visit.services().fleet
    return fleet.seen_by(person) if question.flag("all") else fleet.nodes_for(person)


def _wanted() -> Callable[[Card], bool]:
    status = question.read("status", parse_node_status)
    labels = question.every("label", _label, limits.LABELS_MAX)
    searched = (question.words("search") or "").lower().split()

    def is_wanted(card: Card) -> bool:
        view = card.view
        if status is not None and view.status != status:
            return False
        return all(view.labels.get(key) == value for key, value in labels) and all(
            word in card.text for word in searched
        )

    return is_wanted


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise names.BadNameError("not a label, such as env=prod")
    return names.parse_label(key, value)


def _place(card: Card) -> str:
    view = card.view
    return f"{view.name.lower()} {view.node_id}"


@blueprint.get(rule(endpoints.NODE))
def node(node: str) -> Response:
    """Tell all that is known of one node."""
    return _show(_find(node).node_id)


@blueprint.get(rule(endpoints.NODE_HISTORY))
def history(node: str) -> Response:
    """Tell of a node's last day, as its heartbeats told."""
    found = visit.services().history(_find(node).node_id)
    if found is None:
        return refusal.answer(404, "Nothing was heard of this node within a day.")
    return jsonify(found.to_dict())


@blueprint.put(rule(endpoints.NODE_LABELS))
def labels(node: str) -> Response:
    """Give a node these labels, and no others."""
    wanted, node_id = NodeLabels.from_dict(question.body()).labels, question.named(node, names.parse_node_id)
    record = visit.services().enrolment.nodes.get(node_id)
    if record is None:
        raise NotFound
    changes = [LabelChange(name, None) for name in record.labels if name not in wanted]
    changes += [LabelChange(name, value) for name, value in wanted.items()]
    visit.services().enrolment.nodes.relabel(node_id, changes, visit.origin())
    return _show(node_id)


@blueprint.post(rule(endpoints.NODE_APPROVE))
def approve(node: str) -> Response:
    """Let a node in that waits for approval."""
    node_id = question.named(node, names.parse_node_id)
    visit.services().enrolment.nodes.approve(node_id, visit.origin())
    return _show(node_id)


@blueprint.post(rule(endpoints.NODE_REJECT))
def reject(node: str) -> Response:
    """Turn a node away that waits for approval."""
    visit.services().enrolment.nodes.reject(question.named(node, names.parse_node_id), visit.origin())
    return Response(status=204)


@blueprint.delete(rule(endpoints.NODE_REMOVE))
def remove(node: str) -> Response:
    """Remove a node: its certificates are void at once."""
    visit.services().enrolment.nodes.remove(question.named(node, names.parse_node_id), visit.origin())
    return Response(status=204)


@blueprint.errorhandler(NodeError)
def refused(error: NodeError) -> Response:
    """Say why a node stays as it is."""
    return refusal.answer(404 if isinstance(error, UnknownNodeError) else 409, str(error))


def _find(text: str) -> NodeView:
    """Return a node that this person may see. Raises `NotFound`, also where it is not theirs."""
    node_id = question.named(text, names.parse_node_id)
    view = next((view for view in visit.services().fleet.seen_by(visit.person()) if view.node_id == node_id), None)
    if view is None:
        raise NotFound
    return view


def _show(node_id: NodeId) -> Response:
    services = visit.services()
    record, view = services.enrolment.nodes.get(node_id), services.fleet.get(node_id)
    if record is None or view is None:
        raise NotFound
    lock = services.locks.find(node=node_id)
    return jsonify(_detail(view, record, lock.lock_id if lock else None).to_dict())


def _detail(view: NodeView, record: NodeRecord, lock: str | None) -> NodeDetail:
    state, beat = view.standing.state, view.standing.beat
    return NodeDetail(
        entry=view.entry(),
        joined=to_milliseconds(record.joined),
        renewed=to_milliseconds(record.renewed) if record.renewed else None,
        tunnel_since=to_milliseconds(view.tunnel_since) if view.tunnel_since else None,
        generation=record.generation,
        certificate_expires=to_milliseconds(record.tls_serials[-1].expires) if record.tls_serials else None,
        token=record.token,
        ephemeral=record.ephemeral,
        host_key=fingerprint(record.ssh_public_key),
        lock=lock,
        heartbeat=beat.to_dict() if beat else None,
        device=_device(state) if state else None,
    )


def _device(state: NodeState) -> dict[str, Json]:
    return {
        "platform": state.platform,
        "memory": state.memory,
        "disk": state.disk,
        "interval": state.interval,
    }
