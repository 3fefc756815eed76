"""Who is there, as people see it: by MQTT and the tunnels of real agents, over what breaks in between."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from tests.harness.real_cluster import LOGIN, RealCluster
from tests.harness.standings import instant, until, until_status

pytestmark = pytest.mark.system


def test_a_node_is_online_with_its_heartbeat_and_offline_with_the_reason_when_it_goes(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    agent = cluster.start_agent("edge-1")
    found = until(cluster, agent, lambda found: found["status"] == "online" and found["heartbeat"] is not None)
    assert (found["presence"], found["tunnel"]) == ("online", "up")
    assert found["heartbeat"]["uptime"] > 0
    assert f"{agent.node_id} online" in cluster.tsh(alice, "ls", "-v").stdout.decode()
    agent.program.stop()
    over = datetime.now(UTC)
    found = until_status(cluster, agent, "offline")
    assert found["reason"] == "the agent was stopped"
    assert instant(found, "since") - over < timedelta(seconds=2)
    assert f"{agent.node_id} offline since " in cluster.tsh(alice, "ls", "-v").stdout.decode()
    told = cluster.tsh(alice, "ssh", f"{LOGIN}@edge-1", "true").stderr.decode()
    assert 'node "edge-1" is offline since ' in told
    assert "the agent was stopped: it is reachable again as soon as it connects" in told
    cluster.restart_agent(agent)
    until_status(cluster, agent, "online")
    agent.program.kill()
    assert until_status(cluster, agent, "offline")["reason"] == "its link was lost"
    cluster.await_event("node.offline", server_id=agent.node_id)


@pytest.mark.parametrize("role", ["presence", "broker"])
def test_presence_outlives_the_process_that_keeps_it_and_the_broker(cluster: RealCluster, role: str) -> None:
    agent = cluster.start_agent("edge-1", settings={"heartbeat_interval": 5})
    before = until_status(cluster, agent, "online")
    mark = cluster.controller.mark()
    os.kill(cluster.role_pid(role), signal.SIGKILL)
    cluster.controller.await_line(rf"{role} started, pid", since=mark)
    back = datetime.now(UTC)
    # A heartbeat that came since then shows that both the node and the presence process have found the broker again.
    after = until(
        cluster,
        agent,
        lambda found: found["status"] == "online" and found["last_seen"] and instant(found, "last_seen") > back,
    )
    assert (after["tunnel"], after["tunnel_since"]) == ("up", before["tunnel_since"])


def test_while_nobody_speaks_mqtt_every_node_is_stale_and_can_be_worked_on(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    agent = cluster.start_agent("edge-1")
    until_status(cluster, agent, "online")
    broker = cluster.role_pid("broker")
    os.kill(broker, signal.SIGSTOP)
    presence = cluster.role_pid("presence")
    os.kill(presence, signal.SIGSTOP)
    try:
        found = until_status(cluster, agent, "stale")
        assert "the presence process does not answer" in found["reason"]
        done = cluster.tsh(alice, "ssh", f"{LOGIN}@edge-1", "true")
        assert done.returncode == 0, done.stderr
    finally:
        os.kill(presence, signal.SIGCONT)
        os.kill(broker, signal.SIGCONT)
    until_status(cluster, agent, "online")
