from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from controller.policy.liveness import BrokerHealth, Standing
from controller.presence.mirror import View
from controller.proxy.pace import Pace
from controller.proxy.tunnels import TunnelLink, Tunnels
from protocol import limits
from protocol.messages import PresenceState
from protocol.names import NodeId

USUAL = limits.KEEPALIVE_INTERVAL.total_seconds()
PROBE = limits.TUNNEL_PROBE.total_seconds()
IDLE = 2 * limits.TUNNEL_KEEPALIVE_IDLE.total_seconds()


@dataclass
class Connection:
    """What stands in for the library's: it notes how often it is to ask."""

    intervals: list[float] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def set_keepalive(self, interval: float) -> None:
        self.intervals.append(interval)
        self.told.set()


@dataclass
class Fleet:
    """Tunnels, and what heartbeats tell of their nodes."""

    presences: dict[NodeId, PresenceState] = field(default_factory=dict)
    probe: float = PROBE

    def __post_init__(self) -> None:
        self.tunnels = Tunnels({}, lambda: datetime.now(UTC))
        self.pace = Pace(self.tunnels, self.view, probe=self.probe)

    def view(self) -> View:
        standings = {node_id: Standing(presence) for node_id, presence in self.presences.items()}
        return View(standings, BrokerHealth(is_up=True))

    def connect(self, node_id: NodeId) -> tuple[Connection, TunnelLink]:
        connection = Connection()
        link = TunnelLink(node_id, cast("Any", connection), ("node", 3022), "127.0.0.1:1")
        self.tunnels.register(link)
        return connection, link


@pytest.fixture
def node_id() -> NodeId:
    return NodeId(str(uuid.uuid4()))


async def test_node_that_is_online_is_hardly_asked(node_id: NodeId) -> None:
    fleet = Fleet({node_id: "online"})
    connection, _ = fleet.connect(node_id)
    for _ in range(3):
        fleet.pace.adjust()
    assert connection.intervals == [IDLE], "told once"


async def test_node_of_which_heartbeats_tell_nothing_is_asked_as_ever(node_id: NodeId) -> None:
    fleet = Fleet()
    connection, _ = fleet.connect(node_id)
    fleet.pace.adjust()
    assert connection.intervals == []


async def test_node_whose_heart_has_stopped_is_asked_at_once_and_then_as_ever(node_id: NodeId) -> None:
    fleet = Fleet({node_id: "online"}, probe=0.01)
    connection, _ = fleet.connect(node_id)
    fleet.pace.adjust()
    fleet.presences[node_id] = "offline"
    fleet.pace.adjust()
    assert connection.intervals == [IDLE, 0.01]
    connection.told.clear()
    async with asyncio.timeout(20):
        await connection.told.wait()
    assert connection.intervals == [IDLE, 0.01, USUAL]


@pytest.mark.parametrize("presence", ["stale", "unknown"])
async def test_broker_that_is_away_has_every_tunnel_asked_as_ever(node_id: NodeId, presence: PresenceState) -> None:
    fleet = Fleet({node_id: "online"})
    connection, _ = fleet.connect(node_id)
    fleet.pace.adjust()
    fleet.presences[node_id] = presence
    fleet.pace.adjust()
    fleet.presences[node_id] = "online"
    fleet.pace.adjust()
    assert connection.intervals == [IDLE, USUAL, IDLE]


async def test_tunnel_that_took_another_ones_place_is_looked_at_for_itself(node_id: NodeId) -> None:
    fleet = Fleet({node_id: "online"})
    old, link = fleet.connect(node_id)
    fleet.pace.adjust()
    new, _ = fleet.connect(node_id)
    fleet.tunnels.unregister(link)
    fleet.pace.adjust()
    assert (old.intervals, new.intervals) == ([IDLE], [IDLE])
    fleet.presences[node_id] = "offline"
    fleet.pace.adjust()
    assert (old.intervals, new.intervals) == ([IDLE], [IDLE, PROBE])
