from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.policy.status import STATUS_MAX, AgentStatus, Link, describe, report, turn
from protocol.fields import MessageError

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
UP, DOWN = Link("up", NOW), Link("down", NOW, "no route to host")
ONLINE = AgentStatus(
    version="1.2.3",
    pid=17,
    began=NOW,
    node="kiosk-17",
    node_id="5afb569b",
    cluster="fleet",
    controller="c.example.com:3080",
    tunnel=UP,
    broker=UP,
    sessions=("s1", "s2"),
    people=("alice as root", "bob, carol as pi"),
    severity="DEBUG",
    heeded=2,
    ticks=99,
)
WAITING = replace(ONLINE, node="", node_id="", cluster="", tunnel=DOWN, broker=None, sessions=(), people=())


@pytest.mark.parametrize("status", [ONLINE, WAITING, replace(ONLINE, broker=None), replace(ONLINE, broker=DOWN)])
def test_a_status_comes_back_as_it_was_written(status: AgentStatus) -> None:
    assert AgentStatus.decode(status.encode()) == status


def test_what_another_version_says_besides_is_overlooked_and_what_it_leaves_out_is_nothing() -> None:
    told = {**ONLINE.to_dict(), "mood": "good"}
    for name in ("sessions", "people", "severity", "heeded", "ticks", "broker"):
        told.pop(name)
    found = AgentStatus.decode(json.dumps(told).encode())
    assert (found.sessions, found.people, found.severity, found.ticks, found.broker) == ((), (), "INFO", 0, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"x" * (STATUS_MAX + 1),
        json.dumps({**ONLINE.to_dict(), "pid": "17"}).encode(),
        json.dumps({**ONLINE.to_dict(), "began": "yesterday"}).encode(),
        json.dumps({**ONLINE.to_dict(), "tunnel": {"state": "ajar", "since": "2026-11-22T10:00:00Z"}}).encode(),
        json.dumps({**ONLINE.to_dict(), "sessions": [1]}).encode(),
    ],
)
def test_what_is_no_status_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        AgentStatus.decode(data)


def test_it_is_online_with_all_the_links_there_are() -> None:
    assert ONLINE.is_online
    assert replace(ONLINE, broker=None).is_online
    assert not replace(ONLINE, broker=DOWN).is_online
    assert not replace(ONLINE, tunnel=DOWN).is_online


def test_a_link_keeps_since_when_it_is_as_it_is() -> None:
    later = NOW + timedelta(minutes=1)
    assert turn(None, "down", later, "x") == Link("down", later, "x")
    assert turn(DOWN, "down", later, "refused") == Link("down", NOW, "refused")
    assert turn(DOWN, "up", later) == Link("up", later)


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (ONLINE, "online as kiosk-17, 2 sessions"),
        (replace(ONLINE, sessions=("s1",)), "online as kiosk-17, 1 session"),
        (
            replace(ONLINE, tunnel=DOWN, sessions=()),
            "offline as kiosk-17 (tunnel down since 22 Nov 2026 10:00 UTC: no route to host), 0 sessions",
        ),
        (
            replace(ONLINE, broker=Link("down", NOW), sessions=()),
            "offline as kiosk-17 (broker down since 22 Nov 2026 10:00 UTC), 0 sessions",
        ),
        (WAITING, "not joined: no route to host"),
        (replace(WAITING, tunnel=Link("down", NOW)), "not joined: joining"),
    ],
)
def test_one_line_says_how_it_stands(status: AgentStatus, line: str) -> None:
    assert describe(status) == line


def test_the_report_says_all_of_it_a_line_each() -> None:
    assert report(ONLINE).splitlines() == [
        "State      : online as kiosk-17, 2 sessions",
        "Version    : 1.2.3",
        "Process    : 17, since 22 Nov 2026 10:00 UTC",
        "Node       : kiosk-17 (5afb569b)",
        "Cluster    : fleet",
        "Controller : c.example.com:3080",
        "Tunnel     : up since 22 Nov 2026 10:00 UTC",
        "Broker     : up since 22 Nov 2026 10:00 UTC",
        "Sessions   : alice as root, bob, carol as pi",
    ]
    assert "Tunnel     : down since 22 Nov 2026 10:00 UTC: no route to host" in report(WAITING)
    assert report(WAITING).endswith("Broker     : none\nSessions   : none")
