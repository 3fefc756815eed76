"""Devices: their tokens, their joining, and what they report.

`Enrolment` is what the doors ask. It asks policy, applies the answer to the store, and tells the audit log.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from controller.audit import AuditLog
from controller.authority import Authority, AuthorityError
from controller.enrolment.nodes import NodeRecord, Nodes
from controller.enrolment.reports import Reports
from controller.enrolment.tokens import Tokens, hidden
from controller.origin import Origin
from controller.policy.join import JoinClaim, JoinOrder, decide_join
from controller.store.interface import Store
from controller.terms import Terms
from protocol import certificates, events, messages
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.messages import EventBatch, EventReceipt, JoinReply, JoinRequest, Ping
from protocol.names import ClusterName, NodeId, TokenText
from protocol.secret import Secret

_RETRIES = 20


class Enrolment:
    """The devices of one cluster, as the doors see them."""

    def __init__(  # noqa: PLR0913 - the parts it is made of
        self,
        *,
        store: Store,
        authority: Authority,
        terms: Terms,
        audit: AuditLog,
        cluster: ClusterName,
        clock: Callable[[], datetime],
        static_tokens: Sequence[Secret[TokenText]] = (),
        reserved_names: Sequence[str] = (),
    ) -> None:
        self._authority = authority
        self._terms = terms
        self._audit = audit
        self._cluster = cluster
        self._clock = clock
        self._reserved = (cluster, *reserved_names)
        self.tokens = Tokens(store, audit, clock, static_tokens)
        self.nodes = Nodes(store, audit, clock)
        self._reports = Reports(store, audit, clock)

    def join(self, request: JoinRequest, ping: Ping, origin: Origin) -> Granted[JoinReply] | Refused:
        """Let a device join. `ping` holds the addresses to hand out.

        Its certificates are made before its token is spent, and handed out only after: a device whose keys
        cannot be certified costs nobody a token, and of two that race for one use exactly one gets any.
        """
        claim = JoinClaim(request.name, request.labels, _is_proven(request))
        node_id = NodeId(str(uuid.uuid4()))
        principals = certificates.node_principals(node_id, request.name, self._cluster)
        for _ in range(_RETRIES):
            found = self.tokens.find(request.token.reveal())
            token = None if found is None else found.token
            answer = decide_join(token, claim, principals=principals, reserved=self._reserved, now=self._clock())
            if isinstance(answer, Refused):
                return self._refuse(request, answer, origin)
            node = self._node(node_id, answer.value, request)
            try:
                reply = self._sign(node, request.tls_request, ping)
            except AuthorityError as err:
                return self._refuse(request, Refused(f"its keys cannot be certified: {err}", "J7"), origin)
            if found is not None and self.tokens.spend(found):
                return self._enrol(node, reply, origin)
        return self._refuse(request, Refused("the token is being used by many devices at once", "J8"), origin)

    def take_events(self, node: NodeRecord, batch: EventBatch, address: str) -> EventReceipt:
        """Take audit events that `node` reports: see `controller.enrolment.reports`."""
        return self._reports.take(node, batch, address)

    def _node(self, node_id: NodeId, order: JoinOrder, request: JoinRequest) -> NodeRecord:
        return NodeRecord(
            node_id=node_id,
            name=order.name,
            labels=order.labels,
            ssh_public_key=request.ssh_public_key.strip(),
            generation=1,
            joined=self._clock(),
            token=hidden(request.token.reveal()),
            version=request.version,
        )

    def _sign(self, node: NodeRecord, tls_request: str, ping: Ping) -> JoinReply:
        now = self._clock()
        order = certificates.node_order(
            node_id=node.node_id,
            name=node.name,
            cluster=self._cluster,
            generation=node.generation,
            serial=secrets.randbits(63),
            now=now,
        )
        return JoinReply(
            node_id=node.node_id,
            name=node.name,
            cluster_name=self._cluster,
            labels=node.labels,
            host_certificate=self._authority.sign_ssh(order, node.ssh_public_key),
            tls_certificate=self._authority.sign_node_tls(tls_request, node.node_id, now),
            user_authorities=self._authority.ssh_authorities("user"),
            host_authorities=self._authority.ssh_authorities("host"),
            tls_authorities=self._authority.tls_authorities(),
            tunnel_address=ping.tunnel_address,
            api_address=ping.api_address,
            recording=self._terms.current(),
        )

    def _enrol(self, node: NodeRecord, reply: JoinReply, origin: Origin) -> Granted[JoinReply]:
        fields: dict[str, Json] = {
            "success": True,
            "host_id": node.node_id,
            "node_name": node.name,
            "role": "Node",
            "method": "token",
            "token": node.token,
            "addr.remote": origin.address,
            "labels": dict(node.labels),
            "version": node.version,
            "via": origin.via,
        }
        self._audit.write(events.INSTANCE_JOIN, fields)
        self.nodes.add(node)  # last: no node is enrolled that the audit log does not know
        return Granted(reply)

    def _refuse(self, request: JoinRequest, refused: Refused, origin: Origin) -> Refused:
        fields: dict[str, Json] = {
            "success": False,
            "error": refused.reason,
            "check": refused.check,
            "node_name": request.name,
            "token": hidden(request.token.reveal()),
            "addr.remote": origin.address,
            "via": origin.via,
        }
        self._audit.write(events.INSTANCE_JOIN_FAILED, fields)
        return refused


def _is_proven(request: JoinRequest) -> bool:
    statement = messages.join_statement(request.token.reveal(), request.ssh_public_key, request.tls_request)
    try:
        key = load_ssh_public_key(request.ssh_public_key.encode())
        if not isinstance(key, Ed25519PublicKey):
            return False
        key.verify(base64.b64decode(request.proof, validate=True), statement)
    except (ValueError, TypeError, binascii.Error, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
