from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.cluster import Cluster
from controller.enrolment.nodes import NodeRecord
from controller.policy.liveness import Standing
from protocol.instants import to_milliseconds
from protocol.live_sessions import LiveSessions
from protocol.names import NodeId, NodeName
from tests.controller.presence.crier import telling
from tests.controller.presence.live import going_on

Tctl = Callable[..., subprocess.CompletedProcess[str]]
BUOY = NodeId("11111111-1111-4111-8111-111111111111")
NOW = datetime.now(UTC)
STARTED = to_milliseconds(NOW - timedelta(days=5, hours=1))
SHELL = going_on(BUOY, 1, "ada", "bob", started=STARTED)
HOSTILE = replace(going_on(BUOY, 2, started=STARTED - 1), command="\x1b]0;owned\x07\u202egpj.exe", size=None)


@pytest.fixture
def buoy(cluster: Cluster) -> None:
    record = NodeRecord(BUOY, NodeName("buoy"), {}, "ssh-ed25519 AAAA", 1, NOW, "****abcd", "0.1")
    cluster.enrolment.nodes.add(record)


def said(*sessions: object) -> dict[NodeId, Standing]:
    return {BUOY: Standing("online", NOW, NOW, live=LiveSessions(sessions))}  # type: ignore[arg-type]  # live sessions


@pytest.mark.usefixtures("buoy")
def test_sessions_ls_lists_who_is_where_the_newest_first(tctl: Tctl, cluster: Cluster) -> None:
    with telling(cluster.config.data_dir, said(HOSTILE, SHELL)):
        done = tctl("sessions", "ls")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ID", "Kind", "Created", "Hostname", "Login", "Command", "Participants"]
    assert " ".join(lines[2].split()) == f"{SHELL.session} ssh 5 days ago buoy pi - ada (peer), bob (peer)"
    assert HOSTILE.session in lines[3]
    assert "\\x1b]0;owned" in lines[3]
    assert all(character.isprintable() or character == "\n" for character in done.stdout)


@pytest.mark.usefixtures("buoy")
def test_as_json_instants_are_text_and_nothing_steers_a_terminal(tctl: Tctl, cluster: Cluster) -> None:
    with telling(cluster.config.data_dir, said(HOSTILE, SHELL)):
        done = tctl("sessions", "ls", "--format=json")
    shell, hostile = json.loads(done.stdout)
    assert (shell["session"], shell["node_id"], shell["name"]) == (SHELL.session, BUOY, "buoy")
    assert shell["started"].endswith("Z")
    assert [party["user"] for party in shell["parties"]] == ["ada", "bob"]
    assert "may_join" not in shell
    assert hostile["command"] == HOSTILE.command
    assert all(character.isprintable() or character == "\n" for character in done.stdout)


@pytest.mark.usefixtures("buoy")
def test_no_sessions_are_said_to_be_none(tctl: Tctl, cluster: Cluster) -> None:
    with telling(cluster.config.data_dir, said()):
        assert tctl("sessions", "ls").stdout == "No sessions are going on\n"
        assert tctl("sessions", "ls", "--format=json").stdout == "[]\n"


def test_where_nobody_can_say_that_is_said(tctl: Tctl) -> None:
    done = tctl("sessions", "ls")
    assert done.returncode == 0
    assert done.stderr == (
        "WARNING: this may not be up to date: the presence process does not answer (no such file or directory)\n"
    )
