"""A lock reaches every door: the web door, the proxy, and the node's own on its own network, controller or not."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from protocol.instants import parse_instant
from tests.harness.open_session import open_session
from tests.harness.other_broker import free_port
from tests.harness.real_cluster import LOGIN, Agent, Person, RealCluster
from tests.harness.running_program import PATIENCE
from tests.harness.standings import until_at_work

pytestmark = pytest.mark.system
# A look at the store, a message and a farewell come to less than a second; this is what a busy machine may add. All
# that would tell a node without being told to takes minutes.
PROMPT = timedelta(seconds=10)
STALE = "this node has not heard from the controller for too long to know who is locked out"


class Estate:
    """A cluster with one node, which people on its own network reach at its own door."""

    def __init__(self, cluster: RealCluster) -> None:
        self.cluster = cluster
        self.alice, self.bob = cluster.add_user("alice"), cluster.add_user("bob")
        for person in (self.alice, self.bob):
            cluster.sign_in(person)
        port = free_port()
        self.agent: Agent = cluster.start_agent("edge", settings={"listen_addr": f"127.0.0.1:{port}"})
        self.direct = ("--direct", f"127.0.0.1:{port}", f"{LOGIN}@edge")
        self.await_door()
        until_at_work(cluster, self.agent)

    def await_door(self) -> None:
        self.agent.program.await_line("people on this device's network reach it at")

    def comes_in(self, person: Person, *where: str) -> str:
        """Try to work on the node; return what is said where that is refused, and nothing where it is not."""
        done = self.cluster.tsh(person, "ssh", *where, "echo in")
        assert (done.returncode, done.stdout) in ((0, b"in\n"), (255, b"")), done.stderr
        return "" if done.returncode == 0 else done.stderr.decode()


def until_ended(cluster: RealCluster, user: str, count: int) -> list[dict[str, Any]]:
    """Wait until the audit log knows of the end of so many sessions of a person."""
    deadline = time.monotonic() + PATIENCE
    while len(found := [event for event in cluster.events("session.end") if event["user"] == user]) < count:
        assert time.monotonic() < deadline, found
    return found


@pytest.fixture
def make_estate(make_cluster: Callable[..., RealCluster]) -> Callable[..., Estate]:
    def make(sections: Mapping[str, Mapping[str, Any]] | None = None) -> Estate:
        return Estate(make_cluster(sections).start())

    return make


def test_a_lock_ends_sessions_by_whichever_door_they_came_and_keeps_all_doors_shut(
    make_estate: Callable[..., Estate],
) -> None:
    estate = make_estate()
    cluster, alice, bob = estate.cluster, estate.alice, estate.bob
    text = 'lock targeting User:"alice" is in force: left the company'
    with (
        open_session(alice, f"{LOGIN}@edge") as by_proxy,
        open_session(alice, *estate.direct) as by_lan,
        open_session(bob, *estate.direct) as of_another,
    ):
        cluster.tctl("lock", "--user=alice", "--message=left the company")
        assert text in by_proxy.await_end()
        assert text in by_lan.await_end()
        assert of_another.echo("still here") == "still here"
    made = cluster.await_event("lock.created")
    ended = until_ended(cluster, "alice", 2)
    for event in ended:
        assert timedelta() <= parse_instant(event["time"]) - parse_instant(made["time"]) < PROMPT
    for refused in (
        estate.comes_in(alice, f"{LOGIN}@edge"),
        estate.comes_in(alice, *estate.direct),
        cluster.tsh(alice, "ls").stderr.decode(),
        cluster.try_sign_in(alice, alice.password, alice.next_code()).stderr.decode(),
    ):
        assert text in refused
    assert estate.comes_in(bob, *estate.direct) == ""


def test_a_lock_on_a_login_and_on_the_node_hold_at_its_own_door_too(make_estate: Callable[..., Estate]) -> None:
    estate = make_estate()
    cluster, bob = estate.cluster, estate.bob
    for option, text in (
        (f"--login={LOGIN}", f'lock targeting Login:"{LOGIN}" is in force: {{}}'),
        ("--node=edge", f'lock targeting Node:"{estate.agent.node_id}" is in force: {{}}'),
    ):
        with open_session(bob, *estate.direct) as session:
            made = cluster.tctl("lock", option, f"--message=because of {option[2:6]}").stdout
            wanted = text.format(f"because of {option[2:6]}")
            assert wanted in session.await_end()
        assert wanted in estate.comes_in(bob, *estate.direct)
        found = re.search(r'"([0-9a-f-]{36})"', made)
        assert found
        mark = estate.agent.program.mark()
        cluster.tctl("locks", "rm", found[1])
        estate.agent.program.await_line("going by version", since=mark)
        assert estate.comes_in(bob, *estate.direct) == ""


@pytest.mark.parametrize("mode", ["best_effort", "strict"])
def test_a_device_that_starts_without_its_controller_goes_by_the_locks_it_knew_and_strictly_by_none(
    make_estate: Callable[..., Estate], mode: str
) -> None:
    estate = make_estate(
        {"auth_service": {"cluster_name": "harbour", "listen_addr": "127.0.0.1:0", "locking_mode": mode}}
    )
    cluster, agent = estate.cluster, estate.agent
    mark = agent.program.mark()
    cluster.tctl("lock", "--user=alice", "--message=stays out")
    agent.program.await_line("going by version", since=mark)
    cluster.keep_ports()
    cluster.controller.send(signal.SIGKILL)
    cluster.controller.await_silence()
    agent.program.stop()
    kept = Path(agent.data_dir, "policy.json")
    assert b"stays out" in kept.read_bytes()
    cluster.relaunch_agent(agent)
    estate.await_door()
    assert 'lock targeting User:"alice" is in force: stays out' in estate.comes_in(estate.alice, *estate.direct)
    said = estate.comes_in(estate.bob, *estate.direct)
    if mode == "best_effort":
        assert said == ""
        return
    assert STALE in said
    agent.program.stop()
    cluster.start()
    cluster.restart_agent(agent)
    until_at_work(cluster, agent)
    deadline = time.monotonic() + PATIENCE
    while STALE in (said := estate.comes_in(estate.bob, *estate.direct)):  # what it is to hear comes by another road
        assert time.monotonic() < deadline, said
    assert said == ""
