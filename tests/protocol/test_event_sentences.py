from __future__ import annotations

from datetime import UTC, datetime

import pytest

from protocol import events
from protocol.event_sentences import SENTENCES, VALUE_MAX, describe_event, fields_of, time_of
from protocol.events import EventKind, Json


def test_every_kind_of_event_has_a_sentence_and_nothing_else_has() -> None:
    assert SENTENCES.keys() == events.BY_CODE.keys()


@pytest.mark.parametrize("kind", events.KINDS, ids=lambda kind: kind.code)
def test_a_sentence_says_nothing_that_its_event_may_lack(kind: EventKind) -> None:
    assert fields_of(kind.code) <= kind.fields | events.COMMON_FIELDS | {"user"}


@pytest.mark.parametrize("kind", events.KINDS, ids=lambda kind: kind.code)
def test_a_sentence_has_no_loose_ends_where_the_event_has_no_more_than_it_must(kind: EventKind) -> None:
    least: dict[str, Json] = {"event": kind.name, "code": kind.code, **dict.fromkeys(kind.fields, "x")}
    said = describe_event(least)
    assert said
    assert not set("[]{}") & set(said)
    assert "  " not in said


def test_values_stand_in_the_sentence_as_they_are() -> None:
    event: dict[str, Json] = {
        "code": "T2000I",
        "user": "ada",
        "login": "pi",
        "server_hostname": "gw-1",
        "addr.remote": "192.0.2.1:5",
    }
    assert describe_event(event) == "ada began a session on gw-1 as pi from 192.0.2.1:5"
    assert describe_event(event | {"initial_command": "{user}[x]"}).endswith(": {user}[x]")


def test_lists_tables_and_long_values_are_written_out_within_bounds() -> None:
    labelled: dict[str, Json] = {"code": "SK017I", "user": "ada", "server_hostname": "gw-1", "labels": {"env": "lab"}}
    assert describe_event(labelled).endswith("to env=lab")
    roles: list[Json] = ["access", "admin"]
    assert "roles access, admin" in describe_event({"code": "T1003I", "user": "a", "name": "b", "roles": roles})
    long = describe_event({"code": "T1004I", "user": "ada", "name": "x" * 5000})
    assert len(long) < VALUE_MAX + 40


def test_an_event_that_is_not_known_here_is_named() -> None:
    assert describe_event({"event": "moon.rise", "code": "ZZ1"}) == "moon.rise (ZZ1)"
    assert describe_event({}) == "(unknown) ((unknown))"


def test_what_is_missing_is_said_to_be() -> None:
    assert describe_event({"code": "SK002I"}) == "(unknown) signed out"


def test_an_event_that_does_not_say_when_it_was_lies_at_the_beginning_of_time() -> None:
    assert time_of({"time": "2026-11-22T10:00:00.000Z"}) == datetime(2026, 11, 22, 10, tzinfo=UTC)
    for damaged in ({}, {"time": "yesterday"}, {"time": 7}):
        assert time_of(damaged) == datetime(1970, 1, 1, tzinfo=UTC)
