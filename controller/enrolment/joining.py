"""Devices that join with a token. The peer learns that it was refused, the audit log why."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from controller.audit import AuditLog
from controller.authority import AuthorityError
from controller.enrolment.issue import Issuer, count_held, idle_time
from controller.enrolment.keys import FoundKey, HostKeys, KeyNote
from controller.enrolment.nodes import FoundNode, NodeRecord, Nodes
from controller.enrolment.proof import is_proven
from controller.enrolment.renewal import joined_fields
from controller.enrolment.tokens import FoundToken, Tokens, hidden
from controller.locks import Locks
from controller.origin import Origin
from controller.policy.document import next_version
from controller.policy.join import UNLIMITED, JoinClaim, JoinOrder, KnownDevice, decide_join
from protocol import certificates, events, messages
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.locks import describe_lock
from protocol.messages import JoinReply, JoinRequest, Ping
from protocol.names import ClusterName, NodeId

_RETRIES = 20


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks: the node that its key belongs to, where there is one, and what policy asks of that."""

    node_id: NodeId
    key: FoundKey
    found: FoundNode | None
    known: KnownDevice


@dataclass(frozen=True, slots=True)
class _Admission:
    """What has been decided, and is not written down yet."""

    caller: _Caller
    token: FoundToken
    node: NodeRecord
    reply: JoinReply


