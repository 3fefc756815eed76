"""Who asks the machine API, and how an answer without success looks.

Checks of a request: M1 the TLS layer has verified a certificate by our TLS CA (no connection without);
M2 its common name is a node's id; M3 that node is still enrolled.
"""

from __future__ import annotations

import logging
import ssl
from typing import Any

from flask import Response, jsonify, request

from controller.enrolment import Enrolment
from controller.enrolment.nodes import NodeRecord
from protocol import names
from protocol.decision import Granted, Refused
from protocol.messages import ErrorReply

LOG = logging.getLogger("API")


def judge_peer(enrolment: Enrolment) -> Granted[NodeRecord] | Refused:
    """Return the node that makes the request in hand."""
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


def refuse_peer(refused: Refused) -> tuple[Response, int]:
    """Return the answer to whoever `judge_peer` refused, the same for each check; the log has the reason."""
    LOG.warning("machine API: %s refused (%s): %s", peer_address(), refused.check, refused.reason)
    return error("this certificate is not a node's of this cluster", 403)


def peer_address() -> str:
    """Return ``HOST:PORT`` of who asks."""
    return f"{request.remote_addr}:{request.environ.get('REMOTE_PORT', 0)}"


def error(text: str, status: int) -> tuple[Response, int]:
    """Return an answer that says why the request was not carried out."""
    return jsonify(ErrorReply(text).to_dict()), status
