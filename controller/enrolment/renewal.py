"""Nodes that ask for their next certificates. The peer learns that it was refused, the audit log why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from controller.audit import AuditLog
from controller.authority import Authority, AuthorityError
from controller.enrolment.challenges import Challenges
from controller.enrolment.clones import Clones
from controller.enrolment.issue import Issue, Issuer, count_held, idle_time
from controller.enrolment.nodes import FoundNode, NodeRecord, Nodes
from controller.enrolment.proof import is_proven
from controller.locks import Locks
from controller.origin import Origin
from controller.policy.renew import (
    CLONED,
    ChallengeState,
    Held,
    Renewal,
    RenewClaim,
    Waiting,
    decide_renewal,
    read_attested,
    refuse_unknown,
)
from protocol import events, renewals
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.instants import format_instant
from protocol.locks import describe_lock
from protocol.messages import JoinReply, Ping
from protocol.renewals import RenewRequest
from protocol.ssh.certificate import BadCertificateError, key_blob, parse_certificate_line

_RETRIES = 20


class Renewals:
    """Judges renewals one by one, and hands out what was granted."""

    def __init__(  # noqa: PLR0913 - the parts it is made of
        self,
        *,
        nodes: Nodes,
        challenges: Challenges,
        clones: Clones,
        locks: Locks,
        issuer: Issuer,
        authority: Authority,
        audit: AuditLog,
        clock: Callable[[], datetime],
    ) -> None:
        self._nodes = nodes
        self._challenges = challenges
        self._clones = clones
        self._locks = locks
        self._issuer = issuer
        self._authority = authority
        self._audit = audit
        self._clock = clock

    def renew(self, request: RenewRequest, ping: Ping, origin: Origin) -> Granted[JoinReply] | Refused:
        """Certify a node anew; the reply is pending where it waits for approval."""
        claim = self._claim(request)
        for _ in range(_RETRIES):
            found = self._nodes.find(request.node_id)
            if found is None:
                return self._refuse(request, None, refuse_unknown(claim), origin)
            answer = decide_renewal(self._held(found.node), claim)
            if isinstance(answer, Refused):
                return self._refuse(request, found, answer, origin)
            if isinstance(answer, Waiting):
                return Granted(self._issuer.put_off(found.node, ping))
            node = self._renewed(found.node, request, answer.value)
            try:
                issue = self._issuer.certify(node, request.tls_request, ping)
            except AuthorityError as err:
                return self._refuse(request, found, Refused(f"its keys cannot be certified: {err}", "N6"), origin)
            if self._nodes.replace(found, issue.node):
                # Should the audit log refuse, the node asks again with the same mark, and gets the same generation.
                self._tell(issue, answer.value, origin)
                return Granted(issue.reply)
        return self._refuse(request, None, Refused("the node is being changed by many at once", "N8"), origin)

    def _claim(self, request: RenewRequest) -> RenewClaim:
        found = self._nodes.find(request.node_id)
        statement = renewals.renewal_statement(
            request.node_id, request.generation, request.attempt, request.challenge, request.tls_request
        )
        proven = found is not None and is_proven(found.node.ssh_public_key, request.proof, statement)
        state = self._look_at(request, proven=proven)
        attested = self._attested(request, found.node) if proven and found is not None else 0
        return RenewClaim(request.generation, request.attempt, state, proven, attested)

    def _attested(self, request: RenewRequest, node: NodeRecord) -> int:
        """Return the generation that the certificate with the request proves; 0 where there is none that does."""
        if request.generation <= node.generation or not request.certificate:
            return 0
        try:
            certificate = parse_certificate_line(request.certificate)
            authorities = {key_blob(line) for line in self._authority.host_lineage()}
            return read_attested(certificate, node.node_id, key_blob(node.ssh_public_key), authorities)
        except BadCertificateError:
            return 0

    def _look_at(self, request: RenewRequest, *, proven: bool) -> ChallengeState:
        """Judge the challenge, and spend it: only where the node has signed it, so that nobody else can fill a disk."""
        if not self._challenges.is_ours(request.challenge, request.node_id):
            return "foreign"
        return "fresh" if not proven or self._challenges.spend(request.challenge) else "spent"

    def _held(self, node: NodeRecord) -> Held:
        lock = self._locks.find(node=node.node_id)
        said = "" if lock is None else describe_lock(lock)
        now = self._clock()
        return Held(node.generation, node.attempt, node.pending, said, count_held(node, now), idle_time(node, now))

    def _renewed(self, node: NodeRecord, request: RenewRequest, renewal: Renewal) -> NodeRecord:
        return replace(
            node,
            generation=renewal.generation,
            attempt=request.attempt,
            renewed=self._clock(),
            version=request.version or node.version,
        )

    def _tell(self, issue: Issue, renewal: Renewal, origin: Origin) -> None:
        node = issue.node
        if renewal.generation == 1 and not renewal.is_repeated:
            self._audit.write(events.INSTANCE_JOIN, joined_fields(node, origin))  # it was approved: now it is a node
            return
        fields: dict[str, Json] = {
            "server_id": node.node_id,
            "server_hostname": node.name,
            "generation": node.generation,
            "expires": format_instant(issue.expires),
            "addr.remote": origin.address,
            "version": node.version,
            "via": origin.via,
        }
        fields |= {"repeated": True} if renewal.is_repeated else {}
        fields |= {} if renewal.expected is None else {"expected": renewal.expected}
        self._audit.write(events.NODE_RENEW, fields)

    def _refuse(self, request: RenewRequest, found: FoundNode | None, refused: Refused, origin: Origin) -> Refused:
        if refused.check == CLONED and found is not None:
            more: dict[str, Json] = {"generation": request.generation, "expected": found.node.generation}
            if self._clones.report(request.node_id, refused.reason, origin, more):
                return refused
        fields: dict[str, Json] = {
            "success": False,
            "error": refused.reason,
            "check": refused.check,
            "server_id": request.node_id,
            "generation": request.generation,
            "addr.remote": origin.address,
            "via": origin.via,
        }
        fields |= {} if found is None else {"server_hostname": found.node.name}
        self._audit.write(events.NODE_RENEW_FAILED, fields)
        return refused


def joined_fields(node: NodeRecord, origin: Origin) -> dict[str, Json]:
    """Return what the audit log is told of a device that has become a node."""
    return {
        "success": True,
        "host_id": node.node_id,
        "node_name": node.name,
        "role": "Node",
        "method": "token",
        "token": node.token,
        "addr.remote": origin.address,
        "labels": dict(node.labels),
        "version": node.version,
        "generation": node.generation,
        "via": origin.via,
    }
