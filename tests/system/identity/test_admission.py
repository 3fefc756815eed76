"""Who becomes a node, as what, and for how long: the admin's word, a lost answer, a device that says otherwise."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from edge_agent.clock import Clock
from edge_agent.control import Control
from edge_agent.identity import DataDirectory
from edge_agent.papers import Papers
from protocol.names import Labels
from tests.harness.faketime import clockwork
from tests.harness.lossy_road import lossy_road
from tests.harness.real_cluster import LOGIN, Agent, RealCluster
from tests.harness.running_program import BIN, RunningProgram

pytestmark = pytest.mark.system
WAITS = r"waiting for an administrator's approval: tctl nodes approve (\S+)"


def listed(cluster: RealCluster) -> dict[str, dict[str, Any]]:
    """Return what `tctl nodes ls` says of each node, by id."""
    found = json.loads(cluster.tctl("nodes", "ls", "--format=json").stdout)
    return {node["node_id"]: node for node in found}


def labels_judged_by(agent: Agent) -> Labels:
    """Return the labels that a device goes by when it judges, as it stands on its disk. It must not run."""
    identity = DataDirectory(agent.data_dir).load()
    assert identity
    papers = Papers(identity)
    Control(papers, Clock(agent.data_dir), agent.data_dir)
    return papers.target.labels


def ask_to_join(cluster: RealCluster, name: str, *options: str) -> tuple[RunningProgram, str]:
    """Start a device that has to wait for approval; return it and its node's id."""
    program = cluster.run(f"agent {name}", cluster.agent_command(name, cluster.token("--approve", *options)))
    return program, program.await_line(WAITS)[1]


def start_again(cluster: RealCluster, name: str) -> RunningProgram:
    """Start a device on what it has kept."""
    return cluster.run(f"agent {name}", [str(BIN / "edge-agent"), "start", f"--data-dir={cluster.folder / name}"])


