from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controller.cluster import Cluster
from controller.enrolment.nodes import NodeRecord
from controller.presence import Tunnel
from protocol.names import NodeId, NodeName

Tctl = Callable[..., subprocess.CompletedProcess[str]]
BUOY = NodeId("11111111-1111-4111-8111-111111111111")
CRANE = NodeId("22222222-2222-4222-8222-222222222222")
JOINED = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def fleet(cluster: Cluster) -> None:
    for node_id, name, env in ((CRANE, "crane", "production"), (BUOY, "buoy", "staging")):
        cluster.enrolment.nodes.add(
            NodeRecord(
                node_id=node_id,
                name=NodeName(name),
                labels={"env": env},
                ssh_public_key="ssh-ed25519 AAAA",
                generation=1,
                joined=JOINED,
                token="****abcd",
                version="0.1.0",
            )
        )
    cluster.presence.write({BUOY: Tunnel("up", datetime(2026, 11, 22, 9, 30, tzinfo=UTC))})


def test_no_nodes_are_said_to_be_none(tctl: Tctl) -> None:
    assert tctl("nodes", "ls").stdout == "No nodes found\n"
    assert tctl("nodes", "ls", "--format=json").stdout == "[]\n"


@pytest.mark.usefixtures("fleet")
def test_nodes_ls_lists_them_by_name(tctl: Tctl) -> None:
    assert tctl("nodes", "ls").stdout.splitlines() == [
        "Node Name Address  Labels",
        "--------- -------- --------------",
        "buoy      ⟵ Tunnel env=staging",
        "crane     ⟵ Tunnel env=production",
    ]


@pytest.mark.usefixtures("fleet")
def test_nodes_ls_verbose_shows_ids_and_tunnels(tctl: Tctl) -> None:
    lines = tctl("nodes", "ls", "-v").stdout.splitlines()
    assert lines[0].split("  ")[0] == "Node Name Node ID"
    assert lines[2] == f"buoy      {BUOY} up since 22 Nov 26 09:30 UTC ⟵ Tunnel env=staging"
    assert lines[3] == f"crane     {CRANE} {'unknown':<28} ⟵ Tunnel env=production"


@pytest.mark.usefixtures("fleet")
def test_nodes_ls_keeps_those_with_the_labels(tctl: Tctl) -> None:
    told = json.loads(tctl("nodes", "ls", "--format", "json", "env=staging").stdout)
    assert told == [
        {
            "node_id": BUOY,
            "name": "buoy",
            "address": "⟵ Tunnel",
            "labels": {"env": "staging"},
            "tunnel": "up",
            "since": "2026-11-22T09:30:00.000Z",
            "version": "0.1.0",
            "joined": "2026-11-01T12:00:00.000Z",
        }
    ]
    assert tctl("nodes", "ls", "env=staging,site=kiel").stdout == "No nodes found\n"
    wrong = tctl("nodes", "ls", "env")
    assert wrong.returncode == 2
    assert "not a label: 'env'" in wrong.stderr


@pytest.mark.usefixtures("fleet")
def test_a_terminal_that_cannot_show_the_arrow_gets_the_rest(tctl: Tctl) -> None:
    done = tctl("nodes", "ls", "env=staging", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert r"buoy      \u27f5 Tunnel env=staging" in done.stdout


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("named", ["buoy", "BUOY", BUOY, BUOY.upper()])
def test_nodes_rm_takes_one_out_by_name_or_uuid(tctl: Tctl, cluster: Cluster, named: str) -> None:
    done = tctl("nodes", "rm", named)
    assert (done.returncode, done.stdout, done.stderr) == (0, f'node "buoy" ({BUOY}) has been removed\n', "")
    assert [node.name for node in cluster.enrolment.nodes.list()] == ["crane"]
    (entry,) = cluster.audit.entries(kinds=["node.delete"])
    assert (entry["code"], entry["server_id"], entry["server_hostname"]) == ("SK013I", BUOY, "buoy")
    assert entry["user"].endswith(f"@{socket.gethostname()}")


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("named", ["bouy", "env=staging", "33333333-3333-4333-8333-333333333333", ""])
def test_nodes_rm_of_what_is_no_node_is_one_line(tctl: Tctl, cluster: Cluster, named: str) -> None:
    done = tctl("nodes", "rm", named)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f'ERROR: node "{named}" not found: `tctl nodes ls -v` lists them\n'
    assert len(cluster.enrolment.nodes.list()) == 2


@pytest.mark.usefixtures("fleet")
def test_nodes_rm_of_a_name_that_two_bear_lists_both_and_asks_for_the_uuid(tctl: Tctl, cluster: Cluster) -> None:
    crane = cluster.enrolment.nodes.get(CRANE)
    assert crane is not None
    twin = NodeId("44444444-4444-4444-8444-444444444444")
    cluster.enrolment.nodes.add(replace(crane, node_id=twin, labels={"env": "lab"}))
    done = tctl("nodes", "rm", "crane")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "ERROR: 2 nodes are named crane: say which one by its UUID"
    assert lines[2].startswith("Node Name Node ID")
    assert [line.split()[1] for line in lines[4:]] == [CRANE, twin]
    assert lines[5].endswith("env=lab")
    assert len(cluster.enrolment.nodes.list()) == 3
    assert tctl("nodes", "rm", twin).returncode == 0
    assert [node.node_id for node in cluster.enrolment.nodes.list()] == [BUOY, CRANE]
