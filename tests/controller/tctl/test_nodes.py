from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controller.cluster import Cluster
from controller.enrolment.nodes import NodeRecord
from controller.policy.liveness import Standing
from controller.presence import Tunnel
from protocol.names import NodeId, NodeName
from protocol.presences import Beat, NodeState
from tests.controller.presence.crier import telling

Tctl = Callable[..., subprocess.CompletedProcess[str]]
BUOY = NodeId("11111111-1111-4111-8111-111111111111")
CRANE = NodeId("22222222-2222-4222-8222-222222222222")
SINCE, HEARD = datetime(2026, 11, 22, 10, tzinfo=UTC), datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
BEAT = Beat(
    uptime=93_784,
    load=12,
    memory=1024 * 1024,
    disk=20_000,
    temperature=415,
    round_trip=231,
    reconnects=2,
    spool_files=3,
    spool_bytes=5 * 1024 * 1024,
    clock_offset=-90_000,
    tunnel=True,
    sessions=1,
    policy=7,
    generation=1,
)
SHOWN = """\
Node Name           buoy
Node ID             11111111-1111-4111-8111-111111111111
Labels              env=staging
Address             ⟵ Tunnel
Version             0.2.0
Joined              01 Nov 2026 12:00:00 UTC, with token ****abcd
Host key            SHA256:cJ6AyISHokEeHuTfufIqhhSS0gxHZRUMDHlKvXD4FHw
Certificates        generation 1
Status              online
Tunnel              up since 22 Nov 2026 09:30:00 UTC
Presence            online since 22 Nov 2026 10:00:00 UTC
Last seen           22 Nov 2026 10:30:00 UTC
Platform            Linux aarch64
Uptime              1d 2h
Load                0.12
Memory              1 GiB free of 2 GiB
Disk                20 GiB free of 29 GiB
Temperature         41.5 °C
Round trip          23.1 ms
Reconnects          2
Heartbeat           every 30s
Clock               1m 30s behind the controller's
Sessions            1
Waiting recordings  3 (5 MiB)
Policy              version 7
"""
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


@pytest.fixture
def told(cluster: Cluster, fleet: None) -> Iterator[None]:
    """Have it told that the buoy is there, and the crane gone."""
    del fleet
    state = NodeState(
        "00000000000000aa", version="0.2.0", memory=2 * 1024 * 1024, disk=30_000, platform="Linux aarch64"
    )
    known = {
        BUOY: Standing("online", SINCE, HEARD, "", state, BEAT),
        CRANE: Standing("offline", SINCE, HEARD, "its link was lost"),
    }
    with telling(cluster.config.data_dir, known):
        yield


@pytest.mark.usefixtures("told")
def test_nodes_ls_verbose_shows_ids_and_statuses(tctl: Tctl) -> None:
    assert tctl("nodes", "ls", "-v").stdout.splitlines() == [
        f"Node Name {'Node ID':<36} {'Status':<35} Address  Labels",
        f"{'-' * 9} {'-' * 36} {'-' * 35} {'-' * 8} {'-' * 14}",
        f"buoy      {BUOY} {'online':<35} ⟵ Tunnel env=staging",
        f"crane     {CRANE} offline since 22 Nov 2026 10:00 UTC ⟵ Tunnel env=production",
    ]


@pytest.mark.usefixtures("fleet")
def test_where_the_presence_process_is_away_every_node_is_stale(tctl: Tctl) -> None:
    lines = tctl("nodes", "ls", "-v").stdout.splitlines()
    assert [line.split()[2] for line in lines[2:]] == ["stale", "stale"]
    shown = tctl("nodes", "show", "buoy").stdout
    assert "Broker        down: the presence process does not answer (no such file or directory)" in shown


@pytest.mark.usefixtures("told")
def test_nodes_show_shows_all_that_is_known(tctl: Tctl) -> None:
    assert tctl("nodes", "show", "buoy").stdout == SHOWN
    crane = tctl("nodes", "show", CRANE).stdout
    assert "Presence      offline since 22 Nov 2026 10:00:00 UTC: its link was lost\n" in crane
    assert "Heartbeat     none so far\n" in crane
    assert "Last heartbeat" not in tctl("nodes", "show", "buoy").stdout + crane
    missing = tctl("nodes", "show", "nowhere")
    assert (missing.returncode, missing.stderr) == (
        1,
        'ERROR: node "nowhere" not found: `tctl nodes ls -v` lists them\n',
    )


