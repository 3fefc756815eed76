"""What the controller's side is killed in, and what people see of their nodes meanwhile and afterwards."""

from __future__ import annotations

import os
import signal

import pytest

from protocol import limits
from tests.harness.open_session import open_session
from tests.harness.real_cluster import LOGIN, Agent, Person, RealCluster
from tests.harness.running_program import PATIENCE, stopped
from tests.harness.standings import instant, shown, until_at_work, until_status

pytestmark = pytest.mark.system
# The longest wait between two tries, and what coming back takes then.
COME_BACK = limits.RECONNECT_MAX.total_seconds() + PATIENCE


@pytest.fixture
def alice(cluster: RealCluster) -> Person:
    """A person who is signed in to the fresh cluster."""
    person = cluster.add_user("alice")
    cluster.sign_in(person)
    return person


@pytest.fixture
def here(cluster: RealCluster) -> Agent:
    """A node that is there."""
    agent = cluster.start_agent("here")
    until_at_work(cluster, agent)
    return agent


@pytest.fixture
def gone(cluster: RealCluster) -> Agent:
    """A node that was switched off."""
    agent = cluster.start_agent("gone")
    until_at_work(cluster, agent)
    agent.program.stop()
    until_status(cluster, agent, "offline")
    return agent


def as_before(before: dict[str, object], after: dict[str, object]) -> None:
    """See that nothing that the broker remembers of a node has changed."""
    names = ("status", "since", "last_seen", "reason")
    assert [after[name] for name in names] == [before[name] for name in names]


def test_without_a_broker_every_node_is_stale_and_can_be_worked_on_and_then_all_is_as_it_was(
    cluster: RealCluster, alice: Person, here: Agent, gone: Agent
) -> None:
    before_here, before_gone = shown(cluster, here), shown(cluster, gone)
    with open_session(alice, f"{LOGIN}@here") as session:
        with stopped(cluster.controller.pid):  # or it would start another broker at once
            os.kill(cluster.role_pid("broker"), signal.SIGKILL)
            for agent in (here, gone):
                found = until_status(cluster, agent, "stale")
                assert "broker" in found["reason"]
            assert session.echo("while there is none") == "while there is none"
            assert cluster.tsh(alice, "ssh", f"{LOGIN}@here", "true").returncode == 0
            assert "stale" in cluster.tsh(alice, "ls", "-v").stdout.decode()
        after = until_status(cluster, here, "online")
        assert session.echo("the same session") == "the same session"
    assert after["since"] == before_here["since"], "it was there all the while"
    as_before(before_gone, until_status(cluster, gone, "offline"))
    cluster.await_event("broker.up")
    assert len(cluster.events("broker.down")) == 1
    assert here.node_id not in [event["server_id"] for event in cluster.events("node.offline")]


def test_after_a_killed_controller_who_was_there_comes_back_and_who_was_gone_is_gone_since_then(
    cluster: RealCluster, alice: Person, here: Agent, gone: Agent
) -> None:
    cluster.await_event("node.online", server_id=here.node_id)
    cluster.await_event("node.offline", server_id=gone.node_id)
    before, before_here = shown(cluster, gone), shown(cluster, here)
    told = cluster.events("node.online", "node.offline")
    cluster.keep_ports()
    cluster.controller.kill()
    cluster.controller.await_silence()
    cluster.start()
    as_before(before, until_status(cluster, gone, "offline"))
    after = until_at_work(cluster, here, patience=COME_BACK)
    assert after["since"] == before_here["since"], "it was there all the while"
    assert instant(after, "tunnel_since") > instant(before_here, "tunnel_since")
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@here", "echo back")
    assert (done.returncode, done.stdout) == (0, b"back\n"), done.stderr
    said = cluster.tsh(alice, "ssh", f"{LOGIN}@gone", "true").stderr.decode()
    assert 'node "gone" is offline since ' + f"{instant(before, 'since'):%d %b %Y %H:%M:%S} UTC" in said
    now = cluster.events("node.online", "node.offline")
    assert [one for one in now if one["server_id"] == gone.node_id] == [
        one for one in told if one["server_id"] == gone.node_id
    ], "what was told is not told again"
