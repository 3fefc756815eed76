"""The nodes as a person may see them: who is enrolled, what MQTT and tunnels tell of them, what access rules allow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.enrolment.nodes import NodeRecord, Nodes
from controller.policy.liveness import (
    NO_TUNNEL,
    TUNNEL_PROOF,
    BrokerHealth,
    Standing,
    TunnelFact,
    decide_status,
    status_since,
)
from controller.presence import Presence, Tunnel
from controller.presence.mirror import NO_VIEW, View
from protocol.access import AccessTarget, Person, administers, decide_access, sees_audit
from protocol.decision import Granted
from protocol.instants import to_milliseconds
from protocol.messages import NodeEntry, NodeStatus, TunnelState
from protocol.names import Labels, NodeId, NodeName

TUNNEL_ADDRESS = "⟵ Tunnel"
# Of so many people it is remembered which nodes they may open.
_PEOPLE_KEPT = 100


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node, for a listing.

    Attributes:
        status: what people go by; `since` when, None where nobody knows.
        tunnel: whether it holds one; ``unknown`` where it never did. `tunnel_since`: since when.
        standing: what MQTT says of it.
        version: the agent's, as it last said.
    """

    node_id: NodeId
    name: NodeName
    labels: Labels
    status: NodeStatus
    since: datetime | None
    tunnel: TunnelState
    tunnel_since: datetime | None
    standing: Standing
    version: str
    joined: datetime

    def entry(self) -> NodeEntry:
        """Return what travels to tsh."""
        return NodeEntry(
            node_id=self.node_id,
            name=self.name,
            address=TUNNEL_ADDRESS,
            labels=self.labels,
            status=self.status,
            since=_milliseconds(self.since),
            tunnel=self.tunnel,
            presence=self.standing.presence,
            reason=self.standing.reason,
            last_seen=_milliseconds(self.standing.last_seen),
            version=self.version,
        )


@dataclass(frozen=True, slots=True)
class _Sight:
    """One node's view, and what it was made of."""

    record: NodeRecord
    tunnel: Tunnel | None
    standing: Standing
    until: datetime | None
    view: NodeView


@dataclass(frozen=True, slots=True)
class _Picture:
    """The fleet, and what it was made of: all the very same objects for as long as nothing changes.

    Attributes:
        until: when it changes by itself; None for never.
    """

    nodes: Sequence[NodeRecord]
    tunnels: Mapping[NodeId, Tunnel]
    told: View
    until: datetime | None
    sights: Mapping[NodeId, _Sight]
    views: tuple[NodeView, ...]


