from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.fields import MessageError
from protocol.locks import (
    Lock,
    LockKind,
    describe_lock,
    find_lock,
    is_in_force,
    parse_kind,
    parse_locking_mode,
    parse_message,
    parse_value,
)
from protocol.names import BadNameError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NODE = str(uuid.UUID(int=1))
LOCK = Lock(str(uuid.UUID(int=2)), "user", "alice", "gone", NOW + timedelta(hours=1), NOW, "root@harbour")
Anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    "lock",
    [
        LOCK,
        replace(LOCK, expires=None, message=""),
        replace(LOCK, kind="login", value="root"),
        replace(LOCK, kind="node", value=NODE),
    ],
)
def test_a_lock_is_read_as_it_was_written(lock: Lock) -> None:
    wire = json.loads(json.dumps(lock.to_dict()))
    assert Lock.from_dict(wire) == lock
    assert Lock.from_dict({**wire, "newer": 1}) == lock


def test_message_end_and_maker_may_be_left_out() -> None:
    wire = {key: value for key, value in LOCK.to_dict().items() if key not in {"message", "expires", "created_by"}}
    assert Lock.from_dict(wire) == replace(LOCK, message="", expires=None, created_by="")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "x"),
        ("kind", "role"),
        ("kind", None),
        ("value", "../alice"),
        ("value", 7),
        ("message", "a\nb"),
        ("expires", -1),
        ("expires", 2**62),
        ("created", None),
        ("created", "today"),
    ],
)
def test_what_is_no_lock_is_refused_by_the_name_of_the_field(name: str, value: object) -> None:
    with pytest.raises(MessageError, match=name):
        Lock.from_dict({**LOCK.to_dict(), name: value})


@given(Anything)
def test_anything_is_a_lock_or_refused(value: Any) -> None:  # noqa: ANN401 - whatever came
    with pytest.raises(MessageError):
        Lock.from_dict(value)


@given(st.data())
def test_a_lock_with_anything_in_a_field_is_read_or_refused(data: st.DataObject) -> None:
    wire = LOCK.to_dict()
    wire[data.draw(st.sampled_from(sorted(wire)))] = data.draw(Anything)
    try:
        read = Lock.from_dict(wire)
    except MessageError:
        return
    assert Lock.from_dict(read.to_dict()) == read


@pytest.mark.parametrize(
    ("kind", "good", "bad"), [("user", "alice@x.org", "a b"), ("login", "www-data", "a@b"), ("node", NODE, "gw-1")]
)
def test_what_is_locked_is_a_name_of_its_kind(kind: LockKind, good: str, bad: str) -> None:
    assert parse_value(kind, good) == good
    with pytest.raises(BadNameError):
        parse_value(kind, bad)
    assert parse_value("node", NODE.upper()) == NODE


def test_kinds_and_modes_are_those_that_are_known() -> None:
    assert [parse_kind(kind) for kind in ("user", "login", "node")] == ["user", "login", "node"]
    assert [parse_locking_mode(mode) for mode in ("strict", "best_effort")] == ["strict", "best_effort"]
    for other in ("", "off", None, ["strict"], True):
        with pytest.raises(MessageError):
            parse_kind(other)
        with pytest.raises(MessageError):
            parse_locking_mode(other)


def test_a_message_is_one_line_of_bounded_length() -> None:
    assert parse_message("  gone — für immer ") == "gone — für immer"
    assert parse_message("") == ""
    assert parse_message("x" * limits.LOCK_MESSAGE_MAX_CHARS)
    for bad in ("a\tb", "a\x1b[0m", "x" * (limits.LOCK_MESSAGE_MAX_CHARS + 1), None, 5, "\u202e", "\ud800"):
        with pytest.raises(MessageError):
            parse_message(bad)


def test_a_lock_holds_up_to_its_end_and_not_at_it() -> None:
    assert LOCK.expires is not None
    assert is_in_force(LOCK, LOCK.expires - timedelta(milliseconds=1))
    assert not is_in_force(LOCK, LOCK.expires)
    assert is_in_force(replace(LOCK, expires=None), datetime.max.replace(tzinfo=UTC))


LOCKS = (
    LOCK,
    replace(LOCK, kind="login", value="root"),
    replace(LOCK, kind="node", value=NODE),
    replace(LOCK, value="bob", expires=NOW),
)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"user": "alice"}, LOCKS[0]),
        ({"login": "root"}, LOCKS[1]),
        ({"node": NODE}, LOCKS[2]),
        ({"user": "carol", "login": "pi", "node": NODE}, LOCKS[2]),
        ({"user": "root", "login": "alice"}, None),
        ({"user": "bob"}, None),
        ({"user": "Alice"}, None),
        ({"user": ""}, None),
        ({}, None),
    ],
)
def test_a_lock_is_found_by_its_own_kind_alone_and_while_it_holds(asked: dict[str, str], found: Lock | None) -> None:
    assert find_lock(LOCKS, NOW, **asked) == found


def test_who_is_locked_out_is_told_what_holds_and_why() -> None:
    assert describe_lock(LOCK) == 'lock targeting User:"alice" is in force: gone'
    assert describe_lock(replace(LOCK, message="")) == 'lock targeting User:"alice" is in force'
    assert describe_lock(LOCKS[2]) == f'lock targeting Node:"{NODE}" is in force: gone'
    assert describe_lock(LOCKS[1]) == 'lock targeting Login:"root" is in force: gone'
