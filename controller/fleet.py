"""The nodes as a person may see them: who is enrolled, whether a tunnel is up, and what access rules allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from controller.enrolment.nodes import NodeRecord, Nodes
from controller.presence import Presence, Tunnel
from protocol.access import AccessTarget, Person, decide_access
from protocol.decision import Granted
from protocol.messages import NodeEntry
from protocol.names import Labels, NodeId, NodeName

TUNNEL_ADDRESS = "⟵ Tunnel"


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node, for a listing.

    Attributes:
        tunnel: whether it holds one; ``unknown`` where it never did.
        since: when that last changed; None where it is unknown.
    """

    node_id: NodeId
    name: NodeName
    labels: Labels
    tunnel: Literal["up", "down", "unknown"]
    since: datetime | None
    version: str
    joined: datetime

    def entry(self) -> NodeEntry:
        """Return what travels to tsh."""
        return NodeEntry(self.node_id, self.name, TUNNEL_ADDRESS, self.labels)


@dataclass(frozen=True, slots=True)
class _Picture:
    """The fleet, and what it was made of: both are the very same objects for as long as nothing is written."""

    nodes: Sequence[NodeRecord]
    tunnels: Mapping[NodeId, Tunnel]
    views: tuple[NodeView, ...]


class Fleet:
    """All nodes, with the state of their tunnels. Asking again costs little while nothing changed."""

    def __init__(self, nodes: Nodes, presence: Presence) -> None:
        self._nodes = nodes
        self._presence = presence
        self._picture: _Picture | None = None

    def all(self) -> tuple[NodeView, ...]:
        """Return every node, by name: for the admin."""
        nodes, tunnels, picture = self._nodes.list(), self._presence.read(), self._picture
        if picture is None or picture.nodes is not nodes or picture.tunnels is not tunnels:
            views = tuple(_view(node, tunnels.get(node.node_id)) for node in nodes)
            self._picture = picture = _Picture(nodes, tunnels, views)
        return picture.views

    def nodes_for(self, person: Person) -> tuple[NodeView, ...]:
        """Return the nodes that `person` may open with some login, by name."""
        return tuple(node for node in self.all() if isinstance(decide_access(person, _target(node), None), Granted))


def _view(node: NodeRecord, tunnel: Tunnel | None) -> NodeView:
    return NodeView(
        node_id=node.node_id,
        name=node.name,
        labels=node.labels,
        tunnel=tunnel.state if tunnel else "unknown",
        since=tunnel.since if tunnel else None,
        version=node.version,
        joined=node.joined,
    )


def _target(node: NodeView) -> AccessTarget:
    return AccessTarget(node.node_id, node.name, node.labels)
