"""A cluster with a past: it was founded, and its devices joined, at moments that libfaketime made."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.clock import FILE
from tests.harness.faketime import clock_at
from tests.harness.real_cluster import Agent, RealCluster


class Past:
    """A cluster whose clocks are set back, until it comes to the present."""

    def __init__(self, cluster: RealCluster) -> None:
        self.cluster = cluster

    def go(self, age: timedelta) -> None:
        """Start the controller `age` ago. It must not run."""
        self.cluster.prefix = clock_at(datetime.now(UTC) - age)
        self.cluster.start()
        self.cluster.keep_ports()

    def join(self, name: str) -> Agent:
        """Have a device join in the past, with all that a node does there, and switch it off."""
        agent = self.cluster.start_agent(name, prefix=self.cluster.prefix)
        agent.program.await_line("connected to the broker")
        assert agent.program.stop() == 0
        agent.prefix = ()
        switched_off(agent)
        return agent

    def come_home(self) -> RealCluster:
        """Start the controller in the present."""
        self.cluster.controller.stop()
        self.cluster.prefix = ()
        return self.cluster.start()


def switched_off(agent: Agent) -> None:
    """Make what a device kept of its clock look as if the device itself, and not the agent alone, had been off."""
    path = agent.data_dir / FILE
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"boot": "before this one"}))


@pytest.fixture
def past(make_cluster: Callable[..., RealCluster]) -> Past:
    return Past(make_cluster())
