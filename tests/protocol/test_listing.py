"""Nodes, sessions, second factors and recordings listed, and what is said of a name that several answer to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from protocol import names
from protocol.fleet_sessions import SessionEntry
from protocol.instants import to_milliseconds
from protocol.listing import (
    describe_age,
    describe_ambiguous,
    describe_status,
    factor_json,
    node_json,
    render_factors,
    render_nodes,
    render_recordings,
    render_sessions,
    session_json,
)
from protocol.live_sessions import LiveParty, LiveSession
from protocol.messages import NodeEntry, NodeStatus
from protocol.people import FactorEntry
from protocol.recordings import RecordingEntry

FIRST = names.parse_node_id("ae79f375-633e-4a81-941e-83faf4a3c966")
SECOND = names.parse_node_id("17a980a9-ce32-4c95-a5c4-c4b4717851e9")
NODES = [
    NodeEntry(FIRST, names.parse_node_name("example.com"), "⟵ Tunnel", {"foo": "bar", "a": "b"}),
    NodeEntry(SECOND, names.parse_node_name("example.com"), "⟵ Tunnel", {"spam": "eggs"}),
]


def test_nodes_are_listed_by_name_then_id() -> None:
    assert render_nodes(NODES) == (
        "Node Name   Address  Labels\n"
        "----------- -------- ------------\n"
        "example.com ⟵ Tunnel spam=eggs\n"
        "example.com ⟵ Tunnel a=b, foo=bar"
    )


@pytest.mark.parametrize(
    ("status", "since", "said"),
    [
        ("online", 1795341600000, "online"),
        ("offline", 1795341600000, "offline since 22 Nov 2026 10:00 UTC"),
        ("offline", None, "offline"),
        ("offline", 2**62, "offline"),
        ("tunnel down", None, "tunnel down"),
    ],
)
def test_a_status_is_told_with_the_moment_that_belongs_to_it(status: NodeStatus, since: int | None, said: str) -> None:
    node = replace(NODES[0], status=status, since=since)
    assert describe_status(node) == said
    assert said in render_nodes([node], with_status=True)


def test_for_programs_a_node_s_moments_are_text() -> None:
    node = replace(NODES[0], status="offline", since=1795341600000)
    told = node_json(node)
    assert (told["since"], told["last_seen"], told["status"]) == ("2026-11-22T10:00:00.000Z", None, "offline")
    assert node_json(replace(node, last_seen=0))["last_seen"] == "1970-01-01T00:00:00.000Z"


def test_ambiguous_name_lists_candidates_with_ids_and_hints() -> None:
    assert describe_ambiguous(NODES) == (
        "ambiguous host could match multiple nodes\n"
        "\n"
        "Node Name   Node ID                              Status  Address  Labels\n"
        "----------- ------------------------------------ ------- -------- ------------\n"
        "example.com 17a980a9-ce32-4c95-a5c4-c4b4717851e9 unknown ⟵ Tunnel spam=eggs\n"
        "example.com ae79f375-633e-4a81-941e-83faf4a3c966 unknown ⟵ Tunnel a=b, foo=bar\n"
        "\n"
        "Hint: try addressing the node by unique id (ex: tsh ssh user@node-id)\n"
        "Hint: use 'tsh ls -v' to list all nodes with their unique ids"
    )


def recording(started: int) -> RecordingEntry:
    return RecordingEntry(
        session=names.parse_session_id("b0a04442-70dc-4be8-9308-7b7901d2d600"),
        kind="ssh",
        participants=("jeff", "ann\x1b"),
        login="pi",
        node=FIRST,
        hostname=names.parse_node_name("dev"),
        command="",
        interactive=True,
        started=started,
        duration=1000,
        size=1536,
        state="complete",
    )


def test_recordings_are_listed_as_people_know_it_and_nothing_steers_the_terminal() -> None:
    assert render_recordings([recording(1_795_710_976_000)]) == (
        "ID                                   Type Participants  Hostname Timestamp\n"
        "------------------------------------ ---- ------------- -------- -------------------\n"
        "b0a04442-70dc-4be8-9308-7b7901d2d600 ssh  jeff, ann\\x1b dev      Nov 26 16:36:16 UTC"
    )


def test_in_a_narrow_terminal_a_recording_is_one_line_by_the_beginning_of_its_id() -> None:
    listed = render_recordings([recording(1_795_710_976_000)], width=80).splitlines()
    assert listed[2] == "b0a04442-70dc ssh  jeff, ann\\x1b dev      Nov 26 16:36:16 UTC"
    whole = render_recordings([recording(1_795_710_976_000)], with_state=True, width=80)
    assert "b0a04442-70dc-4be8-9308-7b7901d2d600" in whole


def test_an_admin_sees_how_whole_and_how_large_a_recording_is() -> None:
    header, _, row = render_recordings([recording(1_795_710_976_000)], with_state=True).splitlines()
    assert header.endswith(" Timestamp           State    Size")
    assert row.endswith(" Nov 26 16:36:16 UTC complete 1.5 KiB")


def test_a_recording_that_is_not_whole_is_marked() -> None:
    arriving = replace(recording(1_795_710_976_000), state="arriving")
    assert render_recordings([arriving]).endswith(" Nov 26 16:36:16 UTC (arriving)")


def test_a_time_beyond_the_calendar_is_a_dash() -> None:
    assert render_recordings([recording(2**62)]).endswith(" dev      -")


NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def live(started: int, command: str = "", parties: tuple[LiveParty, ...] = ()) -> SessionEntry:
    session = LiveSession(
        session=names.parse_session_id("0b5e57a1-0d4c-8e1b-9a3f-0123456789ab"),
        login=names.parse_login("pi"),
        command=command,
        started=started,
        size=(80, 24),
        recorded=True,
        parties=parties,
    )
    return SessionEntry(FIRST, names.parse_node_name("edge-1"), session, may_join=True)


def test_live_sessions_are_listed_with_who_takes_part() -> None:
    bob, ann = names.parse_user_name("bob"), names.parse_user_name("ann")
    parties = (LiveParty(bob, "peer", 0), LiveParty(ann, "observer", 0))
    entries = [live(1795341600000, "a\x1b" + "x" * 100, parties), live(2**62)]
    assert render_sessions(entries, NOW, width=140) == (
        "ID                                   Kind Created     Hostname Login Command                  Participants\n"
        "------------------------------------ ---- ----------- -------- ----- ------------------------ "
        "--------------------------\n"
        "0b5e57a1-0d4c-8e1b-9a3f-0123456789ab ssh  2 hours ago edge-1   pi    a\\x1bxxxxxxxxxxxxxxxxxx… "
        "bob (peer), ann (observer)\n"
        "0b5e57a1-0d4c-8e1b-9a3f-0123456789ab ssh  -           edge-1   pi    -                        -"
    )
    assert "a\\x1b" + "x" * 100 + " bob (peer)" in render_sessions(entries, NOW)


def test_in_a_narrow_terminal_the_beginning_of_an_id_will_do_where_it_is_no_other_s() -> None:
    one, two = live(0), live(0)
    two = replace(two, live=replace(two.live, session=names.parse_session_id("1b5e57a1-0d4c-8e1b-9a3f-0123456789ab")))
    shown = render_sessions([one, two], NOW, width=80).splitlines()
    assert [line.split()[0] for line in shown[2:]] == ["0b5e57a1-0d4c", "1b5e57a1-0d4c"]
    assert max(map(len, shown)) <= 80
    assert one.live.session in render_sessions([one, one], NOW, width=80)
    assert one.live.session in render_sessions([one, two], NOW, width=200)


def test_for_programs_a_session_s_moments_are_text() -> None:
    told = session_json(live(1795341600000, parties=(LiveParty(names.parse_user_name("bob"), "peer", 0),)))
    assert told["started"] == "2026-11-22T10:00:00.000Z"
    assert told["parties"] == [{"user": "bob", "mode": "peer", "since": "1970-01-01T00:00:00.000Z", "remote": ""}]
    assert session_json(live(2**62))["started"] is None


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(seconds=-90), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(minutes=119), "1 hour ago"),
        (timedelta(hours=49), "2 days ago"),
    ],
)
def test_an_age_is_told_in_the_largest_unit_that_is_full(age: timedelta, said: str) -> None:
    assert describe_age(to_milliseconds(NOW - age), NOW) == said


def test_second_factors_are_listed_with_the_day_they_came() -> None:
    factors = [FactorEntry("an id", "phone", 1795341600000), FactorEntry("another", "key\x1b", 2**62)]
    assert render_factors(factors) == (
        "Name    Type Added at\n------- ---- ---------------------\nphone   TOTP 22 Nov 2026 10:00 UTC\nkey\\x1b TOTP -"
    )
    assert render_factors(factors[:1], with_ids=True).splitlines()[2] == "phone TOTP an id 22 Nov 2026 10:00 UTC"
    assert factor_json(factors[0])["added"] == "2026-11-22T10:00:00.000Z"
