"""The nodes of the cluster, as enrolled; whether they are reachable is `controller.presence`'s to say."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from controller.audit import AuditLog
from controller.broker.broker import REVOKED
from controller.enrolment.keys import HostKeys
from controller.origin import Origin
from controller.policy.document import next_version
from controller.policy.label import LabelChange, decide_relabelling
from controller.store.cached import Cached
from controller.store.interface import AlreadyExistsError, ConflictError, Record, Store, Value
from protocol import events
from protocol.access import AccessTarget
from protocol.decision import Refused
from protocol.events import Json
from protocol.instants import format_instant, parse_instant
from protocol.names import NodeId, NodeName

COLLECTION = "nodes"


class NodeError(Exception):
    """What the admin asked for cannot be done; the message says why, in words for the admin."""


class UnknownNodeError(NodeError):
    """There is no such node."""


@dataclass(frozen=True, slots=True)
class TlsSerial:
    """One of a node's TLS certificates: its serial number, hexadecimal, when it expires, and which key signed it.

    `signer` is as `Authority.server_signer` has it; empty for one from before that was noted.
    """

    serial: str
    expires: datetime
    signer: str = ""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One enrolled device.

    Attributes:
        ssh_public_key: its host key, OpenSSH one-line form.
        generation: of its certificates; each renewal hands out the next. 0 while it has none.
        token: the join token it came with, as it is shown.
        version: the agent's version at the join, or the last renewal.
        pending: whether it waits for an admin's approval: it has no certificates then.
        ephemeral: after so many seconds offline it is removed; None for never.
        attempt: the mark of the last renewal; empty where the last certificates came with a join.
        tls_serials: of its TLS certificates that have not expired, to be revoked with it.
        renewed: when it was last certified; None where that was when it joined.
        labels_version: of the labels that an admin has given it since it joined first; 0 where none has. It counts up,
            as `next_version` has it: a node takes none that is older, also after the records were put back.
        host_signer: which key signed its host certificate, as `TlsSerial.signer`.
        token_mark: what tells that join token from every other (`FoundToken.mark`); empty for a record from before
            that was noted.
    """

    node_id: NodeId
    name: NodeName
    labels: Mapping[str, str]
    ssh_public_key: str
    generation: int
    joined: datetime
    token: str
    version: str
    pending: bool = False
    ephemeral: int | None = None
    attempt: str = ""
    tls_serials: tuple[TlsSerial, ...] = ()
    renewed: datetime | None = None
    labels_version: int = 0
    host_signer: str = ""
    token_mark: str = ""

    def target(self) -> AccessTarget:
        """Return what access rules look at."""
        return AccessTarget(self.node_id, self.name, self.labels)

    def to_value(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "node_id": self.node_id,
            "name": self.name,
            "labels": dict(self.labels),
            "ssh_public_key": self.ssh_public_key,
            "generation": self.generation,
            "joined": format_instant(self.joined),
            "token": self.token,
            "version": self.version,
            "pending": self.pending,
            "ephemeral": self.ephemeral,
            "attempt": self.attempt,
            "tls_serials": [
                {"serial": held.serial, "expires": format_instant(held.expires), "signer": held.signer}
                for held in self.tls_serials
            ],
            "renewed": None if self.renewed is None else format_instant(self.renewed),
            "labels_version": self.labels_version,
            "host_signer": self.host_signer,
            "token_mark": self.token_mark,
        }

    @classmethod
    def from_value(cls, value: Value) -> NodeRecord:
        """Read the JSON object; one from before there were renewals lacks some fields."""
        fields = cast("Mapping[str, Any]", value)
        renewed = fields.get("renewed")
        return cls(
            node_id=fields["node_id"],
            name=fields["name"],
            labels=fields["labels"],
            ssh_public_key=fields["ssh_public_key"],
            generation=fields["generation"],
            joined=parse_instant(fields["joined"]),
            token=fields["token"],
            version=fields["version"],
            pending=fields.get("pending", False),
            ephemeral=fields.get("ephemeral"),
            attempt=fields.get("attempt", ""),
            tls_serials=tuple(
                TlsSerial(held["serial"], parse_instant(held["expires"]), held.get("signer", ""))
                for held in fields.get("tls_serials", ())
            ),
            renewed=None if renewed is None else parse_instant(renewed),
            labels_version=fields.get("labels_version", 0),
            host_signer=fields.get("host_signer", ""),
            token_mark=fields.get("token_mark", ""),
        )


