"""`tctl lock` and `tctl locks`, run as an admin runs them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from controller.accounts import Origin
from controller.cluster import Cluster
from controller.enrolment.nodes import NodeRecord
from controller.policy.liveness import Standing
from protocol.names import NodeId, NodeName, parse_login, parse_user_name
from tests.controller.presence.crier import telling

Tctl = Callable[..., subprocess.CompletedProcess[str]]
CRANE = NodeId("22222222-2222-4222-8222-222222222222")
TWIN = NodeId("44444444-4444-4444-8444-444444444444")


def enrol(cluster: Cluster, node_id: NodeId, name: str) -> None:
    joined = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
    cluster.enrolment.nodes.add(
        NodeRecord(node_id, NodeName(name), {}, "ssh-ed25519 AAAA", 1, joined, "****abcd", "0.1.0")
    )


@pytest.fixture(autouse=True)
def _people_and_nodes(cluster: Cluster) -> None:
    cluster.accounts.users.add(
        parse_user_name("alice"), (parse_login("pi"),), timedelta(hours=1), Origin(via="tctl", actor="root")
    )
    enrol(cluster, CRANE, "crane")


def made(done: subprocess.CompletedProcess[str]) -> str:
    match = re.match(r'Created a lock with name "([0-9a-f-]{36})"\.\n', done.stdout)
    assert match, done
    assert (done.returncode, done.stderr) == (0, "")
    return match[1]


def test_a_lock_is_made_listed_and_removed(tctl: Tctl, cluster: Cluster) -> None:
    first = made(tctl("lock", "--user=alice", "--message=lost her laptop"))
    second = made(tctl("lock", "--login", "root", "--ttl", "1h"))
    third = made(tctl("lock", "--node", "CRANE"))
    lines = tctl("locks", "ls").stdout.splitlines()
    assert lines[0].split() == ["ID", "Target", "Message", "Expires"]
    assert [line.split()[0] for line in lines[2:]] == [first, second, third]
    assert 'User:"alice"' in lines[2]
    assert "lost her laptop never" in lines[2]
    assert re.search(r'Login:"root" .* \d\d \w{3} \d{4} \d\d:\d\d UTC', lines[3])
    assert f'Node:"{CRANE}" (crane)' in lines[4]
    gone = tctl("locks", "rm", first.upper())
    assert (gone.returncode, gone.stdout) == (0, f'lock "{first}" has been deleted\n')
    assert [lock.lock_id for lock in cluster.locks.list()] == [second, third]
    assert cluster.locks.find(user="alice") is None
    (entry,) = cluster.audit.entries(kinds=["TLK01I"])
    assert entry["user"].endswith(f"@{socket.gethostname()}")


def test_locks_are_listed_for_programs_too(tctl: Tctl) -> None:
    assert tctl("locks", "ls", "--format=json").stdout == "[]\n"
    lock_id = made(tctl("lock", "--node", CRANE, "--message", "stolen", "--ttl=30m"))
    (told,) = json.loads(tctl("locks", "ls", "-f", "json").stdout)
    assert {key: told[key] for key in ("id", "kind", "value", "message")} == {
        "id": lock_id,
        "kind": "node",
        "value": CRANE,
        "message": "stolen",
    }
    span = datetime.fromisoformat(told["expires"]) - datetime.fromisoformat(told["created"])
    assert span == timedelta(minutes=30)
    assert told["created_by"].endswith(f"@{socket.gethostname()}")


def test_no_locks_are_said_to_be_none(tctl: Tctl) -> None:
    assert tctl("locks", "ls").stdout == "No locks found\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--user=bob",), 'user "bob" not found, so nothing was locked: `tctl users ls` lists them'),
        (("--node=bouy",), 'node "bouy" not found, so nothing was locked: `tctl nodes ls -v` lists them'),
        ((f"--node={TWIN}",), f'node "{TWIN}" not found, so nothing was locked: `tctl nodes ls -v` lists them'),
        (("--user=alice", "--message=a\nb"), "the lock's message is not one line of at most 200 printable characters"),
    ],
)
def test_what_cannot_be_locked_is_one_line(
    tctl: Tctl, cluster: Cluster, arguments: tuple[str, ...], words: str
) -> None:
    done = tctl("lock", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"ERROR: {words}\n")
    assert cluster.locks.list() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say one of --user, --login and --node"),
        (("--user=alice", "--login=pi"), "say one of --user, --login and --node"),
        (("--user=../alice",), "not a valid user name"),
        (("--login=a b",), "not a valid login"),
        (("--user=alice", "--ttl=never"), "not a span of time"),
    ],
)
def test_a_lock_that_is_badly_asked_for_is_a_usage_error(tctl: Tctl, arguments: tuple[str, ...], words: str) -> None:
    done = tctl("lock", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_lock_says_which_nodes_cannot_be_told_of_it(tctl: Tctl, cluster: Cluster) -> None:
    enrol(cluster, TWIN, "buoy")
    with telling(cluster.config.data_dir, {TWIN: Standing("online"), CRANE: Standing("offline")}):
        for option in ("--login=root", "--user=alice", "--node=crane"):
            told = tctl("lock", option).stdout.splitlines()[1:]
            assert told == ["1 node is not connected and learns of it when it is: crane"]
        assert tctl("lock", "--node=buoy").stdout.splitlines()[1:] == []
    told = tctl("lock", "--login=pi").stdout.splitlines()[1:]
    assert told == ["2 nodes are not connected and learn of it when they are: buoy, crane"]
    for number in range(5):
        enrol(cluster, NodeId(f"55555555-5555-4555-8555-55555555555{number}"), f"edge-{number}")
    assert tctl("lock", "--login=oracle").stdout.endswith(": buoy, crane, edge-0, edge-1, edge-2 and 2 more\n")


def test_a_second_lock_with_the_same_target_names_the_first(tctl: Tctl) -> None:
    first = made(tctl("lock", "--login=oracle"))
    again = tctl("lock", "--login=oracle").stdout
    assert f'There is another one with the same target, "{first}": each holds until it is removed itself.\n' in again
    assert "another" not in tctl("lock", "--login=postgres").stdout


def test_a_login_needs_not_exist_to_be_locked(tctl: Tctl, cluster: Cluster) -> None:
    lock_id = made(tctl("lock", "--login=oracle"))
    found = cluster.locks.find(login="oracle")
    assert found is not None
    assert found.lock_id == lock_id


def test_a_name_that_two_nodes_bear_is_not_locked_by_it(tctl: Tctl, cluster: Cluster) -> None:
    enrol(cluster, TWIN, "crane")
    done = tctl("lock", "--node=crane")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "ERROR: 2 nodes are named crane: say which one by its UUID"
    assert {line.strip() for line in done.stderr.splitlines()[1:]} == {CRANE, TWIN}
    assert cluster.locks.list() == []
    made(tctl("lock", "--node", TWIN))


def test_a_lock_that_is_not_there_cannot_be_removed(tctl: Tctl) -> None:
    done = tctl("locks", "rm", str(TWIN))
    assert (done.returncode, done.stderr) == (1, f'ERROR: lock "{TWIN}" not found: `tctl locks ls` lists them\n')
    none = tctl("locks", "rm", "alice")
    assert none.returncode == 2
    assert "not the id of a lock (a UUID): 'alice'; `tctl locks ls` shows it" in none.stderr
