"""Links as devices have them: they fall silent, they come and go, they are slow and lose what is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from protocol import limits
from tests.harness.namespaces import Internet, internet
from tests.harness.open_session import open_session
from tests.harness.real_cluster import LOGIN, Agent, Person, RealCluster
from tests.harness.running_program import PATIENCE, children_of
from tests.harness.standings import instant, shown, until, until_at_work, until_status

pytestmark = [pytest.mark.system, pytest.mark.netns]
# From the last that was heard of a node behind a link that died silently.
SILENCE_MAX = timedelta(seconds=45)
# The longest wait between two tries, and what coming back takes then.
COME_BACK = limits.RECONNECT_MAX.total_seconds() + PATIENCE
DEVICES = 3
ROUNDS = 3
ROLES = ("broker", "presence", "proxy", "web", "api")


def test_a_link_that_falls_silent_is_told_in_time_and_comes_back_as_the_same_node(
    net: Internet, far_cluster: RealCluster, far_alice: Person
) -> None:
    cluster = far_cluster
    agent = cluster.start_agent("kiosk", prefix=net.device.prefix)
    before = until_at_work(cluster, agent)
    net.silence()
    found = until_status(cluster, agent, "offline", patience=2 * SILENCE_MAX.total_seconds())
    assert found["reason"] == "its link was lost"
    assert instant(found, "since") - instant(found, "last_seen") <= SILENCE_MAX
    told = cluster.tsh(far_alice, "ssh", f"{LOGIN}@kiosk", "true")
    assert told.returncode == 255
    assert 'node "kiosk" is offline since ' in told.stderr.decode()
    assert "its link was lost" in told.stderr.decode()
    net.let_through()
    after = until_at_work(cluster, agent, patience=COME_BACK)
    assert instant(after, "since") > instant(before, "since")
    done = cluster.tsh(far_alice, "ssh", f"{LOGIN}@kiosk", "echo back")
    assert (done.returncode, done.stdout) == (0, b"back\n"), done.stderr


def descriptors(cluster: RealCluster) -> dict[str, int]:
    """Return how many descriptors each role holds, its children's included."""
    found = {}
    for role in ROLES:
        first = cluster.role_pid(role)
        found[role] = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (first, *children_of(first)))
    return found


def records(cluster: RealCluster) -> dict[str, int]:
    """Return how many records each collection of the store holds."""
    return {
        path.stem: sum(len(table) for table in json.loads(path.read_text(encoding="utf-8")).values())
        for path in (cluster.data_dir / "store").rglob("*.json")
    }


def lose(net: Internet, cluster: RealCluster, agents: list[Agent]) -> None:
    """Cut the devices off without a word to the controller, and wait until they have come back."""
    marks = [agent.program.mark() for agent in agents]
    mark = cluster.controller.mark()
    net.silence()
    net.forget_connections()
    for agent, since in zip(agents, marks, strict=True):
        agent.program.await_line("the connection to the broker is gone", since=since)
    net.let_through()
    for agent, since in zip(agents, marks, strict=True):
        agent.program.await_line("connected to the broker at", since=since, timeout=COME_BACK)
        cluster.controller.await_line(f"node {agent.node_id} connected", since=mark, timeout=COME_BACK)


def test_links_that_come_and_go_leave_no_ghosts_behind(net: Internet, far_cluster: RealCluster) -> None:
    cluster = far_cluster
    agents = [cluster.start_agent(f"kiosk-{number}", prefix=net.device.prefix) for number in range(DEVICES)]
    lose(net, cluster, agents)
    for agent in agents:
        until_at_work(cluster, agent)
    children, held, kept = len(children_of(cluster.controller.pid)), descriptors(cluster), records(cluster)
    for _ in range(ROUNDS):
        lose(net, cluster, agents)
    for agent in agents:
        assert until_at_work(cluster, agent)["heartbeat"]["reconnects"] == 1 + ROUNDS
    # What a tunnel or a connection that was displaced held is free again as soon as its end is known to be dead.
    until(cluster, agents[0], lambda _: all(now <= held[role] for role, now in descriptors(cluster).items()))
    assert len(children_of(cluster.controller.pid)) == children
    assert records(cluster) == kept
    listed = json.loads(cluster.tctl("nodes", "ls", "--format=json").stdout)
    assert sorted(node["node_id"] for node in listed) == sorted(agent.node_id for agent in agents)
    assert {node["status"] for node in listed} == {"online"}
    told = [event["server_id"] for event in cluster.events("node.online", "node.offline")]
    assert all(told.count(agent.node_id) <= 6 for agent in agents), "what flaps is told a few times an hour"
    assert not cluster.events("cert.generation_mismatch"), "one device that comes back is no clone"


@pytest.fixture
def net(request: pytest.FixtureRequest) -> Iterator[Internet]:
    with internet(slow=getattr(request, "param", False)) as made:
        yield made


@pytest.mark.parametrize("net", [True], indirect=True, ids=["slow"])
def test_over_a_slow_link_that_loses_packets_a_node_joins_stays_and_can_be_worked_on(
    net: Internet, far_cluster: RealCluster, far_alice: Person
) -> None:
    net.delay(150, loss=30)
    agent = far_cluster.start_agent("kiosk", prefix=net.device.prefix)
    until_at_work(far_cluster, agent)
    with open_session(far_alice, f"{LOGIN}@kiosk", prefix=net.controller.prefix) as session:
        for line in ("one", "two", "three"):
            assert session.echo(line) == line
        text = 'lock targeting User:"alice" is in force: late'
        far_cluster.tctl("lock", "--user=alice", "--message=late")
        assert text in session.await_end()
    found = shown(far_cluster, agent)
    assert (found["status"], found["heartbeat"]["reconnects"]) == ("online", 0)
    assert found["heartbeat"]["round_trip"] >= 3000, "tenths of a millisecond, there and back"
    assert not agent.program.find("is gone|is not reached")
