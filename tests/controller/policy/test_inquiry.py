from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.inquiry import Sieve, Wanted, time_in

NODE = "6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f"
EVENT: dict[str, Any] = {
    "event": "session.end",
    "code": "T2004I",
    "time": "2026-11-22T10:00:00.000Z",
    "uid": "0f6a",
    "user": "alice",
    "participants": ["alice", "bob"],
    "sid": "7645d523-60cb-436d-b732-99c5df14b7c4",
    "server_id": NODE,
    "server_hostname": "gw-1",
    "error": 'said "nö\u202e"',
    "count": 7,
    "labels": {"env": "Lab"},
    "prev": "abcdef",
}


def passes(wanted: Wanted, event: dict[str, Any] = EVENT) -> bool:
    """Judge an event by both looks: the first must let pass whatever the second does."""
    sieve = Sieve(wanted)
    may = sieve.may_pass(json.dumps(event, separators=(",", ":")).encode())
    does = sieve.passes(event)
    assert may or not does
    return may and does


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(kinds=("session.end", "exec")),
        Wanted(codes=("T2004I",)),
        Wanted(kinds=("exec",), codes=("T2004I",)),
        Wanted(user="alice"),
        Wanted(user="bob"),
        Wanted(node=NODE),
        Wanted(node="gw-1"),
        Wanted(session="7645d523-60cb-436d-b732-99c5df14b7c4"),
        Wanted(since=datetime(2026, 11, 22, 10, tzinfo=UTC), until=datetime(2026, 11, 22, 10, 0, 1, tzinfo=UTC)),
        Wanted(text="ALICE"),
        Wanted(text="lab"),
        Wanted(text="env"),
        Wanted(text="NÖ"),
        Wanted(text='"n'),
        Wanted(text='SAID "'),
        Wanted(text="7"),
    ],
)
def test_what_is_asked_for_is_found(wanted: Wanted) -> None:
    assert passes(wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(kinds=("exec",)),
        Wanted(kinds=("T2004I",)),
        Wanted(codes=("session.end",)),
        Wanted(user="carol"),
        Wanted(user="ALICE"),
        Wanted(user="gw-1"),
        Wanted(node="alice"),
        Wanted(node="gw"),
        Wanted(session=NODE),
        Wanted(since=datetime(2026, 11, 22, 10, 0, 1, tzinfo=UTC)),
        Wanted(until=datetime(2026, 11, 22, 10, tzinfo=UTC)),
        Wanted(text="abcdef"),  # a hash is nothing that anybody said
        Wanted(text="mallory"),
        Wanted(user="alice", text="mallory"),
    ],
)
def test_what_is_not_asked_for_is_left_out(wanted: Wanted) -> None:
    assert not passes(wanted)


@pytest.mark.parametrize("wanted", [Wanted(kinds=("session.end",)), Wanted(codes=("exec", "T2004I"))])
def test_an_event_whose_names_stand_elsewhere_is_found(wanted: Wanted) -> None:
    assert passes(wanted, dict(reversed(EVENT.items())))


@pytest.mark.parametrize("name", ["\u00e9nd", 'a"b', "a\\b", ""])
def test_an_event_of_an_odd_name_is_found(name: str) -> None:
    assert passes(Wanted(kinds=(name,)), EVENT | {"event": name})
    assert passes(Wanted(codes=(name,)), EVENT | {"code": name})
    assert not passes(Wanted(kinds=(f"{name}.",)), EVENT | {"event": name})


def test_an_event_of_odd_values_is_judged_all_the_same() -> None:
    odd = {"event": 7, "code": None, "time": [], "user": {"a": 1}, "participants": "alice", "deep": [[[["x"]]]]}
    assert passes(Wanted(text="x"), odd)
    assert not passes(Wanted(user="alice"), odd)
    deep: Any = "here"
    for _ in range(100):
        deep = [deep]
    assert not Sieve(Wanted(text="here")).passes({"deep": deep})


@given(st.text(max_size=5), st.dictionaries(st.text(max_size=3), st.text(max_size=10), max_size=4))
def test_the_look_at_the_bytes_loses_nothing(text: str, more: dict[str, str]) -> None:
    # In capitals where that is ASCII. Beyond it some letters are forms of others, and their capitals other words.
    sought = text.upper() if text.isascii() else text
    assert passes(Wanted(text=sought), {**more, "time": "2026-11-22T10:00:00.000Z", "say": f"x{text}y"})


@pytest.mark.parametrize("text", ['user "bob', "C:\\\\user bob", 'a"b user bob\\"c'])
def test_most_lines_need_not_be_read_for_a_text_with_quotes_or_backslashes_either(text: str) -> None:
    sieve = Sieve(Wanted(text=text))
    assert not sieve.may_be_in(b'{"say":"somebody else"}\n' * 100)
    line = json.dumps({"say": text}).encode()
    assert sieve.may_be_in(line + b"\n")
    assert sieve.may_pass(line)


def test_a_block_is_passed_over_only_where_none_of_its_lines_is_wanted() -> None:
    line = json.dumps(EVENT, separators=(",", ":")).encode()
    block = b'{"event":"x"}\n' * 50 + line + b"\n"
    for wanted in (
        Wanted(user="bob"),
        Wanted(node=NODE),
        Wanted(session=EVENT["sid"]),
        Wanted(user="bob", text="GW-1"),
    ):
        assert Sieve(wanted).may_be_in(block)
    for wanted in (Wanted(user="carol"), Wanted(user="bob", node="gw-2"), Wanted(user="bob", text="gw-2")):
        assert not Sieve(wanted).may_be_in(block)


def test_a_line_without_a_time_is_left_to_the_second_look() -> None:
    assert time_in(b'{"event":"x"}') == ""
    assert time_in(json.dumps(EVENT, separators=(",", ":")).encode()) == EVENT["time"]
