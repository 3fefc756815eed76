"""Nodes that were to stay only for as long as they are there: removed once they have been offline for too long."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from controller.enrolment.nodes import NodeError, NodeRecord, Nodes
from controller.origin import Origin
from controller.policy.ephemeral import is_gone
from controller.policy.liveness import NO_TUNNEL, TunnelFact
from controller.presence import Presence, Tunnel
from controller.presence.mirror import View
from protocol.durations import describe_duration
from protocol.names import NodeId

LOG = logging.getLogger("CONTROLLER")
_BY = Origin(via="start", actor="controller")


def remove_gone(nodes: Nodes, presence: Presence, view: View, now: datetime, clock_set: datetime | None = None) -> int:
    """Remove the ephemeral nodes that are gone; return how many. `clock_set`: see `controller.policy.ephemeral`.

    Raises:
        StoreError, AuditError: not all of them could be removed; the rest is due the next time.
    """
    tunnels = presence.read()
    gone = [node for node in nodes.list() if _is_gone(node, tunnels, view, now, clock_set)]
    for node in gone:
        span = describe_duration(_patience(node))
        with suppress(NodeError):  # somebody else has just removed it
            nodes.remove(node.node_id, _BY, f"ephemeral: offline for more than {span}")
            LOG.info(
                "node %s (%s) is ephemeral, and was offline for more than %s: removed", node.name, node.node_id, span
            )
    return len(gone)


def _patience(node: NodeRecord) -> timedelta:
    return timedelta(seconds=node.ephemeral or 0)


def _is_gone(
    node: NodeRecord, tunnels: Mapping[NodeId, Tunnel], view: View, now: datetime, clock_set: datetime | None
) -> bool:
    if node.ephemeral is None:
        return False
    tunnel = tunnels.get(node.node_id)
    return is_gone(
        _patience(node),
        certified=node.renewed or node.joined,
        standing=view.of(node.node_id),
        tunnel=NO_TUNNEL if tunnel is None else TunnelFact(tunnel.state, tunnel.since),
        now=now,
        clock_set=clock_set,
    )
