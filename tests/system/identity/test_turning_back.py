"""A rotation that was begun and taken back: devices that know the key which never came to be are not lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness.real_cluster import LOGIN, Agent, Person, RealCluster

pytestmark = pytest.mark.system


def rotate(cluster: RealCluster, *phases: str) -> None:
    """Take every authority through these phases."""
    for kind in ("user", "host", "tls"):
        for phase in phases:
            cluster.rotate(kind, phase)


def granted(agent: Agent) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((agent.data_dir / "identity.json").read_text())["granted"]
    return found


def comes_home(cluster: RealCluster, alice: Person, agent: Agent) -> None:
    """Start a device, and see that it is reached by MQTT, by its tunnel and by people."""
    cluster.restart_agent(agent)
    agent.program.await_line("connected to the broker")
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@{agent.name}", "echo here")
    assert (done.returncode, done.stdout) == (0, b"here\n"), done.stderr.decode()


@pytest.mark.timeout(480)
def test_devices_that_were_there_before_or_amid_a_rotation_that_was_taken_back_come_home(cluster: RealCluster) -> None:
    cluster.keep_ports()
    old = cluster.start_agent("old")
    before = granted(old)
    assert old.program.stop() == 0
    rotate(cluster, "init", "update_clients", "update_servers")
    young, asleep = cluster.start_agent("young"), cluster.start_agent("asleep")
    for agent in (young, asleep):
        assert granted(agent)["host_authorities"][0] != before["host_authorities"][0]
        assert agent.program.stop() == 0
    rotate(cluster, "rollback", "standby")
    cluster.certificate = cluster.tctl("auth", "export", "--type", "tls").stdout
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)

    comes_home(cluster, alice, old)
    comes_home(cluster, alice, young)
    # The one had nothing to renew; the other has given up what the key of a few moments had signed.
    assert granted(old)["generation"] == 1
    assert granted(young)["generation"] == 2
    assert granted(young)["host_authorities"] == before["host_authorities"]
    assert granted(young)["tls_authorities"] == before["tls_authorities"]
    assert old.program.stop() == young.program.stop() == 0

    # And on from there: the key of a few moments leads nobody astray, nor does it lead anywhere.
    rotate(cluster, "init", "update_clients", "update_servers", "standby")
    cluster.certificate = cluster.tctl("auth", "export", "--type", "tls").stdout
    del cluster.pin
    cluster.sign_in(alice)
    for agent, generation in ((old, 2), (young, 3), (asleep, 2)):
        comes_home(cluster, alice, agent)
        assert granted(agent)["generation"] == generation
    assert cluster.tctl("locks", "ls", "--format=json").stdout.strip() == "[]"
