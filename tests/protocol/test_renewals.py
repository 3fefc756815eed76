from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.fields import MessageError
from protocol.names import NodeId
from protocol.renewals import Challenge, ChallengeRequest, RenewRequest, parse_attempt, renewal_statement

NODE = NodeId(str(uuid.UUID(int=1)))
ATTEMPT = "0123456789abcdef" * 2
REQUEST = RenewRequest(NODE, 3, ATTEMPT, "challenge", "pem", "AAAA", "0.2.0")
SAMPLES: tuple[Any, ...] = (ChallengeRequest(NODE), Challenge("challenge", 1_795_000_000_000), REQUEST)
Anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_message_is_read_as_it_was_written(sample: Any) -> None:  # noqa: ANN401 - any message
    wire = json.loads(json.dumps(sample.to_dict()))
    assert type(sample).from_dict(wire) == sample
    assert type(sample).from_dict({**wire, "newer": 1}) == sample


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_missing_field_is_named(sample: Any) -> None:  # noqa: ANN401 - any message
    wire = sample.to_dict()
    for name in wire.keys() - {"version", "certificate"}:
        with pytest.raises(MessageError, match=f"{name}: missing"):
            type(sample).from_dict({key: value for key, value in wire.items() if key != name})


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
@given(data=st.data())
def test_a_message_with_anything_in_a_field_is_read_or_refused(sample: Any, data: st.DataObject) -> None:  # noqa: ANN401
    wire = sample.to_dict()
    name = data.draw(st.sampled_from(sorted(wire)))
    wire[name] = data.draw(Anything)
    try:
        read = type(sample).from_dict(wire)
    except MessageError as err:
        assert str(err).startswith(name)  # noqa: PT017 - most of what is drawn is refused, and that is as good
        return
    assert type(sample).from_dict(read.to_dict()) == read


@pytest.mark.parametrize("kind", [type(sample) for sample in SAMPLES])
@given(value=Anything)
def test_anything_is_a_message_or_refused(kind: Any, value: Any) -> None:  # noqa: ANN401 - whatever a peer sent
    with pytest.raises(MessageError):
        kind.from_dict(value)


def test_an_agent_s_version_is_optional_and_cut() -> None:
    wire = REQUEST.to_dict()
    assert RenewRequest.from_dict({**wire, "version": None}).version == ""
    assert len(RenewRequest.from_dict({**wire, "version": "x" * 200}).version) == 50


@pytest.mark.parametrize("value", [None, 5, "", ATTEMPT[:-1], ATTEMPT + "0", ATTEMPT.upper(), ATTEMPT + "\n"])
def test_an_attempt_is_32_hexadecimal_digits(value: object) -> None:
    assert parse_attempt(ATTEMPT) == ATTEMPT
    with pytest.raises(MessageError):
        parse_attempt(value)


def test_a_generation_is_no_less_than_nothing() -> None:
    assert RenewRequest.from_dict({**REQUEST.to_dict(), "generation": 0}).generation == 0
    with pytest.raises(MessageError, match="generation"):
        RenewRequest.from_dict({**REQUEST.to_dict(), "generation": -1})


def test_what_is_signed_to_renew_cannot_be_read_in_two_ways() -> None:
    one = renewal_statement(NODE, 1, ATTEMPT, "ab", "c")
    assert one != renewal_statement(NODE, 1, ATTEMPT, "a", "bc")
    assert one != renewal_statement(NODE, 2, ATTEMPT, "ab", "c")
    assert one == renewal_statement(NODE, 1, ATTEMPT, "ab", " c\n")
    assert one.startswith(b"\0\0\0\x11skerry renewal v1\0\0\0\x24")
