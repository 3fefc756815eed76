"""Which node does a person mean? UUID, then node name, then label selector; and what is said when it is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from protocol import names
from protocol.access import AccessTarget, Person, decide_access
from protocol.decision import Granted
from protocol.names import NodeId


@dataclass(frozen=True, slots=True)
class Routed:
    """Exactly this node, and it holds a tunnel."""

    node: AccessTarget


@dataclass(frozen=True, slots=True)
class Unknown:
    """No node that this person may see answers to `target`."""

    target: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several nodes do. `offline_since` is of those that hold no tunnel, as `Offline.since`."""

    target: str
    candidates: Sequence[AccessTarget]
    offline_since: Mapping[NodeId, datetime | None]


@dataclass(frozen=True, slots=True)
class Offline:
    """The node is known and holds no tunnel since `since`; None where that is not known."""

    node: AccessTarget
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Denied:
    """The node is there and this person may not open it. `reason` is for the audit log."""

    node: AccessTarget
    reason: str
    check: str


Route = Routed | Unknown | Ambiguous | Offline | Denied


def decide_route(
    target: str,
    *,
    person: Person,
    nodes: Mapping[NodeId, AccessTarget],
    offline_since: Mapping[NodeId, datetime | None],
) -> Route:
    """Decide where a channel to `target` goes.

    Args:
        target: what the person typed: a UUID, a node name or ``label=value``.
        person: who asks.
        nodes: every enrolled node.
        offline_since: the nodes without a tunnel, and since when; a node not in here holds one.
    """
    found = list(find_nodes(target, nodes))
    if not found:
        return Unknown(target)
    allowed = []
    for node in found:
        answer = decide_access(person, node, None)
        if isinstance(answer, Granted):
            allowed.append(node)
        elif len(found) == 1:
            return Denied(node, answer.reason, answer.check)
    if not allowed:
        return Unknown(target)
    if len(allowed) > 1:
        offline = {node.node_id: offline_since[node.node_id] for node in allowed if node.node_id in offline_since}
        return Ambiguous(target, sorted(allowed, key=lambda node: (node.name, node.node_id)), offline)
    node = allowed[0]
    return Offline(node, offline_since[node.node_id]) if node.node_id in offline_since else Routed(node)


def find_nodes(target: str, nodes: Mapping[NodeId, AccessTarget]) -> Iterable[AccessTarget]:
    """Return every node that `target` names; the first way of naming that finds any counts."""
    named = find_named(target, nodes)
    if named or "=" not in target:
        return named
    try:
        wanted = names.parse_labels_text(target)
    except names.BadNameError:
        return []
    return [node for node in nodes.values() if wanted and wanted.items() <= node.labels.items()]


def find_named(target: str, nodes: Mapping[NodeId, AccessTarget]) -> Sequence[AccessTarget]:
    """Return the node whose UUID `target` is, or else every node of that name."""
    if names.is_uuid(target):
        node = nodes.get(NodeId(target.lower()))
        return [] if node is None else [node]
    return [node for node in nodes.values() if node.name.lower() == target.lower()]