class Joins:
    """Judges joins one by one, and enrols."""

    def __init__(  # noqa: PLR0913 - the parts it is made of
        self,
        *,
        tokens: Tokens,
        nodes: Nodes,
        keys: HostKeys,
        locks: Locks,
        issuer: Issuer,
        audit: AuditLog,
        cluster: ClusterName,
        reserved: Sequence[str],
        clock: Callable[[], datetime],
    ) -> None:
        self._tokens = tokens
        self._nodes = nodes
        self._keys = keys
        self._locks = locks
        self._issuer = issuer
        self._audit = audit
        self._cluster = cluster
        self._reserved = reserved
        self._clock = clock

    def join(self, request: JoinRequest, ping: Ping, origin: Origin) -> Granted[JoinReply] | Refused:
        """Let a device join, or join again. `ping` holds the addresses to hand out.

        Its certificates are made before its token is spent, and handed out only after: a device whose keys
        cannot be certified costs nobody a token, and of two that race for one use exactly one gets any.
        """
        statement = messages.join_statement(request.token.reveal(), request.ssh_public_key, request.tls_request)
        proven = is_proven(request.ssh_public_key, request.proof, statement)
        claim = JoinClaim(request.name, request.labels, proven)
        for _ in range(_RETRIES):
            token = self._tokens.find(request.token.reveal())
            if token is None:
                return self._refuse(request, Refused("the token is not known", "J1"), origin)
            caller = self._recognise(request, token)
            answer = self._decide(token, claim, caller)
            if isinstance(answer, Refused):
                return self._refuse(request, answer, origin)
            try:
                admission = self._admit(request, token, caller, answer.value, ping)
            except AuthorityError as err:
                return self._refuse(request, Refused(f"its keys cannot be certified: {err}", "J7"), origin)
            if self._spend(admission) and self._enrol(admission, origin):
                return Granted(admission.reply)
        return self._refuse(request, Refused("the token is being used by many devices at once", "J8"), origin)

    def _recognise(self, request: JoinRequest, token: FoundToken) -> _Caller:
        key = self._keys.find(request.ssh_public_key)
        note = None if key.note is None or key.note.is_removed else key.note
        if note is None:
            is_removed = key.note is not None
            repeats = not is_removed and key.mark != "" and token.token.spent_by == key.mark
            known = KnownDevice(repeats=repeats, waiting=self._count_waiting(token, None))
            return _Caller(NodeId(str(uuid.uuid4())), key, None, known)
        found = self._nodes.find(note.node_id)
        repeats = token.token.spent_by == key.mark or note.token == token.mark
        return _Caller(note.node_id, key, found, self._known(token, note.node_id, found, repeats=repeats))

    def _known(self, token: FoundToken, node_id: NodeId, found: FoundNode | None, *, repeats: bool) -> KnownDevice:
        waiting = self._count_waiting(token, node_id)
        if found is None:
            return KnownDevice(repeats=repeats, waiting=waiting)
        lock = self._locks.find(node=node_id)
        stays = repeats or token.token.uses_left == UNLIMITED
        return KnownDevice(
            repeats=repeats,
            enrolled=not found.node.pending,
            lock="" if lock is None else describe_lock(lock),
            labels=found.node.labels,
            stays=stays,
            certificates=count_held(found.node, self._clock()),
            idle=idle_time(found.node, self._clock()),
            waiting=waiting,
        )

    def _count_waiting(self, token: FoundToken, beside: NodeId | None) -> int:
        if not token.token.approve:
            return 0
        return sum(node.pending and node.node_id != beside for node in self._nodes.list())

    def _decide(self, token: FoundToken, claim: JoinClaim, caller: _Caller) -> Granted[JoinOrder] | Refused:
        return decide_join(
            token.token,
            claim,
            known=caller.known,
            principals=certificates.node_principals(caller.node_id, claim.name, self._cluster),
            reserved=self._reserved,
            now=self._clock(),
        )

    def _admit(
        self, request: JoinRequest, token: FoundToken, caller: _Caller, order: JoinOrder, ping: Ping
    ) -> _Admission:
        fresh = self._fresh(request, token, caller.node_id, order)
        node = fresh if caller.found is None else self._again(caller.found.node, fresh, caller.known)
        if order.pending:
            return _Admission(caller, token, node, self._issuer.put_off(node, ping))
        issue = self._issuer.certify(replace(node, generation=node.generation + 1), request.tls_request, ping)
        return _Admission(caller, token, issue.node, issue.reply)

    def _fresh(self, request: JoinRequest, token: FoundToken, node_id: NodeId, order: JoinOrder) -> NodeRecord:
        ephemeral = token.token.ephemeral
        return NodeRecord(
            node_id=node_id,
            name=order.name,
            labels=order.labels,
            ssh_public_key=request.ssh_public_key.strip(),
            generation=0,
            joined=self._clock(),
            token=hidden(request.token.reveal()),
            version=request.version,
            pending=order.pending,
            ephemeral=None if ephemeral is None else int(ephemeral.total_seconds()),
            token_mark=token.mark,
        )

    def _again(self, old: NodeRecord, fresh: NodeRecord, known: KnownDevice) -> NodeRecord:
        """Return a node that joins again: who it is stays; its name, and the labels that a new token fixes, are new."""
        is_relabelled = old.labels_version > 0 and dict(old.labels) != dict(fresh.labels)
        return replace(
            fresh,
            name=old.name if known.stays else fresh.name,
            ephemeral=old.ephemeral if known.stays else fresh.ephemeral,
            generation=old.generation,
            joined=old.joined,
            tls_serials=old.tls_serials,
            renewed=None if fresh.pending else self._clock(),
            labels_version=next_version(old.labels_version, self._clock()) if is_relabelled else old.labels_version,
        )

    def _spend(self, admission: _Admission) -> bool:
        caller = admission.caller
        return caller.known.repeats or self._tokens.spend(admission.token, caller.key.mark)

    def _enrol(self, admission: _Admission, origin: Origin) -> bool:
        """Write it all down; False where somebody else changed something meanwhile: judge again."""
        caller, node = admission.caller, admission.node
        note = KeyNote(node.node_id, admission.token.mark)
        if caller.key.note != note and not self._keys.note(caller.key, note):
            return False
        if caller.found is not None:
            if not self._nodes.replace(caller.found, node):
                return False
            self._tell(caller.found.node, node, origin)
            return True
        with self._nodes.alone():
            if self._nodes.get(node.node_id) is not None:
                return False  # the same device has asked twice: the other was quicker
            self._tell(None, node, origin, is_repeated=caller.key.note == note)
            self._nodes.add(node)  # last: no node is enrolled that the audit log does not know
        return True

    def _tell(self, old: NodeRecord | None, node: NodeRecord, origin: Origin, *, is_repeated: bool = False) -> None:
        """Tell the audit log; `is_repeated` where it may have been told before, and the node could not be written."""
        repeated: dict[str, Json] = {"repeated": True} if is_repeated else {}
        if not node.pending:
            self._audit.write(events.INSTANCE_JOIN, joined_fields(node, origin) | repeated)
        elif old is None or old.token != node.token:
            fields: dict[str, Json] = {
                "host_id": node.node_id,
                "node_name": node.name,
                "token": node.token,
                "addr.remote": origin.address,
                "labels": dict(node.labels),
                "version": node.version,
                "via": origin.via,
            }
            self._audit.write(events.NODE_PENDING, fields | repeated)

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
