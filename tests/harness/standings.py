"""Nodes as the admin sees them, asked again and again: `tctl` is the only one that tells."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from protocol.instants import parse_instant
from tests.harness.real_cluster import Agent, RealCluster
from tests.harness.running_program import PATIENCE


def shown(cluster: RealCluster, agent: Agent) -> dict[str, Any]:
    """Return what `tctl nodes show` says."""
    found: dict[str, Any] = json.loads(cluster.ask("nodes", "show", agent.node_id, "--format=json"))
    return found


def until(
    cluster: RealCluster, agent: Agent, is_so: Callable[[dict[str, Any]], object], patience: float = PATIENCE
) -> dict[str, Any]:
    """Wait until the node is as wanted, and return what is shown of it then."""
    deadline = time.monotonic() + patience
    while not is_so(found := shown(cluster, agent)):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def until_status(cluster: RealCluster, agent: Agent, status: str, patience: float = PATIENCE) -> dict[str, Any]:
    """Wait until the node has this status."""
    return until(cluster, agent, lambda found: found["status"] == status, patience)


def until_at_work(cluster: RealCluster, agent: Agent, patience: float = 2 * PATIENCE) -> dict[str, Any]:
    """Wait until the node is online and its heart has beaten with the tunnel up: the second time, at the latest."""

    def is_so(found: dict[str, Any]) -> bool:
        return found["status"] == "online" and (found["heartbeat"] or {}).get("tunnel") is True

    return until(cluster, agent, is_so, patience)


def instant(found: dict[str, Any], name: str) -> datetime:
    """Return one of the moments that are shown."""
    return parse_instant(found[name])
