"""Presence and control over a broker that somebody else runs, on what the controller prints for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.open_session import open_session
from tests.harness.other_broker import free_port, other_broker
from tests.harness.real_cluster import LOGIN, RealCluster
from tests.harness.standings import until_at_work, until_status

pytestmark = pytest.mark.system


def test_over_another_broker_nodes_are_seen_to_come_and_go_and_locks_reach_them(
    make_cluster: Callable[..., RealCluster], tmp_path: Path
) -> None:
    port, memory = free_port(), tmp_path / "memory"
    memory.mkdir()
    cluster = make_cluster({"mqtt": {"broker": "external", "url": f"mqtts://localhost:{port}"}}).start()
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    with other_broker(cluster, port, memory):
        door = free_port()
        agent = cluster.start_agent("edge", settings={"listen_addr": f"127.0.0.1:{door}"})
        until_at_work(cluster, agent)
        # Past the proxy: what ends it there has come to the node itself.
        with open_session(alice, "--direct", f"127.0.0.1:{door}", f"{LOGIN}@edge") as session:
            cluster.tctl("lock", "--user=alice", "--message=over any broker")
            assert 'lock targeting User:"alice" is in force: over any broker' in session.await_end()
        agent.program.kill()
        assert until_status(cluster, agent, "offline")["reason"] == "its link was lost"
