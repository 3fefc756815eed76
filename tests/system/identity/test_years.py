"""Certificates that are renewed in good time, late, and by a device that has no right to: over weeks of made time."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from protocol import limits
from protocol.instants import parse_instant
from protocol.ssh.certificate import parse_certificate_line
from tests.harness.real_cluster import LOGIN, Agent, Person, RealCluster
from tests.system.identity.conftest import Past

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
DUE = limits.HOST_CERTIFICATE_TTL * limits.RENEW_AFTER + limits.RENEW_SPREAD + timedelta(days=1)
OVER = limits.HOST_CERTIFICATE_TTL + timedelta(days=10)


def certificate_life(agent: Agent) -> tuple[int, datetime, datetime]:
    """Return the generation that a device holds, and from when until when its host certificate is good."""
    granted = json.loads((agent.data_dir / "identity.json").read_text())["granted"]
    certificate = parse_certificate_line(granted["host_certificate"])
    return granted["generation"], certificate.valid_after, certificate.valid_before


def works(cluster: RealCluster, person: Person, agent: Agent) -> None:
    done = cluster.tsh(person, "ssh", f"{LOGIN}@{agent.node_id}", "echo here")
    assert (done.returncode, done.stdout) == (0, b"here\n"), done.stderr.decode()


def test_certificates_are_renewed_at_two_thirds_of_their_life_and_the_tunnel_stays(past: Past) -> None:
    past.go(DUE)
    agent = past.join("edge-1")
    cluster = past.come_home()
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    mark = cluster.controller.mark()
    cluster.restart_agent(agent)
    agent.program.await_line("new certificates, generation 2")
    renewed = cluster.await_event("node.renew", server_id=agent.node_id)
    assert (renewed["generation"], renewed["server_hostname"]) == (2, "edge-1")
    generation, begins, ends = certificate_life(agent)
    assert (generation, ends - begins) == (2, limits.HOST_CERTIFICATE_TTL + limits.CLOCK_LEEWAY)
    assert parse_instant(renewed["expires"]) - ends < timedelta(seconds=1)
    works(cluster, alice, agent)
    # It came in with the certificate of old, which was good still, and nobody cut it off for the new one.
    assert len(cluster.controller.find(f"node {agent.node_id} connected", mark)) == 1
    assert not cluster.controller.find(f"node {agent.node_id} disconnected", mark)


def test_a_device_that_slept_past_its_certificates_end_comes_home_unless_it_was_removed(past: Past) -> None:
    past.go(OVER)
    sleeper, gone = past.join("sleeper"), past.join("gone")
    cluster = past.come_home()
    cluster.tctl("nodes", "rm", "gone")
    cluster.relaunch_agent(gone)
    gone.program.await_line("the controller refuses to renew this node's certificates")
    refused = cluster.await_event("node.renew", server_id=gone.node_id, check="N1")
    assert refused["success"] is False
    cluster.restart_agent(sleeper)
    sleeper.program.await_line("connected to the broker")
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    works(cluster, alice, sleeper)
    generation, _, ends = certificate_life(sleeper)
    assert generation == 2
    assert ends > datetime.now(UTC)
    assert cluster.await_event("node.renew", server_id=sleeper.node_id)["generation"] == 2


def test_a_copy_that_renews_with_a_generation_of_old_is_found_and_its_identity_is_given_up(past: Past) -> None:
    past.go(DUE)
    original = past.join("edge-1")
    copied = replace(original, name="copy", data_dir=past.cluster.folder / "copy")
    shutil.copytree(original.data_dir, copied.data_dir)
    cluster = past.come_home()
    cluster.restart_agent(original)
    original.program.await_line("new certificates, generation 2")
    assert original.program.stop() == 0
    # The two never meet at the broker: only the generation tells.
    cluster.relaunch_agent(copied)
    copied.program.await_line("the controller refuses to renew this node's certificates")
    (told,) = cluster.events("cert.generation_mismatch")
    assert (told["server_id"], told["generation"], told["expected"]) == (original.node_id, 1, 2)
    cluster.relaunch_agent(original)
    said = f'lock targeting Node:"{original.node_id}" is in force: two devices have this node\'s identity'
    original.program.await_line(f"the tunnel to .* did not come up: {said}")

    # docs/clones.md, "If the keys may be in the wrong hands, or you are not sure"
    assert told["lock"] in cluster.tctl("locks", "ls").stdout
    cluster.tctl("nodes", "rm", original.node_id)
    cluster.tctl("locks", "rm", told["lock"])
    homes = {}
    for agent in (original, copied):
        agent.program.stop()
        shutil.rmtree(agent.data_dir)
        homes[agent.name] = cluster.start_agent(agent.name)
    assert len({original.node_id, *(home.node_id for home in homes.values())}) == 3
    assert len(cluster.events("cert.generation_mismatch")) == 1
    assert cluster.tctl("locks", "ls", "--format=json").stdout.strip() == "[]"
