"""The part of the simulated controller that knows its nodes for years: generations, renewals, rotations, approval.

It judges as the real one does, but for clones and rates; what it signs is signed as the real one signs.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from protocol import endpoints
from protocol.certificates import node_order
from protocol.control import PolicyDocument, RenewableKind
from protocol.decision import Granted, Refused
from protocol.endorsement import Endorsed, EndorsedKind, Succession, statement, succession_statement
from protocol.locks import Lock
from protocol.messages import JoinReply, JoinRequest
from protocol.names import ClusterName, Labels, NodeId, NodeName
from protocol.recordings import RecordingTerms
from protocol.renewals import Challenge, ChallengeRequest, RenewRequest, renewal_statement

if TYPE_CHECKING:
    from tests.harness.simulated_controller import SimulatedController, TlsAuthority


def _as_it_is(reply: JoinReply) -> JoinReply:
    return reply


@dataclass
class Enrolled:
    """One node as the controller knows it. `generation` is 0 while it waits for approval."""

    node_id: NodeId
    name: NodeName
    labels: Labels
    ssh_public_key: str
    generation: int = 1
    attempt: str = ""


@dataclass
class Renewals:
    """What a test may set, and what it may look at afterwards.

    Attributes:
        nodes: those that have joined.
        needs_approval: whether who joins has to wait for approval.
        refuses: whether every renewal is refused, as that of a removed node.
        loses: how many answers to renewals are to be lost on the way.
        requests: the renewals that were asked for, in their order.
        version: of the policy document.
        locks: what the policy document says of them.
        tells_at_join: whether the policy document comes with the join as well.
        renew: the kinds that the policy document wants renewed.
        old_hosts, old_tls: authorities that signed before, newest first; trusted unless `forgets`.
        next_id: the id of the next node that joins; None for any.
        forgets: whether old authorities are trusted no more.
        successions: the words of the old host CA keys.
        spoil: what becomes of an answer before it is sent.
        lifetime: first instant and first instant after, of host certificates; None for the usual.
    """

    controller: SimulatedController
    nodes: dict[str, Enrolled] = field(default_factory=dict)
    needs_approval: bool = False
    refuses: bool = False
    loses: int = 0
    requests: list[RenewRequest] = field(default_factory=list)
    spoil: Callable[[JoinReply], JoinReply] = _as_it_is
    version: int = 1
    locks: tuple[Lock, ...] = ()
    tells_at_join: bool = False
    renew: tuple[RenewableKind, ...] = ()
    old_hosts: list[Ed25519PrivateKey] = field(default_factory=list)
    old_tls: list[TlsAuthority] = field(default_factory=list)
    forgets: bool = False
    successions: list[Succession] = field(default_factory=list)
    lifetime: tuple[datetime, datetime] | None = None
    challenges: set[str] = field(default_factory=set)
    next_id: str | None = None

    # --- authorities ----------------------------------------------------------------------------------------------

    def host_authorities(self) -> tuple[str, ...]:
        old = [] if self.forgets else self.old_hosts
        return tuple(_line(key) for key in (self.controller.host_ca, *old))

    def tls_authorities(self) -> tuple[str, ...]:
        old = [] if self.forgets else self.old_tls
        return tuple(authority.pem for authority in (self.controller.tls_ca, *old))

    def rotate(self, *kinds: RenewableKind, forgets: bool) -> None:
        """Have new authorities sign from now on; the old ones are trusted still, unless `forgets`."""
        from tests.harness.simulated_controller import CLUSTER, TlsAuthority

        here = self.controller
        if "host" in kinds:
            old, new = here.host_ca, Ed25519PrivateKey.generate()
            word = old.sign(succession_statement(CLUSTER, _line(old), _line(new)))
            self.successions.append(Succession(_line(old), _line(new), word))
            self.old_hosts.insert(0, old)
            here.host_ca = new
        if "tls" in kinds:
            self.old_tls.insert(0, here.tls_ca)
            here.tls_ca = TlsAuthority()
        self.renew, self.forgets = kinds, forgets
        self.version += 1

    def policy(self, cluster: ClusterName) -> PolicyDocument:
        now = round(datetime.now(UTC).timestamp() * 1000)
        terms = self.controller.recording_terms() or RecordingTerms("off", False, "", b"", now)
        return PolicyDocument(
            version=self.version,
            issued=now,
            cluster=cluster,
            user_authorities=(_line(self.controller.user_ca),),
            host_authorities=self.host_authorities(),
            tls_authorities=self.tls_authorities(),
            recording=terms,
            locks=self.locks,
            successions=tuple(self.successions),
            renew=self.renew,
        )

    def endorse(self, kind: EndorsedKind, body: str, cluster: ClusterName) -> Endorsed:
        key = self.controller.host_ca
        return Endorsed(kind, body, _line(key), key.sign(statement(kind, cluster, body)))

    # --- nodes ----------------------------------------------------------------------------------------------------

    def enrol(self, request: JoinRequest, labels: Labels) -> Enrolled:
        """Return the node that joins: the one with this key, or a new one."""
        public = request.ssh_public_key.strip()
        known = next((node for node in self.nodes.values() if node.ssh_public_key == public), None)
        node = known or Enrolled(NodeId(self.next_id or str(uuid.uuid4())), request.name, labels, public, generation=0)
        node.name, node.labels = request.name, labels
        node.generation = 0 if self.needs_approval else node.generation + 1
        self.nodes[node.node_id] = node
        return node

    def approve(self, node_id: str) -> None:
        """Let a node that waits have certificates from now on."""
        self.needs_approval = False
        assert node_id in self.nodes

    def certify(self, node: Enrolled, tls_request: str, *, with_policy: bool = False) -> JoinReply:
        """Return what a node gets that has joined or renewed."""
        from tests.harness.simulated_controller import CLUSTER, sign_ssh

        here = self.controller
        host_certificate = tls_certificate = ""
        if node.generation:
            order = node_order(
                node_id=node.node_id,
                name=node.name,
                cluster=CLUSTER,
                generation=node.generation,
                serial=here.next_serial(),
                now=datetime.now(UTC),
            )
            if self.lifetime:
                order = replace(order, valid_after=self.lifetime[0], valid_before=self.lifetime[1])
            host_certificate = sign_ssh(order, node.ssh_public_key, here.host_ca)
            asked = x509.load_pem_x509_csr(tls_request.encode())
            tls_certificate = here.tls_ca.issue(node.node_id, asked.public_key(), [])
        return JoinReply(
            node_id=node.node_id,
            name=node.name,
            cluster_name=CLUSTER,
            labels=dict(node.labels),
            host_certificate=host_certificate,
            tls_certificate=tls_certificate,
            user_authorities=(_line(here.user_ca),),
            host_authorities=self.host_authorities(),
            tls_authorities=self.tls_authorities(),
            tunnel_address=f":{here.tunnel_port}",
            api_address=f":{here.api_port}",
            mqtt_address=here.mqtt_address,
            recording=here.recording_terms(),
            generation=node.generation,
            pending=not node.generation,
            policy=self.endorse("policy", self.policy(CLUSTER).encode(), CLUSTER) if with_policy else None,
        )

    # --- what nodes ask -------------------------------------------------------------------------------------------

    def answer(self, path: str, body: bytes) -> tuple[int, object, dict[str, str]] | None:
        """Return status, message and headers of an answer; None where it is to be lost."""
        if path == endpoints.RENEW_CHALLENGE.path:
            return 200, self.take_challenge(body).to_dict(), {}
        answer = self.take_renewal(body)
        if isinstance(answer, Refused):
            return 403, {"error": {"message": "the controller did not accept this"}}, {}
        if answer.value.pending:
            return 202, {"pending": True}, {"Retry-After": "0"}
        if self.loses:
            self.loses -= 1
            return None
        return 200, answer.value.to_dict(), {}

    def take_challenge(self, body: bytes) -> Challenge:
        node_id = ChallengeRequest.from_dict(json.loads(body)).node_id
        text = f"{node_id}:{uuid.uuid4()}"
        self.challenges.add(text)
        return Challenge(text, round(datetime.now(UTC).timestamp() * 1000))

    def take_renewal(self, body: bytes) -> Granted[JoinReply] | Refused:
        """Judge a renewal: N1 to N5 as the real one, the lock of clones apart."""
        request = RenewRequest.from_dict(json.loads(body))
        self.requests.append(request)
        node = self.nodes.get(request.node_id)
        if node is None or self.refuses:
            return Refused("not a node", "N1")
        if request.challenge not in self.challenges or not request.challenge.startswith(node.node_id):
            return Refused("not a challenge of ours", "N2")
        self.challenges.remove(request.challenge)
        signed = renewal_statement(
            request.node_id, request.generation, request.attempt, request.challenge, request.tls_request
        )
        host_key: Any = load_ssh_public_key(node.ssh_public_key.encode())
        host_key.verify(base64.b64decode(request.proof), signed)
        if self.needs_approval:
            return Granted(self.certify(node, request.tls_request, with_policy=True))
        if request.generation >= node.generation:
            node.generation, node.attempt = request.generation + 1, request.attempt
        elif (request.generation, request.attempt) != (node.generation - 1, node.attempt):
            return Refused("there are two of it", "N5")
        return Granted(self.spoil(self.certify(node, request.tls_request, with_policy=True)))


def _line(key: Ed25519PrivateKey) -> str:
    from tests.harness.simulated_controller import public_line

    return public_line(key)
