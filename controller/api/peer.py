"""Who asks the machine API, and how an answer without success looks.

Checks of a request: M1 the TLS layer has verified a certificate by our TLS CA (no connection without);
M2 its common name is a node's id; M3 that node is still enrolled, and waits for nobody's approval; M4 no lock is on it.

M4 is not asked of who brings events and recordings, which are evidence of what was done on a device that may be in
other hands, nor of who asks for the policy document, by which a node learns of its lock. All else is refused.
"""

from __future__ import annotations

import logging
import ssl
from datetime import timedelta
from typing import Any

from flask import Response, jsonify, request

from controller.enrolment import Enrolment
from controller.enrolment.nodes import NodeRecord
from protocol import names
from protocol.decision import Granted, Refused
from protocol.locks import Lock, describe_lock
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
    return Refused(f"node {node_id} is not enrolled", "M3") if node is None or node.pending else Granted(node)


def refuse_peer(refused: Refused) -> tuple[Response, int]:
    """Return the answer to whoever `judge_peer` refused, the same for each check; the log has the reason."""
    LOG.warning("machine API: %s refused (%s): %s", peer_address(), refused.check, refused.reason)
    return error("this certificate is not a node's of this cluster", 403)


def refuse_locked(node: NodeRecord, lock: Lock) -> tuple[Response, int]:
    """Return the answer to a node that is locked, which is told why: it has proved who it is."""
    LOG.info("machine API: node %s refused (M4): %s", node.node_id, describe_lock(lock))
    return error(describe_lock(lock), 403)


def peer_address() -> str:
    """Return ``HOST:PORT`` of who asks."""
    return f"{request.remote_addr}:{request.environ.get('REMOTE_PORT', 0)}"


def error(text: str, status: int) -> tuple[Response, int]:
    """Return an answer that says why the request was not carried out."""
    return jsonify(ErrorReply(text).to_dict()), status


def later(text: str, status: int, after: timedelta) -> tuple[Response, int]:
    """Return an answer that asks the node to come again after `after`."""
    answer, status = error(text, status)
    answer.headers["Retry-After"] = str(int(after.total_seconds()))
    return answer, status
