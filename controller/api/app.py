"""The machine API: what a node asks once it has joined. Who may ask is `controller.api.peer`'s to judge (M1-M3)."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, Response, jsonify, request

from controller.api.peer import LOG, error, judge_peer, peer_address, refuse_peer
from controller.api.terms import add_terms
from controller.api.uploads import add_uploads
from controller.audit import AuditError
from controller.enrolment import Enrolment
from controller.enrolment.reports import ReportError, SequenceError
from controller.https.fault import MalformedBodyError
from controller.recordings import Recordings
from controller.store.interface import StoreError
from controller.terms import Terms
from protocol import endpoints, limits, messages
from protocol.decision import Refused
from protocol.messages import EventBatch, MessageError

# A batch of events is larger than what people send.
BODY_MAX = 4 * limits.HTTP_BODY_MAX


@dataclass(frozen=True, slots=True)
class ApiServices:
    """What the machine API asks of the rest of the controller."""

    enrolment: Enrolment
    terms: Terms
    recordings: Recordings


def create_app(services: ApiServices) -> Flask:
    """Return the application."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX

    def take_events() -> tuple[Response, int]:
        node = judge_peer(services.enrolment)
        if isinstance(node, Refused):
            return refuse_peer(node)
        try:
            batch = EventBatch.from_dict(messages.decode(request.get_data()))
            receipt = services.enrolment.take_events(node.value, batch, peer_address())
        except (MessageError, SequenceError) as err:
            LOG.warning("machine API: node %s: %s", node.value.node_id, err)
            return error(str(err), 400)
        except (ReportError, StoreError, AuditError) as err:
            LOG.error("machine API: events of node %s not taken: %s", node.value.node_id, err)
            return error("the events cannot be stored now: send them again later", 503)
        return jsonify(receipt.to_dict()), 200

    app.add_url_rule(endpoints.EVENTS.path, "events", take_events, methods=[endpoints.EVENTS.method])
    add_terms(app, services.enrolment, services.terms)
    add_uploads(app, services.enrolment, services.recordings)
    for code, text in ((404, "no such endpoint"), (405, "no such method here"), (413, "the body is too large")):
        app.register_error_handler(code, lambda _err, code=code, text=text: error(text, code))
    app.register_error_handler(MalformedBodyError, lambda _err: error("the body is malformed", 400))
    app.register_error_handler(Exception, _broken)
    return app


def _broken(err: Exception) -> tuple[Response, int]:
    LOG.error("machine API: %s %s failed", request.method, request.path[:100], exc_info=err)
    return error("the controller could not carry this out", 500)
