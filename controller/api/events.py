"""POST /v1/events: what nodes report for the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Flask, Response, jsonify, request

from controller.api.peer import LOG, error, judge_peer, later, peer_address, refuse_peer
from controller.api.ration import Ration
from controller.audit import AuditError
from controller.enrolment import Enrolment
from controller.enrolment.nodes import NodeRecord
from controller.enrolment.reports import ReportError, SequenceError
from controller.locks import Locks
from controller.policy.rate import TooSoon
from controller.store.interface import StoreError
from protocol import endpoints, messages
from protocol.decision import Refused
from protocol.messages import EventBatch, MessageError


def add_events(app: Flask, enrolment: Enrolment, locks: Locks, clock: Callable[[], datetime]) -> None:
    """Let `app` take what nodes report."""
    ration = Ration()

    def is_too_soon(node: NodeRecord, batch: EventBatch) -> TooSoon | None:
        if not batch.events:
            return None  # it asks how far we are, and nothing is written
        return ration.admit(node.node_id, clock(), is_locked=locks.find(node=node.node_id) is not None)

    def take_events() -> tuple[Response, int]:
        node = judge_peer(enrolment)
        if isinstance(node, Refused):
            return refuse_peer(node)
        try:
            batch = EventBatch.from_dict(messages.decode(request.get_data()))
            if wait := is_too_soon(node.value, batch):
                return later("so many events at once are not taken: send them again later", 429, wait.retry_after)
            receipt = enrolment.take_events(node.value, batch, peer_address())
        except (MessageError, SequenceError) as err:
            LOG.warning("machine API: node %s: %s", node.value.node_id, err)
            return error(str(err), 400)
        except (ReportError, StoreError, AuditError) as err:
            LOG.error("machine API: events of node %s not taken: %s", node.value.node_id, err)
            return error("the events cannot be stored now: send them again later", 503)
        return jsonify(receipt.to_dict()), 200

    app.add_url_rule(endpoints.EVENTS.path, "events", take_events, methods=[endpoints.EVENTS.method])
