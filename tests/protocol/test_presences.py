from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.fields import MessageError
from protocol.presences import Beat, NodeState, parse_instance

INSTANCE = "0123456789abcdef"
STATE = NodeState(INSTANCE, None, "0.2.0", 30, 1_000_000, 16_000, "Linux aarch64")
BEAT = Beat(
    uptime=86_400,
    load=42,
    memory=500_000,
    disk=8_000,
    temperature=-53,
    round_trip=123,
    reconnects=1,
    spool_files=2,
    spool_bytes=3_000_000,
    clock_offset=-1_763_000_000_000,
    tunnel=True,
    sessions=1,
    policy=1_795_000_000,
    generation=4,
)
Anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=3),
)


def test_a_state_is_read_as_it_was_written() -> None:
    assert NodeState.decode(STATE.encode()) == STATE


@pytest.mark.parametrize("farewell", ["stopped", "lost"])
def test_a_farewell_says_who_goes_and_how_and_nothing_else(farewell: Any) -> None:  # noqa: ANN401 - one of the literal's
    payload = replace(STATE, farewell=farewell).encode()
    assert NodeState.decode(payload) == NodeState(INSTANCE, farewell)
    assert len(payload) < 80


def test_a_state_of_a_newer_agent_is_read_as_far_as_it_is_known() -> None:
    newer = {**json.loads(STATE.encode()), "v": 2, "colour": "red"}
    assert NodeState.decode(json.dumps(newer).encode()) == STATE


@pytest.mark.parametrize(("said", "read"), [(0, 1), (30, 30), (10**9, limits.HEARTBEAT_MAX_SECONDS)])
def test_an_interval_is_brought_within_its_bounds(said: int, read: int) -> None:
    assert NodeState.decode(replace(STATE, interval=said).encode()).interval == read


def test_texts_are_cut() -> None:
    found = NodeState.decode(replace(STATE, version="v" * 200, platform="p" * 200).encode())
    assert (len(found.version), len(found.platform)) == (64, 64)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b'{"instance":"x"}',
        b'{"instance":5}',
        json.dumps({"instance": INSTANCE, "farewell": "murdered"}).encode(),
        json.dumps({"instance": INSTANCE, "memory": -1}).encode(),
        json.dumps({"instance": INSTANCE.upper()}).encode(),
        json.dumps({"instance": INSTANCE, "version": "x" * limits.NODE_STATE_MAX}).encode(),
        b"[" * 1000,
    ],
)
def test_what_is_no_state_is_refused(payload: bytes) -> None:
    with pytest.raises(MessageError):
        NodeState.decode(payload)


def test_an_instance_is_16_hexadecimal_digits() -> None:
    assert parse_instance(INSTANCE) == INSTANCE
    for other in (None, INSTANCE[:-1], INSTANCE + "0", INSTANCE + "\n"):
        with pytest.raises(MessageError):
            parse_instance(other)


def test_a_beat_is_read_as_it_was_written_and_is_small() -> None:
    payload = BEAT.encode()
    assert Beat.decode(payload) == BEAT
    assert len(payload) < 100
    assert b" " not in payload


def test_what_a_device_does_not_know_is_left_open() -> None:
    unsure = replace(BEAT, temperature=None, round_trip=None, clock_offset=None, tunnel=False)
    assert Beat.decode(unsure.encode()) == unsure


def test_a_beat_of_a_newer_agent_that_says_more_is_read_as_far_as_it_is_known() -> None:
    assert Beat.decode(json.dumps([*json.loads(BEAT.encode()), 7, "more"]).encode()) == BEAT


def test_a_beat_for_listings_names_every_field() -> None:
    assert set(BEAT.to_dict()) == {field.name for field in fields(Beat)}
    assert json.loads(json.dumps(BEAT.to_dict()))["temperature"] == -53


@pytest.mark.parametrize("position", range(1, 15))
@pytest.mark.parametrize("value", ["1", 1.5, [], True, 2**53, -(2**53), 10**400])
def test_a_value_that_is_no_number_in_bounds_is_refused(position: int, value: object) -> None:
    values = json.loads(BEAT.encode())
    values[position] = value
    is_flag = list(BEAT.to_dict())[position - 1] == "tunnel"
    if is_flag and value is True:
        assert Beat.decode(json.dumps(values).encode()).tunnel
        return
    with pytest.raises(MessageError):
        Beat.decode(json.dumps(values).encode())


@pytest.mark.parametrize("name", [field.name for field in fields(Beat)])
def test_only_what_can_be_below_nothing_may_be(name: str) -> None:
    values = [1, *(-1 if field.name == name else 0 for field in fields(Beat))]
    below = json.dumps(values)
    if name in {"temperature", "clock_offset"}:
        assert getattr(Beat.decode(below.encode()), name) == -1
    else:
        with pytest.raises(MessageError, match=name):
            Beat.decode(below.encode())


@pytest.mark.parametrize("name", [field.name for field in fields(Beat)])
def test_only_what_a_device_may_not_know_can_be_left_open(name: str) -> None:
    values = [1, *(None if key == name else value for key, value in BEAT.to_dict().items())]
    if name in {"temperature", "round_trip", "clock_offset"}:
        assert getattr(Beat.decode(json.dumps(values).encode()), name) is None
    else:
        with pytest.raises(MessageError, match=name):
            Beat.decode(json.dumps(values).encode())


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b"[]", b"[1]", b"[2,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", b"1" * (limits.BEAT_MAX + 1), b"\x00"]
)
def test_what_is_no_beat_is_refused(payload: bytes) -> None:
    with pytest.raises(MessageError):
        Beat.decode(payload)


@given(st.binary(max_size=600) | Anything.map(lambda value: json.dumps(value).encode()))
def test_anything_is_a_message_or_refused(payload: bytes) -> None:
    for kind in (NodeState, Beat):
        with pytest.raises(MessageError):
            kind.decode(payload)


@given(st.data())
def test_anything_in_a_field_of_a_state_is_read_or_refused(data: st.DataObject) -> None:
    said = json.loads(STATE.encode())
    said[data.draw(st.sampled_from(sorted(said)))] = data.draw(Anything)
    try:
        read = NodeState.decode(json.dumps(said).encode())
    except MessageError:
        return
    assert NodeState.decode(read.encode()) == read