@pytest.mark.usefixtures("fleet")
def test_nodes_show_says_of_what_a_node_told_before_it_went_that_it_is_old(tctl: Tctl, cluster: Cluster) -> None:
    with telling(cluster.config.data_dir, {BUOY: Standing("offline", SINCE, HEARD, "stopped", None, BEAT)}):
        lines = tctl("nodes", "show", "buoy").stdout.splitlines()
    titles = [re.split(" {2,}", line)[0] for line in lines]
    assert titles.index("Last heartbeat") + 1 == titles.index("Uptime")


@pytest.mark.usefixtures("fleet")
def test_nodes_show_of_one_that_waits_says_when_it_asked_and_by_which_key(tctl: Tctl, cluster: Cluster) -> None:
    buoy = cluster.enrolment.nodes.get(BUOY)
    assert buoy is not None
    waiting = NodeId("55555555-5555-4555-8555-555555555555")
    cluster.enrolment.nodes.add(replace(buoy, node_id=waiting, name=NodeName("dinghy"), pending=True))
    shown = tctl("nodes", "show", "dinghy").stdout
    assert re.search(
        r"^Asked +01 Nov 2026 12:00:00 UTC, with token \*{4}abcd\nHost key +SHA256:\S{43}$", shown, re.MULTILINE
    )
    assert "Joined" not in shown


@pytest.mark.usefixtures("fleet")
def test_nodes_show_says_that_a_node_is_locked(tctl: Tctl) -> None:
    assert "Locked" not in tctl("nodes", "show", "buoy").stdout
    assert json.loads(tctl("nodes", "show", "buoy", "--format=json").stdout)["lock"] is None
    assert tctl("lock", "--node=buoy", "--message=stolen").returncode == 0
    (lock,) = json.loads(tctl("locks", "ls", "--format=json").stdout)
    assert re.search(
        rf"^Locked +{lock['id']} since \d+ \w+ \d+ [:0-9]+ UTC: stolen$",
        tctl("nodes", "show", "buoy").stdout,
        re.MULTILINE,
    )
    assert json.loads(tctl("nodes", "show", "buoy", "--format=json").stdout)["lock"] == lock["id"]


@pytest.mark.usefixtures("fleet")
def test_json_is_as_people_read_it_and_cannot_steer_a_terminal(tctl: Tctl) -> None:
    assert '"address": "⟵ Tunnel"' in tctl("nodes", "ls", "--format=json").stdout
    narrow = tctl("nodes", "ls", "--format=json", PYTHONIOENCODING="ascii").stdout
    assert r'"address": "\u27f5 Tunnel"' in narrow
    assert tctl("lock", "--login=pi", "--message=grün\x9b31m\u202e").returncode in {0, 1}
    shown = tctl("locks", "ls", "--format=json").stdout
    assert all(character.isprintable() or character == "\n" for character in shown)


@pytest.mark.usefixtures("told")
def test_nodes_show_as_json_has_the_heartbeat_in_its_own_units(tctl: Tctl) -> None:
    shown = json.loads(tctl("nodes", "show", "buoy", "--format=json").stdout)
    assert shown["heartbeat"] == BEAT.to_dict()
    assert shown["device"] == {"platform": "Linux aarch64", "memory": 2 * 1024 * 1024, "disk": 30_000, "interval": 30}
    assert (shown["generation"], shown["token"], shown["ephemeral"]) == (1, "****abcd", None)
    crane = json.loads(tctl("nodes", "show", "crane", "--format=json").stdout)
    assert (crane["heartbeat"], crane["device"], crane["status"]) == (None, None, "offline")


@pytest.mark.usefixtures("told")
def test_nodes_ls_keeps_those_with_the_labels(tctl: Tctl) -> None:
    told = json.loads(tctl("nodes", "ls", "--format", "json", "env=staging").stdout)
    assert told == [
        {
            "node_id": BUOY,
            "name": "buoy",
            "address": "⟵ Tunnel",
            "labels": {"env": "staging"},
            "status": "online",
            "since": "2026-11-22T10:00:00.000Z",
            "tunnel": "up",
            "presence": "online",
            "reason": "",
            "last_seen": "2026-11-22T10:30:00.000Z",
            "version": "0.2.0",
            "tunnel_since": "2026-11-22T09:30:00.000Z",
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
    assert lines[2].split()[4:] == ["Status", "Last", "Seen", "Labels"]
    assert [line.split()[1] for line in lines[4:6]] == [CRANE, twin]
    assert lines[5].endswith("env=lab")
    assert lines[7].startswith("Hint: give the Node ID in place of the name")
    assert len(cluster.enrolment.nodes.list()) == 3
    assert tctl("nodes", "rm", twin).returncode == 0
    assert [node.node_id for node in cluster.enrolment.nodes.list()] == [BUOY, CRANE]