class Fleet:
    """All nodes, with their status. Asking again costs little while nothing changed, and little for what did.

    Args:
        nodes: who is enrolled.
        presence: what the proxy stored of tunnels.
        told: what is known over MQTT; nothing, by default.
        clock: the time, UTC.
    """

    def __init__(
        self,
        nodes: Nodes,
        presence: Presence,
        told: Callable[[], View] = lambda: NO_VIEW,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._nodes = nodes
        self._presence = presence
        self._told = told
        self._clock = clock
        self._picture: _Picture | None = None
        self._texts: dict[NodeId, tuple[NodeView, str]] = {}
        self._may: tuple[Sequence[NodeRecord], dict[object, frozenset[NodeId]]] = ((), {})

    def all(self) -> tuple[NodeView, ...]:
        """Return every node, by name: for the admin."""
        nodes, tunnels, told = self._nodes.list(), self._presence.read(), self._told()
        picture, now = self._picture, self._clock()
        if picture is None or not _shows(picture, nodes, tunnels, told) or _is_over(picture.until, now):
            self._picture = picture = _paint(nodes, tunnels, told, now, picture)
        return picture.views

    def get(self, node_id: NodeId) -> NodeView | None:
        """Return one node, or None."""
        self.all()
        sight = self._picture.sights.get(node_id) if self._picture else None
        return sight.view if sight else None

    def nodes_for(self, person: Person) -> tuple[NodeView, ...]:
        """Return the nodes that `person` may open with some login, by name."""
        views = self.all()
        may = self._may_open(person)
        return tuple(view for view in views if view.node_id in may)

    def seen_by(self, person: Person) -> tuple[NodeView, ...]:
        """Return the nodes that `person` may know of, by name: all for who administers the cluster, or may audit it."""
        knows_all = administers(person.roles) or sees_audit(person.roles)
        return self.all() if knows_all else self.nodes_for(person)

    def opened_by(self, person: Person) -> frozenset[NodeId]:
        """Return which nodes `person` may open with some login."""
        return self._may_open(person)

    def broker(self) -> BrokerHealth:
        """Return whether what is known over MQTT is up to date."""
        return self._told().health

    def listing_for(self, person: Person) -> str:
        """Return `protocol.messages.NodeList` of the nodes that `person` may open, as JSON text, by name.

        The text of each node is kept for as long as nothing changes of it: there may be ten thousand.
        """
        texts, kept = [], self._texts
        for view in self.nodes_for(person):
            known = kept.get(view.node_id)
            if known is None or known[0] is not view:
                kept[view.node_id] = known = (view, json.dumps(view.entry().to_dict()))
            texts.append(known[1])
        if len(kept) > 2 * len(self._nodes.list()) + _PEOPLE_KEPT:
            self._texts = {}  # most are of nodes that are no more
        return f'{{"nodes": [{", ".join(texts)}]}}'

    def _may_open(self, person: Person) -> frozenset[NodeId]:
        """Return which nodes `person` may open: judged anew where nodes or the person's rights have changed."""
        nodes = self._nodes.list()
        if self._may[0] is not nodes:
            self._may = (nodes, {})
        key = (person.user, tuple(person.roles), tuple(person.logins))
        known = self._may[1]
        if key not in known:
            if len(known) >= _PEOPLE_KEPT:
                known.clear()
            targets = self._nodes.targets()
            known[key] = frozenset(key for key, each in targets.items() if _may(person, each))
        return known[key]


def _may(person: Person, target: AccessTarget) -> bool:
    return isinstance(decide_access(person, target, None), Granted)


def _paint(
    nodes: Sequence[NodeRecord], tunnels: Mapping[NodeId, Tunnel], told: View, now: datetime, before: _Picture | None
) -> _Picture:
    """Return the fleet as it is now; views whose node did not change are those of `before`."""
    old: Mapping[NodeId, _Sight] = before.sights if before else {}
    sights = {}
    for node in nodes:
        tunnel, standing = tunnels.get(node.node_id), told.of(node.node_id)
        sight = old.get(node.node_id)
        if sight is None or not _is_current(sight, node, tunnel, standing, now):
            sight = _look(node, tunnel, standing, now)
        sights[node.node_id] = sight
    until = min((sight.until for sight in sights.values() if sight.until is not None), default=None)
    return _Picture(nodes, tunnels, told, until, sights, tuple(sight.view for sight in sights.values()))


def _shows(picture: _Picture, nodes: Sequence[NodeRecord], tunnels: Mapping[NodeId, Tunnel], told: View) -> bool:
    return picture.nodes is nodes and picture.tunnels is tunnels and picture.told is told


def _is_over(until: datetime | None, now: datetime) -> bool:
    return until is not None and now >= until


def _is_current(sight: _Sight, node: NodeRecord, tunnel: Tunnel | None, standing: Standing, now: datetime) -> bool:
    is_same = sight.record is node and sight.standing is standing and sight.tunnel == tunnel
    return is_same and not _is_over(sight.until, now)


def _look(node: NodeRecord, tunnel: Tunnel | None, standing: Standing, now: datetime) -> _Sight:
    fact = TunnelFact(tunnel.state, tunnel.since) if tunnel else NO_TUNNEL
    status = decide_status(standing, fact, pending=node.pending, now=now)
    view = NodeView(
        node_id=node.node_id,
        name=node.name,
        labels=node.labels,
        status=status,
        since=node.joined if status == "pending" else status_since(status, standing, fact),
        tunnel=fact.state,
        tunnel_since=fact.since,
        standing=standing,
        version=(standing.state.version if standing.state else "") or node.version,
        joined=node.joined,
    )
    # A tunnel that outlives its node's presence for so long proves something: see `decide_status`.
    is_in_doubt = status == "offline" and fact.state == "up" and standing.since is not None
    until = standing.since + TUNNEL_PROOF if is_in_doubt and standing.since else None
    return _Sight(node, tunnel, standing, until, view)


def _milliseconds(instant: datetime | None) -> int | None:
    return None if instant is None else to_milliseconds(instant)
