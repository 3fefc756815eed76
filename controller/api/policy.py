"""GET /v1/policy: the policy document, for a node that does not reach the broker, and what is for that node alone."""

from __future__ import annotations

from flask import Flask, Response, jsonify

from controller.api.peer import LOG, error, judge_peer, refuse_peer
from controller.authority import AuthorityError
from controller.control import Control
from controller.enrolment import Enrolment
from controller.store.interface import StoreError
from protocol import endpoints
from protocol.decision import Refused


def add_policy(app: Flask, enrolment: Enrolment, control: Control) -> None:
    """Let `app` answer nodes that ask for the document."""

    def policy() -> tuple[Response, int]:
        node = judge_peer(enrolment)
        if isinstance(node, Refused):
            return refuse_peer(node)
        try:
            own = control.node_document(node.value)
            return jsonify({**control.policy().to_dict(), "node": own.to_dict() if own else None}), 200
        except (AuthorityError, StoreError) as err:
            LOG.error("machine API: policy document for node %s: %s", node.value.node_id, err)
            return error("the policy document cannot be had now: ask again later", 503)

    app.add_url_rule(endpoints.POLICY.path, "policy", policy, methods=[endpoints.POLICY.method])