def test_devices_that_wait_for_approval_are_shown_as_such_and_every_step_is_told_once(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    wanted, first = ask_to_join(cluster, "wanted", "--labels=env=prod")
    unwanted, second = ask_to_join(cluster, "unwanted")
    assert {node: listed(cluster)[node]["status"] for node in (first, second)} == {first: "pending", second: "pending"}
    assert re.search(rf"wanted +{first} +pending", cluster.tctl("nodes", "ls", "-v").stdout)
    assert cluster.tsh(alice, "ssh", f"{LOGIN}@wanted", "true").returncode == 255
    assert wanted.stop() == unwanted.stop() == 0
    again = start_again(cluster, "wanted")  # it goes on waiting, and asks for nothing new
    assert again.await_line(WAITS)[1] == first
    assert again.stop() == 0

    cluster.tctl("nodes", "approve", "wanted")
    cluster.tctl("nodes", "reject", second)
    assert 'no node "wanted" waits for approval' in cluster.tctl("nodes", "approve", "wanted", status=1).stderr
    mark = cluster.controller.mark()
    start_again(cluster, "wanted").await_line("approved: this node is wanted")
    cluster.await_tunnel(first, since=mark)
    refused = start_again(cluster, "unwanted")
    refused.await_line("an administrator has rejected, removed or locked it")
    assert refused.await_end() == 1
    assert set(listed(cluster)) == {first}
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@wanted", "echo in")
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr

    told = cluster.events("node.pending", "node.approve", "node.reject", "instance.join")
    assert [(event["event"], event.get("server_id") or event["host_id"]) for event in told] == [
        ("node.pending", first),
        ("node.pending", second),
        ("node.approve", first),
        ("node.reject", second),
        ("instance.join", first),
    ]


def test_an_ephemeral_node_is_removed_once_it_was_offline_for_long_enough_and_others_stay(cluster: RealCluster) -> None:
    cluster.keep_ports()
    kiosk = cluster.run("agent kiosk", cluster.agent_command("kiosk", cluster.token("--ephemeral=5m")))
    node_id = kiosk.await_line(r"joined cluster \S+ as \S+ \(([0-9a-f-]{36})\)")[1]
    kiosk.await_line("connected to the broker")
    steady = cluster.start_agent("steady")
    steady.program.await_line("connected to the broker")
    for program in (kiosk, steady.program, cluster.controller):
        assert program.stop() == 0
    said = rf"node kiosk \({node_id}\) is ephemeral, and was offline for more than 5 minutes: removed"
    with clockwork() as clock:
        cluster.prefix = clock.prefix
        cluster.start()
        # Housekeeping comes every five minutes, and leaves those of whom it cannot be told yet whether they are there.
        for jump in range(1, 20):
            clock.put_on(jump * timedelta(minutes=6))
            with suppress(AssertionError):
                cluster.controller.await_line(said, timeout=4)
                break
        assert cluster.controller.find(said)
        cluster.controller.kill()
        cluster.controller.await_silence()  # nothing of it waits for a time that the clock is put back behind
    (gone,) = cluster.events("node.delete")
    assert (gone["server_id"], gone["reason"]) == (node_id, "ephemeral: offline for more than 5 minutes")
    assert set(listed(cluster)) == {steady.node_id}


def test_an_answer_to_a_join_that_got_lost_costs_no_token_and_makes_no_second_node(cluster: RealCluster) -> None:
    token = cluster.token("--uses=1", "--labels=env=prod")
    mark = cluster.controller.mark()
    with lossy_road(token.controller) as road:
        program = cluster.run("agent edge", cluster.agent_command("edge", replace(token, controller=road.address)))
        program.await_line("not joined yet: .*; trying again")
        node_id = program.await_line(r"joined cluster \S+ as \S+ \(([0-9a-f-]{36})\), labels: env=prod")[1]
        cluster.await_tunnel(node_id, since=mark)
        assert road.lost == 1
        assert set(listed(cluster)) == {node_id}
        assert {event["host_id"] for event in cluster.events("instance.join")} == {node_id}
        stranger = cluster.run("agent stranger", cluster.agent_command("stranger", token))
        assert stranger.await_end() == 1
        assert program.stop() == 0


def test_labels_that_an_admin_sets_reach_the_node_s_own_judgement_and_stay_when_it_joins_again(
    cluster: RealCluster,
) -> None:
    agent = cluster.start_agent("edge", "env=staging")
    agent.program.await_line("connected to the broker")
    cluster.tctl("nodes", "label", "edge", "env=prod", "deck=3")
    agent.program.await_line("an admin has named this node edge, labels: {'deck': '3', 'env': 'prod'}")
    assert agent.program.stop() == 0
    assert labels_judged_by(agent) == {"deck": "3", "env": "prod"}
    (told,) = cluster.events("node.label")
    assert (told["labels"], told["before"]) == ({"deck": "3", "env": "prod"}, {"env": "staging"})

    # The next token says nothing of labels: what the device would like to be does not count against the admin's word.
    claims = ["--rejoin", "--labels=env=lab,deck=9"]
    mark = cluster.controller.mark()
    again = cluster.run("agent again", [*cluster.agent_command("edge", cluster.token()), *claims])
    cluster.await_tunnel(agent.node_id, since=mark)
    assert listed(cluster)[agent.node_id]["labels"] == {"deck": "3", "env": "prod"}
    assert again.stop() == 0
    assert labels_judged_by(agent) == {"deck": "3", "env": "prod"}


def test_a_device_that_says_it_has_other_labels_changes_nothing_at_the_controller(cluster: RealCluster) -> None:
    agent = cluster.start_agent("edge", "env=staging")
    assert agent.program.stop() == 0
    path = agent.data_dir / "identity.json"
    kept = json.loads(path.read_text())
    kept["granted"]["labels"] = {"env": "prod"}
    path.write_text(json.dumps(kept))
    agent.options = ("--labels=env=prod", "--nodename=flagship")
    cluster.restart_agent(agent)
    agent.program.await_line("connected to the broker")
    shown = listed(cluster)[agent.node_id]
    assert (shown["name"], shown["labels"]) == ("edge", {"env": "staging"})
    assert cluster.tctl("nodes", "ls", "env=prod").stdout == "No nodes found\n"
