"""The machine API: what a node asks once it has joined.

Checks of a request: M1 the TLS layer has verified a certificate by our TLS CA (no connection without);
M2 its common name is a node's id; M3 that node is still enrolled.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, jsonify, request

from controller.audit import AuditError
from controller.enrolment import Enrolment
from controller.enrolment.nodes import NodeRecord
from controller.enrolment.reports import ReportError, SequenceError
from controller.https.fault import MalformedBodyError
from controller.store.interface import StoreError
from protocol import endpoints, limits, messages, names
from protocol.decision import Granted, Refused
from protocol.messages import ErrorReply, EventBatch, MessageError

LOG = logging.getLogger("API")
# A batch of events is larger than what people send.
BODY_MAX = 4 * limits.HTTP_BODY_MAX


@dataclass(frozen=True, slots=True)
class ApiServices:
    """What the machine API asks of the rest of the controller."""

    enrolment: Enrolment


def create_app(services: ApiServices) -> Flask:
    """Return the application."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX

    def take_events() -> tuple[Response, int]:
        node = _judge_peer(services.enrolment)
        if isinstance(node, Refused):
            LOG.warning("machine API: %s refused (%s): %s", _address(), node.check, node.reason)
            return _error("this certificate is not a node's of this cluster", 403)
        try:
            batch = EventBatch.from_dict(messages.decode(request.get_data()))
            receipt = services.enrolment.take_events(node.value, batch, _address())
        except (MessageError, SequenceError) as err:
            LOG.warning("machine API: node %s: %s", node.value.node_id, err)
            return _error(str(err), 400)
        except (ReportError, StoreError, AuditError) as err:
            LOG.error("machine API: events of node %s not taken: %s", node.value.node_id, err)  # noqa: TRY400 - one line
            return _error("the events cannot be stored now: send them again later", 503)
        return jsonify(receipt.to_dict()), 200

    app.add_url_rule(endpoints.EVENTS.path, "events", take_events, methods=[endpoints.EVENTS.method])
    for code, text in ((404, "no such endpoint"), (405, "no such method here"), (413, "the body is too large")):
        app.register_error_handler(code, lambda _err, code=code, text=text: _error(text, code))
    app.register_error_handler(MalformedBodyError, lambda _err: _error("the body is malformed", 400))
    app.register_error_handler(Exception, _broken)
    return app


def _judge_peer(enrolment: Enrolment) -> Granted[NodeRecord] | Refused:
    sock = request.environ.get("gunicorn.socket")
    certificate: Any = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    if not certificate:
        return Refused("no client certificate", "M1")
    subject = {key: value for pairs in certificate.get("subject", ()) for key, value in pairs}
    try:
        node_id = names.parse_node_id(subject.get("commonName"))
    except names.BadNameError:
        return Refused("the certificate names no node", "M2")
    node = enrolment.nodes.get(node_id)
    return Refused(f"node {node_id} is not enrolled", "M3") if node is None else Granted(node)


def _address() -> str:
    return f"{request.remote_addr}:{request.environ.get('REMOTE_PORT', 0)}"


def _error(text: str, status: int) -> tuple[Response, int]:
    return jsonify(ErrorReply(text).to_dict()), status


def _broken(err: Exception) -> tuple[Response, int]:
    LOG.error("machine API: %s %s failed", request.method, request.path[:100], exc_info=err)
    return _error("the controller could not carry this out", 500)