@dataclass(frozen=True, slots=True)
class FoundNode:
    """A node as it was read."""

    node: NodeRecord
    record: Record


@dataclass(frozen=True, slots=True)
class _View:
    """All nodes as they are, and what they were put together of: a share for each part of the collection."""

    shares: Sequence[_Share]
    records: tuple[NodeRecord, ...]
    targets: Mapping[NodeId, AccessTarget]


@dataclass(frozen=True, slots=True)
class _Share:
    """The nodes of one part of the collection. A node that did not change is the object that it was before."""

    nodes: Mapping[NodeId, NodeRecord]
    targets: Mapping[NodeId, AccessTarget]


class _Reader:
    """Makes the share of one part, and makes anew only the nodes that changed."""

    def __init__(self) -> None:
        self._known: Mapping[NodeId, NodeRecord] = {}

    def make(self, records: Sequence[Record]) -> _Share:
        """Return the share of these records."""
        read = (NodeRecord.from_value(record.value) for record in records)
        self._known = nodes = {node.node_id: self._kept(node) for node in read}
        return _Share(nodes, {node.node_id: node.target() for node in nodes.values() if not node.pending})

    def _kept(self, node: NodeRecord) -> NodeRecord:
        known = self._known.get(node.node_id)
        return known if known is not None and known == node else node


class Nodes:
    """All enrolled devices.

    The list of them is asked for at every channel that a person opens: what was read is kept for as long
    as the store says that nothing was written.
    """

    def __init__(self, store: Store, audit: AuditLog, clock: Callable[[], datetime]) -> None:
        self._nodes = store.collection(COLLECTION)
        self._revoked = store.collection(REVOKED)
        self._keys = HostKeys(store, clock)
        self._audit = audit
        self._clock = clock
        self._parts = [Cached(part, _Reader().make, clock) for part in self._nodes.parts()]
        self._view = _View((), (), {})

    def alone(self) -> AbstractContextManager[object]:
        """Hold the right to do what is one event, and comes after it: enrol, approve, reject, label, remove.

        What nodes do themselves meanwhile, renewals, is met by comparing. Raises `StoreError`.
        """
        return self._nodes.alone()

    def add(self, node: NodeRecord) -> None:
        """Enrol a device under a fresh id. Raises `StoreError`."""
        self._nodes.create(node.node_id, node.to_value(), now=self._clock())

    def find(self, node_id: NodeId) -> FoundNode | None:
        """Return a node as it was read, for `replace`; None where there is none."""
        record = self._nodes.get(node_id, now=self._clock())
        return None if record is None else FoundNode(NodeRecord.from_value(record.value), record)

    def replace(self, found: FoundNode, node: NodeRecord) -> bool:
        """Change a node; False where somebody else changed it since it was found. Raises `StoreError`.

        A TLS certificate that it is to hold no more is void first.
        """
        kept = {held.serial for held in node.tls_serials}
        self._take_back({}, (held for held in found.node.tls_serials if held.serial not in kept))
        try:
            self._nodes.replace(found.record, node.to_value(), now=self._clock())
        except ConflictError:
            return False
        return True

    def remove(self, node_id: NodeId, origin: Origin, reason: str = "") -> NodeRecord:
        """Remove a node and return what it was: its certificates are void at once. Raises `NodeError`.

        The event comes first: a node that is gone can be put back by nobody, should the audit log refuse it.
        """
        with self.alone():
            node = self._required(node_id).node
            more: dict[str, Json] = {"name": node.name} | ({"reason": reason} if reason else {})
            self._audit.write(events.NODE_DELETE, _told(node, origin) | more)
            self._drop(node)
        return node

    def reject(self, node_id: NodeId, origin: Origin) -> NodeRecord:
        """Remove a node that waits for approval, and return what it was. Raises `NodeError`."""
        with self.alone():
            node = self._required(node_id).node
            if not node.pending:
                raise NodeError(f'node "{node.name}" does not wait for approval: `tctl nodes rm` removes it')
            self._audit.write(events.NODE_REJECT, _told(node, origin))
            self._drop(node)
        return node

    def approve(self, node_id: NodeId, origin: Origin) -> NodeRecord:
        """Let a node that waits have certificates: it asks for them by itself. Raises `NodeError`."""
        with self.alone():
            node = self._required(node_id).node
            if not node.pending:
                raise NodeError(f'node "{node.name}" does not wait for approval')
            self._audit.write(events.NODE_APPROVE, _told(node, origin))
            return self._change(node_id, lambda node: replace(node, pending=False))

    def relabel(self, node_id: NodeId, changes: Sequence[LabelChange], origin: Origin) -> NodeRecord:
        """Change a node's labels, and return what it is now. Raises `NodeError`."""
        with self.alone():
            node = self._required(node_id).node
            labels = _relabelled(node, changes, self._clock()).labels
            if labels == node.labels:
                return node
            more: dict[str, Json] = {"labels": dict(labels), "before": dict(node.labels)}
            self._audit.write(events.NODE_LABEL, _told(node, origin) | more)
            return self._change(node_id, lambda node: _relabelled(node, changes, self._clock()))

    def _change(self, node_id: NodeId, change: Callable[[NodeRecord], NodeRecord]) -> NodeRecord:
        """Change a node, whoever else changes it meanwhile: the audit log has been told. Raises `NodeError`."""
        while True:
            found = self._required(node_id)
            node = change(found.node)
            if self.replace(found, node):
                return node

    def _required(self, node_id: NodeId) -> FoundNode:
        found = self.find(node_id)
        if found is None:
            raise UnknownNodeError(f"node {node_id} not found: `tctl nodes ls -v` lists them")
        return found

    def _drop(self, node: NodeRecord) -> None:
        """Take a node out. What it holds is void first: a crash in between leaves it here, to be removed again."""
        while (found := self.find(node.node_id)) is not None:
            self._revoke(found.node)
            self._keys.bury(found.node.ssh_public_key)
            if self._delete(found):
                return

    def _revoke(self, node: NodeRecord) -> None:
        """Put its TLS certificates among the revoked, of which the broker is told, as those of a node that is gone."""
        self._take_back({"node_id": node.node_id}, node.tls_serials)

    def _take_back(self, value: Value, serials: Iterable[TlsSerial]) -> None:
        now = self._clock()
        for held in serials:
            if held.expires > now:
                with suppress(AlreadyExistsError):
                    self._revoked.create(held.serial, value, now=now, expires=held.expires)

    def _delete(self, found: FoundNode) -> bool:
        try:
            self._nodes.delete(found.node.node_id, now=self._clock(), revision=found.record.revision)
        except ConflictError:
            return False  # it has just been certified anew: that is void too
        return True

    def get(self, node_id: NodeId) -> NodeRecord | None:
        """Return the node, or None."""
        record = self._nodes.get(node_id, now=self._clock())
        return None if record is None else NodeRecord.from_value(record.value)

    def list(self) -> Sequence[NodeRecord]:
        """Return all nodes, by name, then id."""
        return self._current().records

    def targets(self) -> Mapping[NodeId, AccessTarget]:
        """Return what access rules look at, of all nodes but those that wait for approval."""
        return self._current().targets

    def _current(self) -> _View:
        view, shares = self._view, [part.read() for part in self._parts]
        if len(view.shares) != len(shares) or any(map(operator.is_not, shares, view.shares)):
            records = (node for share in shares for node in share.nodes.values())
            targets = {node_id: target for share in shares for node_id, target in share.targets.items()}
            self._view = view = _View(shares, tuple(sorted(records, key=_by_name)), targets)
        return view


