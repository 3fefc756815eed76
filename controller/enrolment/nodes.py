"""The nodes of the cluster, as enrolled; whether they are reachable is `controller.presence`'s to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from controller.audit import AuditLog
from controller.origin import Origin
from controller.store.interface import Store, Value
from protocol import events
from protocol.access import AccessTarget
from protocol.events import Json
from protocol.instants import format_instant, parse_instant
from protocol.names import NodeId, NodeName


class NodeError(Exception):
    """What the admin asked for cannot be done; the message says why, in words for the admin."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One enrolled device.

    Attributes:
        ssh_public_key: its host key, OpenSSH one-line form.
        generation: of its certificates; each renewal hands out the next.
        token: the join token it came with, as it is shown.
        version: the agent's version at the join.
    """

    node_id: NodeId
    name: NodeName
    labels: Mapping[str, str]
    ssh_public_key: str
    generation: int
    joined: datetime
    token: str
    version: str

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
        }

    @classmethod
    def from_value(cls, value: Value) -> NodeRecord:
        """Read the JSON object."""
        fields = cast("Mapping[str, Any]", value)
        return cls(
            node_id=fields["node_id"],
            name=fields["name"],
            labels=fields["labels"],
            ssh_public_key=fields["ssh_public_key"],
            generation=fields["generation"],
            joined=parse_instant(fields["joined"]),
            token=fields["token"],
            version=fields["version"],
        )


@dataclass(frozen=True, slots=True)
class _View:
    """All nodes as they were under one stamp of the store."""

    stamp: object
    records: tuple[NodeRecord, ...]
    targets: Mapping[NodeId, AccessTarget]


class Nodes:
    """All enrolled devices.

    The list of them is asked for at every channel that a person opens: what was read is kept for as long
    as the store says that nothing was written.
    """

    def __init__(self, store: Store, audit: AuditLog, clock: Callable[[], datetime]) -> None:
        self._nodes = store.collection("nodes")
        self._audit = audit
        self._clock = clock
        self._view: _View | None = None

    def add(self, node: NodeRecord) -> None:
        """Enrol a device under a fresh id. Raises `StoreError`."""
        self._nodes.create(node.node_id, node.to_value(), now=self._clock())

    def remove(self, node_id: NodeId, origin: Origin) -> NodeRecord:
        """Remove a node and return what it was: its certificates are void at once. Raises `NodeError`.

        The event comes first: a node that is gone can be put back by nobody, should the audit log refuse it.
        """
        node = self.get(node_id)
        if node is None:
            raise NodeError(f"node {node_id} not found: `tctl nodes ls -v` lists them")
        fields: dict[str, Json] = {
            "user": origin.actor,
            "name": node.name,
            "server_id": node.node_id,
            "server_hostname": node.name,
            "via": origin.via,
        }
        self._audit.write(events.NODE_DELETE, fields)
        self._nodes.delete(node_id, now=self._clock())
        return node

    def get(self, node_id: NodeId) -> NodeRecord | None:
        """Return the node, or None."""
        record = self._nodes.get(node_id, now=self._clock())
        return None if record is None else NodeRecord.from_value(record.value)

    def list(self) -> Sequence[NodeRecord]:
        """Return all nodes, by name, then id."""
        return self._current().records

    def targets(self) -> Mapping[NodeId, AccessTarget]:
        """Return what access rules look at, of all nodes."""
        return self._current().targets

    def _current(self) -> _View:
        stamp, view = self._nodes.stamp(), self._view
        if view is None or stamp != view.stamp:
            # The stamp is from before the reading: a write in between makes it old, and the next call reads again.
            read = (NodeRecord.from_value(record.value) for record in self._nodes.list(now=self._clock()))
            records = tuple(sorted(read, key=lambda node: (node.name.lower(), node.node_id)))
            self._view = view = _View(stamp, records, {node.node_id: node.target() for node in records})
        return view
