"""Certificate authorities are rotated under a running cluster: people go on working, and devices come home."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.harness.real_cluster import LOGIN, Agent, Person, RealCluster
from tests.harness.running_program import PATIENCE

pytestmark = pytest.mark.system
KINDS = ("user", "host", "tls")
ON = ("init", "update_clients", "update_servers", "standby")


def status(cluster: RealCluster) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(cluster.tctl("status", "--format", "json").stdout)
    return told


def works(cluster: RealCluster, person: Person, node: str) -> str:
    done = cluster.tsh(person, "ssh", f"{LOGIN}@{node}", "echo", "here")
    assert (done.returncode, done.stdout) == (0, b"here\n"), done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.timeout(480)
@pytest.mark.parametrize("kind", KINDS)
def test_people_work_through_every_phase_of_a_rotation_and_through_its_rollback(
    cluster: RealCluster, kind: str
) -> None:
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    cluster.start_agent("edge-1")
    works(cluster, alice, "edge-1")
    for phase in ("init", "update_clients", "update_servers", "rollback"):
        cluster.rotate(kind, phase)
        # Who signed in before it began and who signs in now both work; the second knows both keys from here on.
        works(cluster, alice, "edge-1")
        if phase == "init":
            cluster.sign_in(alice, "--ttl=12h", f"--ca-pin={cluster.pin}")
            works(cluster, alice, "edge-1")
    told = [(event["type"], event["before"], event["phase"]) for event in cluster.events("cert_authority.rotate")]
    assert told == [
        (kind, "standby", "init"),
        (kind, "init", "update_clients"),
        (kind, "update_clients", "update_servers"),
        (kind, "update_servers", "rollback"),
    ]


@pytest.mark.timeout(480)
def test_a_device_that_slept_through_two_rotations_of_everything_comes_home_by_itself(cluster: RealCluster) -> None:
    cluster.keep_ports()
    agent = cluster.start_agent("edge-1")
    agent.program.await_line("connected to the broker")
    agent.program.stop()
    await_online(cluster, 0)  # of a node that is thought to be awake, the last phase wants to hear that it has renewed
    for _ in range(2):
        for kind in KINDS:
            for phase in ON:
                cluster.rotate(kind, phase)
    cluster.certificate = cluster.tctl("auth", "export", "--type", "tls").stdout
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    cluster.restart_agent(agent)
    works(cluster, alice, "edge-1")
    renewed = cluster.await_event("node.renew", server_id=agent.node_id)
    assert renewed["generation"] == 2
    assert len(cluster.events("instance.join")) == 1
    await_online(cluster, 1)  # presence came through it too


def await_online(cluster: RealCluster, nodes: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (told := status(cluster))["nodes"]["online"] != nodes or not told["broker"]["up"]:
        assert time.monotonic() < deadline, told


@pytest.mark.timeout(480)
def test_a_node_that_is_awake_comes_through_two_rotations_in_a_row_that_nobody_waits_for(cluster: RealCluster) -> None:
    """Its TLS certificate is of the old authority when that is dropped, and it has just renewed for the other one."""
    agent = cluster.start_agent("edge-1")
    agent.program.await_line("connected to the broker")
    for phase in ON[:3]:
        cluster.rotate("host", phase)
    cluster.tctl("auth", "rotate", "--type=host", "--phase=standby", "--force")
    agent.program.await_line("new certificates, generation 2")
    for phase in ON[:3]:
        cluster.rotate("tls", phase)
    cluster.tctl("auth", "rotate", "--type=tls", "--phase=standby", "--force")
    signing = cluster.tctl("auth", "export", "--type", "tls").stdout.strip()
    deadline = time.monotonic() + PATIENCE
    while held(agent) != signing or not is_back(agent):
        assert time.monotonic() < deadline, agent.program.find(".*")
        time.sleep(0.1)


def held(agent: Agent) -> str:
    """Return the TLS authority that signed the node's certificate, PEM."""
    identity = json.loads((agent.data_dir / "identity.json").read_text(encoding="utf-8"))
    return str(identity["granted"]["tls_authorities"][0]).strip()


def is_back(agent: Agent) -> bool:
    """Tell whether the node has reached the broker since it renewed last."""
    said = [each[0] for each in agent.program.find("new certificates|connected to the broker|connection to the broker")]
    return said[-1] == "connected to the broker"
