"""GET /v1/recording-terms: how the node that asks is to record."""

from __future__ import annotations

from flask import Flask, Response, jsonify

from controller.api.peer import LOG, error, judge_peer, refuse_locked, refuse_peer
from controller.authority import AuthorityError
from controller.enrolment import Enrolment
from controller.locks import Locks
from controller.store.interface import StoreError
from controller.terms import Terms
from protocol import endpoints
from protocol.decision import Refused


def add_terms(app: Flask, enrolment: Enrolment, locks: Locks, terms: Terms) -> None:
    """Let `app` answer nodes that ask for the terms."""

    def recording_terms() -> tuple[Response, int]:
        node = judge_peer(enrolment)
        if isinstance(node, Refused):
            return refuse_peer(node)
        try:
            if lock := locks.find(node=node.value.node_id):
                return refuse_locked(node.value, lock)
            return jsonify(terms.current().to_dict()), 200
        except (AuthorityError, StoreError) as err:
            LOG.error("machine API: recording terms for node %s: %s", node.value.node_id, err)
            return error("the terms cannot be had now: ask again later", 503)

    endpoint = endpoints.RECORDING_TERMS
    app.add_url_rule(endpoint.path, "recording_terms", recording_terms, methods=[endpoint.method])