def renew_label_versions(store: Store, now: datetime) -> None:
    """Give the labels of every node a version above all that were given out up to `now`. Raises `StoreError`.

    For a store that was put back: since then an admin may have given a node others, of a version that we know nothing
    of, and it would take no older one. Nobody else may use the store meanwhile.
    """
    collection = store.collection(COLLECTION)
    found = (NodeRecord.from_value(record.value) for record in collection.list(now=now))
    told = (replace(node, labels_version=next_version(node.labels_version, now)) for node in found if not node.pending)
    collection.put_many({node.node_id: node.to_value() for node in told}, now=now)


def _by_name(node: NodeRecord) -> tuple[str, str]:
    return node.name.lower(), node.node_id


def _told(node: NodeRecord, origin: Origin) -> dict[str, Json]:
    """Return what the audit log is told of a node that an admin has dealt with."""
    return {"user": origin.actor, "server_id": node.node_id, "server_hostname": node.name, "via": origin.via}


def _relabelled(node: NodeRecord, changes: Sequence[LabelChange], now: datetime) -> NodeRecord:
    answer = decide_relabelling(node.labels, changes)
    if isinstance(answer, Refused):
        raise NodeError(f'the labels of node "{node.name}" stay as they are: {answer.reason}')
    return replace(node, labels=answer.value, labels_version=next_version(node.labels_version, now))
