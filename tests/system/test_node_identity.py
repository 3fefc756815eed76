"""A node's identity over the years, and its own door: real programs on both sides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.harness.real_cluster import LOGIN, Agent, RealCluster

pytestmark = pytest.mark.system

ROTATION = ("init", "update_clients", "update_servers", "standby")


def rotate(cluster: RealCluster, *kinds: str) -> None:
    for kind in kinds:
        for phase in ROTATION:
            cluster.rotate(kind, phase)


def granted_on_disk(agent: Agent) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((agent.data_dir / "identity.json").read_text(encoding="utf-8"))["granted"]
    return found


def stop(agent: Agent) -> None:
    agent.program.stop()


def test_a_device_that_was_off_through_two_rotations_of_everything_comes_home(cluster: RealCluster) -> None:
    agent = cluster.start_agent("sleeper")
    before = granted_on_disk(agent)
    stop(agent)
    rotate(cluster, "host", "tls", "host", "tls")
    cluster.relaunch_agent(agent)
    agent.program.await_line("new certificates, generation 2")
    agent.program.await_line("the tunnel to .* is up")
    after = granted_on_disk(agent)
    assert after["node_id"] == before["node_id"]
    assert after["generation"] == 2
    assert not set(after["host_authorities"]) & set(before["host_authorities"])
    assert not set(after["tls_authorities"]) & set(before["tls_authorities"])


def test_a_node_waits_until_it_is_approved_and_then_works(cluster: RealCluster) -> None:
    token = cluster.token("--approve")
    program = cluster.run("agent newcomer", cluster.agent_command("newcomer", token))
    node_id = program.await_line(r"waiting for an administrator's approval: tctl nodes approve (\S+)")[1]
    mark = cluster.controller.mark()
    cluster.tctl("nodes", "approve", node_id)
    program.await_line(r"approved: this node is newcomer")
    cluster.await_tunnel(node_id, since=mark)


def test_a_node_that_is_rejected_ends_and_says_so(cluster: RealCluster) -> None:
    token = cluster.token("--approve")
    program = cluster.run("agent newcomer", cluster.agent_command("newcomer", token))
    node_id = program.await_line(r"waiting for an administrator's approval: tctl nodes approve (\S+)")[1]
    cluster.tctl("nodes", "reject", node_id)
    program.await_line("an administrator has rejected, removed or locked it")


def test_a_device_joins_again_as_the_node_it_was(cluster: RealCluster) -> None:
    agent = cluster.start_agent("edge", "env=staging")
    stop(agent)
    token = cluster.token("--labels=env=prod")
    mark = cluster.controller.mark()
    cluster.run("agent again", [*cluster.agent_command("edge", token), "--rejoin"])
    cluster.await_tunnel(agent.node_id, since=mark)
    after = granted_on_disk(agent)
    assert (after["node_id"], after["generation"], after["labels"]) == (agent.node_id, 2, {"env": "prod"})


def test_people_on_the_devices_network_come_in_while_the_controller_is_gone(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    agent = cluster.start_agent("edge", settings={"listen_addr": "127.0.0.1:0"})
    port = agent.program.await_line(r"people on this device's network reach it at 127\.0\.0\.1:(\d+)")[1]
    cluster.controller.stop()
    done = cluster.tsh(alice, "ssh", "--direct", f"127.0.0.1:{port}", f"{LOGIN}@edge", "echo $SSH_SKERRY_USER")
    assert (done.returncode, done.stdout) == (0, b"alice\n"), done.stderr
    kept = [path for path in Path(agent.data_dir, "spool").rglob("*") if path.is_file()]
    assert kept  # the recording waits for the controller
    wrong = cluster.tsh(alice, "ssh", "--direct", f"127.0.0.1:{port}", f"{LOGIN}@other", "echo in")
    assert wrong.returncode == 255
    assert re.search(rb'did not prove to be "other" of cluster harbour: it proved to be [0-9a-f-]{36}', wrong.stderr)
