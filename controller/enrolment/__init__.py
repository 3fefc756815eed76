"""Devices: their tokens, their joining, their certificates over the years, and what they report.

`Enrolment` is what the doors ask. Its parts ask policy, apply the answer to the store, and tell the audit log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from controller.audit import AuditLog
from controller.authority import Authority
from controller.authority.vault import Vault
from controller.enrolment.challenges import Challenges
from controller.enrolment.clones import Clones
from controller.enrolment.issue import Issuer
from controller.enrolment.joining import Joins
from controller.enrolment.keys import HostKeys
from controller.enrolment.nodes import NodeRecord, Nodes
from controller.enrolment.renewal import Renewals
from controller.enrolment.reports import Reports
from controller.enrolment.tokens import Tokens
from controller.locks import Locks
from controller.origin import Origin
from controller.store.interface import Store
from controller.terms import Terms
from protocol.decision import Granted, Refused
from protocol.endorsement import Endorsed
from protocol.messages import EventBatch, EventReceipt, JoinReply, JoinRequest, Ping
from protocol.names import ClusterName, NodeId, TokenText
from protocol.renewals import Challenge, RenewRequest
from protocol.secret import Secret

# Collections whose records expire, and are dropped for good by housekeeping.
EXPIRING = ("clones", "join_tokens", "node_keys", "revoked", "spent_challenges")


class Enrolment:
    """The devices of one cluster, as the doors see them."""

    def __init__(  # noqa: PLR0913 - the parts it is made of
        self,
        *,
        store: Store,
        vault: Vault,
        authority: Authority,
        terms: Terms,
        locks: Locks,
        nodes: Nodes,
        policy: Callable[[], Endorsed | None],
        document: Callable[[NodeRecord], Endorsed | None],
        audit: AuditLog,
        cluster: ClusterName,
        clock: Callable[[], datetime],
        static_tokens: Sequence[Secret[TokenText]] = (),
        reserved_names: Sequence[str] = (),
    ) -> None:
        self.tokens = Tokens(store, audit, clock, static_tokens)
        self.nodes = nodes
        self._keys = HostKeys(store, clock)
        self._reports = Reports(store, audit, clock)
        self._challenges = Challenges(store, vault, clock)
        self._clones = Clones(store, locks, self.nodes, audit, clock)
        issuer = Issuer(authority, terms, cluster, clock, policy, document)
        self._joins = Joins(
            tokens=self.tokens,
            nodes=self.nodes,
            keys=self._keys,
            locks=locks,
            issuer=issuer,
            audit=audit,
            cluster=cluster,
            reserved=(cluster, *reserved_names),
            clock=clock,
        )
        self._renewals = Renewals(
            nodes=self.nodes,
            challenges=self._challenges,
            clones=self._clones,
            locks=locks,
            issuer=issuer,
            authority=authority,
            audit=audit,
            clock=clock,
        )

    def join(self, request: JoinRequest, ping: Ping, origin: Origin) -> Granted[JoinReply] | Refused:
        """Let a device join; `ping` holds the addresses to hand out. See `controller.enrolment.joining`."""
        return self._joins.join(request, ping, origin)

    def challenge(self, node_id: NodeId) -> Challenge:
        """Return what a node is to sign to renew: for whoever asks, since it tells nothing."""
        return self._challenges.make(node_id)

    def renew(self, request: RenewRequest, ping: Ping, origin: Origin) -> Granted[JoinReply] | Refused:
        """Give a node its next certificates: see `controller.enrolment.renewal`.

        The reply is `pending` where it still waits for approval.
        """
        return self._renewals.renew(request, ping, origin)

    def report_clone(
        self,
        node_id: NodeId,
        reason: str,
        origin: Origin = Origin(via="start"),  # noqa: B008 - frozen
        *,
        is_proven: bool = True,
    ) -> bool:
        """Tell the audit log of a node of which there are two, once, and lock it where that is proven.

        Tell whether this call did.
        """
        return self._clones.report(node_id, reason, origin, is_proven=is_proven)

    def index_keys(self) -> int:
        """Note the host keys of nodes that joined before they were noted; return how many."""
        return self._keys.index((node.node_id, node.ssh_public_key) for node in self.nodes.list())

    def take_events(self, node: NodeRecord, batch: EventBatch, address: str) -> EventReceipt:
        """Take audit events that `node` reports: see `controller.enrolment.reports`."""
        return self._reports.take(node, batch, address)
