from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import events, limits
from protocol.events import BadEventError, check_event, clip

Scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
AnyJson = st.recursive(
    Scalar,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def test_every_kind_is_known_by_a_code_of_its_own() -> None:
    assert len(events.BY_CODE) == len(events.KINDS) > 20
    assert all(re.fullmatch(r"[A-Z0-9]+[IWE]", code) for code in events.BY_CODE)
    assert all(re.fullmatch(r"[a-z_.]+", kind.name) for kind in events.KINDS)


def test_no_kind_asks_for_what_it_also_leaves_open() -> None:
    for kind in events.KINDS:
        assert not kind.fields & kind.optional, kind.name


def test_the_codes_are_teleports_where_teleport_has_the_event() -> None:
    codes = {
        "T1000I": "user.login",
        "T1000W": "user.login",
        "T1002I": "user.create",
        "T2000I": "session.start",
        "T2004I": "session.end",
        "T3002I": "exec",
        "T3007W": "auth",
        "TJ002I": "instance.join",
        "TJT00I": "join_token.create",
        "TLK00I": "lock.created",
        "TLK01I": "lock.deleted",
    }
    assert {code: events.BY_CODE[code].name for code in codes} == codes


def test_a_kinds_fields_are_all_needed_and_no_others_known() -> None:
    kind = events.USER_LOGOUT
    check_event(kind, {"user": "a"})
    check_event(kind, {"user": "a", "addr.remote": "x", "via": "web", "device_time": "t"})
    with pytest.raises(BadEventError, match=r"user\.logout \(SK002I\) lacks user"):
        check_event(kind, {})
    with pytest.raises(BadEventError, match="does not know colour"):
        check_event(kind, {"user": "a", "colour": "red"})


@given(st.dictionaries(st.text(), AnyJson, max_size=5))
def test_any_fields_are_checked_with_the_one_error(fields: dict[str, Any]) -> None:
    for kind in events.KINDS:
        with pytest.raises(BadEventError):
            check_event(kind, {**fields, "\ud800": 1})


@given(st.recursive(Scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=99), inner)))
def test_small_values_are_left_as_they_are(value: Any) -> None:  # noqa: ANN401 - JSON
    text = json.dumps(value)
    assert json.dumps(clip(value)) == text


def test_long_and_wide_values_are_cut() -> None:
    long = "x" * (limits.AUDIT_FIELD_MAX_CHARS + 1)
    assert clip(long) == "x" * limits.AUDIT_FIELD_MAX_CHARS + "…"
    assert clip([long] * 2000) == [clip(long)] * 1000
    wide: dict[str, Any] = {"y" * 200: {"z": long}} | {str(count): 1 for count in range(2000)}
    clipped = clip(wide)
    assert isinstance(clipped, dict)
    assert len(clipped) == 1000
    assert clipped["y" * 100] == {"z": clip(long)}


def test_what_nests_too_deep_is_left_out() -> None:
    deep: Any = json.loads("[" * 900 + "]" * 900)
    for _ in range(20):
        deep = clip(deep)
        assert isinstance(deep, list)
        deep = deep[0]
    assert deep == "…"
