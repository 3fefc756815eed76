"""Two agents with one identity: a data directory that was copied. Put right as docs/clones.md says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from tests.harness.real_cluster import Agent, RealCluster

pytestmark = pytest.mark.system
WORDS = "two devices have this node's identity"


def copy_of(cluster: RealCluster, agent: Agent) -> Agent:
    """Stop a device, copy its disk, and start both."""
    assert agent.program.stop() == 0
    copied = replace(agent, name="copy", data_dir=cluster.folder / "copy")
    shutil.copytree(agent.data_dir, copied.data_dir)
    cluster.restart_agent(agent)
    cluster.relaunch_agent(copied)
    return copied


def test_a_copied_data_directory_is_found_and_locked_once_and_put_right(cluster: RealCluster) -> None:
    original = cluster.start_agent("edge-1")
    copied = copy_of(cluster, original)
    told = cluster.await_event("cert.generation_mismatch", server_id=original.node_id)
    assert told["server_hostname"] == "edge-1"
    (lock,) = json.loads(cluster.tctl("locks", "ls", "--format=json").stdout)
    assert lock["id"] == told["lock"]
    assert lock["message"].startswith(WORDS)
    assert copied.program.stop() == 0
    assert original.program.stop() == 0
    shutil.rmtree(copied.data_dir)
    cluster.tctl("locks", "rm", lock["id"])
    mark = cluster.controller.mark()
    cluster.run("agent edge-1 again", [*cluster.agent_command("edge-1", cluster.token()), "--rejoin"])
    cluster.await_tunnel(original.node_id, since=mark)
    joined = cluster.await_event("instance.join", host_id=original.node_id, generation=2)
    assert joined["node_name"] == "edge-1"
    assert len(cluster.events("cert.generation_mismatch")) == 1
