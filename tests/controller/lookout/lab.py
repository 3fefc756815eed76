"""The presence process's parts in this process, on a real mosquitto, with nodes that are plain MQTT clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controller.broker.entrance import Entrance, open_entrance
from controller.cluster import Cluster, open_cluster
from controller.config import parse_config
from controller.enrolment.nodes import NodeRecord
from controller.lookout.service import Lookout
from controller.presence.mirror import Mirror
from protocol import topics
from protocol.names import NodeId, NodeName
from protocol.presences import Beat, NodeState
from tests.controller.broker.lab import Caller, Lab, chain_of

PATIENCE = 30.0
FIRST, SECOND = "00000000000000a1", "00000000000000b2"
BEAT = Beat(
    uptime=100,
    load=12,
    memory=1000,
    disk=2000,
    temperature=None,
    round_trip=15,
    reconnects=0,
    spool_files=0,
    spool_bytes=0,
    clock_offset=None,
    tunnel=True,
    sessions=0,
    policy=0,
    generation=1,
)


def poll(question: Callable[[], object]) -> Any:  # noqa: ANN401 - the answer
    """Ask until there is an answer: what another thread or program knows, and tells nobody."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := question()):
        assert time.monotonic() < deadline, "there was no answer"
        time.sleep(0.02)
    return answer


class MovedClock:
    """The time, which tests may move on or hold.

    Attributes:
        ahead: is added to it, as if so much had passed.
        wrong: by how much the clock that people read is set ahead.
    """

    def __init__(self) -> None:
        self.ahead = self.wrong = timedelta()
        self._start = datetime.now(UTC) - timedelta(seconds=time.monotonic())
        self._held: float | None = None

    def __call__(self) -> datetime:
        return self._start + timedelta(seconds=self.tick()) + self.wrong

    def tick(self) -> float:
        """Return the seconds by the clock that nobody sets."""
        return (time.monotonic() if self._held is None else self._held) + self.ahead.total_seconds()

    def hold(self) -> None:
        """From now on only `ahead` and `wrong` move it."""
        self._held = time.monotonic()


class Port:
    """A cluster with its broker; `watch` runs the lookout for as long as its block goes on."""

    def __init__(self, folder: Path, mqtt: str = "{}") -> None:
        """Lay it in `folder`; `mqtt` is what the configuration says of the broker."""
        self.broker = Lab(folder)
        self.clock = MovedClock()
        data_dir = folder / "cluster"
        text = f"teleport: {{data_dir: '{data_dir}'}}\nauth_service: {{cluster_name: harbour}}\nmqtt: {mqtt}\n"
        self.cluster: Cluster = open_cluster(parse_config(text, "controller.yaml"), self.clock)
        self.mirror = Mirror(data_dir, self.clock)

    def enrol(self, node_id: NodeId, name: str = "gw-1") -> NodeRecord:
        record = NodeRecord(
            node_id, NodeName(name), {}, "ssh-ed25519 AAAA", 1, self.clock() - timedelta(days=1), "", "0.1"
        )
        self.cluster.enrolment.nodes.add(record)
        return record

    def connect(self, node_id: NodeId, instance: str = FIRST) -> Caller:
        """Connect as a node does: with a last will, and a state that is kept."""
        lab = self.broker
        caller = lab.stranger(lab.context(chain_of(lab.authority, lab.clock, node_id)), node_id, clean=False)
        will = NodeState(instance, farewell="lost").encode()
        caller.client.will_set(topics.state(node_id), will, 1, retain=True)
        caller.connect(lab.port)
        caller.publish(topics.state(node_id), NodeState(instance, version="0.2").encode(), retain=True)
        return caller

    def connect_silently(self, node_id: NodeId) -> Caller:
        """Connect as a node that has not said anything yet."""
        lab = self.broker
        return lab.stranger(lab.context(chain_of(lab.authority, lab.clock, node_id)), node_id).connect(lab.port)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        stop, ready = asyncio.Event(), asyncio.Event()
        lookout = Lookout(self.cluster, self._entrance, self.clock.tick)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(lookout.run(stop, ready.set))
            async with asyncio.timeout(PATIENCE):
                await ready.wait()
            try:
                yield
            finally:
                stop.set()

    async def until(self, question: Callable[[], object]) -> Any:  # noqa: ANN401 - the answer
        """Ask again and again, beside the loop, until there is an answer."""
        return await asyncio.to_thread(poll, question)

    async def until_presence(self, node_id: NodeId, presence: str) -> Any:  # noqa: ANN401 - a Standing
        def ask() -> object:
            standing = Mirror(self.cluster.config.data_dir, self.clock).view().of(node_id)
            return standing if standing.presence == presence else None

        return await self.until(ask)

    async def until_event(self, *kinds: str, count: int = 1) -> list[dict[str, Any]]:
        def ask() -> object:
            found = list(self.cluster.audit.entries(kinds=kinds))
            return found if len(found) >= count else None

        found: list[dict[str, Any]] = await self.until(ask)
        return found

    def _entrance(self) -> Entrance:
        lab = self.broker
        found = open_entrance(lab.config, lab.bound, lab.authority, lab.clock())
        assert found is not None
        return found
