from __future__ import annotations

import json
import uuid
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.control import NodeDocument, PolicyDocument, Pulse
from protocol.endorsement import Succession
from protocol.fields import MessageError
from protocol.locks import Lock
from protocol.names import ClusterName, NodeId, NodeName, UserName
from protocol.recordings import RecordingTerms

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NODE = NodeId(str(uuid.UUID(int=1)))
LOCK = Lock(str(uuid.UUID(int=2)), "user", "alice", "Grüße", None, NOW)
TERMS = RecordingTerms("strict", record_input=True, key_id=str(uuid.UUID(int=3)), public_key=b"p" * 32, time=5)
POLICY = PolicyDocument(
    version=7,
    issued=5,
    cluster=ClusterName("harbour"),
    user_authorities=("u", "v"),
    host_authorities=("h",),
    tls_authorities=("t",),
    recording=TERMS,
    locks=(LOCK,),
    locking_mode="strict",
    successions=(Succession("a", "b", b"signed"),),
    renew=("host", "tls"),
    roles={"access": {"allow": ["*"]}},
    void_before={UserName("alice"): 1_795_000_000_000},
)
PULSE = Pulse(time=1_795_000_000_000, policy=7)
NODE_DOCUMENT = NodeDocument(NODE, 3, NodeName("kiosk"), {"env": "lab"})
SAMPLES: tuple[Any, ...] = (POLICY, PULSE, NODE_DOCUMENT)
OPTIONAL = {"successions", "renew", "roles", "void_before"}
Anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def changed(sample: Any, **values: object) -> str:  # noqa: ANN401 - any document
    return json.dumps({**json.loads(sample.encode()), **values})


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_document_is_read_as_it_was_written(sample: Any) -> None:  # noqa: ANN401 - any document
    assert type(sample).decode(sample.encode()) == sample
    assert type(sample).decode(changed(sample, newer=[1])) == sample


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_two_who_say_the_same_write_the_same_bytes(sample: Any) -> None:  # noqa: ANN401 - any document
    assert replace(sample).encode() == sample.encode()
    assert "\n" not in sample.encode()
    assert ": " not in sample.encode()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_missing_field_is_named(sample: Any) -> None:  # noqa: ANN401 - any document
    said = json.loads(sample.encode())
    assert set(said) == {field.name for field in fields(sample)}
    for name in said.keys() - OPTIONAL:
        with pytest.raises(MessageError, match=f"{name}: missing"):
            type(sample).decode(json.dumps({key: value for key, value in said.items() if key != name}))


def test_what_an_older_controller_does_not_say_is_nothing() -> None:
    said = {key: value for key, value in json.loads(POLICY.encode()).items() if key not in OPTIONAL}
    lesser = replace(POLICY, successions=(), renew=(), roles={}, void_before={})
    assert PolicyDocument.decode(json.dumps(said)) == lesser


@pytest.mark.parametrize("name", ["user_authorities", "host_authorities", "tls_authorities"])
@pytest.mark.parametrize("value", [[], None, "u", [5], ["\ud800"]])
def test_a_document_that_trusts_nobody_is_refused(name: str, value: object) -> None:
    with pytest.raises(MessageError, match=name):
        PolicyDocument.decode(changed(POLICY, **{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", -1),
        ("version", "7"),
        ("issued", 1.5),
        ("cluster", "../x"),
        ("recording", {}),
        ("locks", {}),
        ("locks", [{}]),
        ("locks", None),
        ("locking_mode", "lenient"),
        ("locking_mode", None),
        ("successions", ["x"]),
        ("renew", ["user"]),
        ("renew", [["host"]]),
        ("roles", []),
        ("void_before", []),
        ("void_before", {"": 1}),
        ("void_before", {"../x": 1}),
        ("void_before", {"alice": -1}),
        ("void_before", {"alice": "1"}),
    ],
)
def test_what_a_document_cannot_say_is_refused_by_the_name_of_the_field(name: str, value: object) -> None:
    with pytest.raises(MessageError, match=name):
        PolicyDocument.decode(changed(POLICY, **{name: value}))


def test_the_number_of_locks_is_bounded() -> None:
    most = changed(POLICY, locks=[LOCK.to_dict()] * limits.LOCKS_MAX)
    assert len(PolicyDocument.decode(most).locks) == limits.LOCKS_MAX
    with pytest.raises(MessageError, match=f"locks: more than {limits.LOCKS_MAX}"):
        PolicyDocument.decode(changed(POLICY, locks=[LOCK.to_dict()] * (limits.LOCKS_MAX + 1)))


def test_the_number_of_people_whose_certificates_are_void_is_bounded() -> None:
    most = {f"user-{number}": 1 for number in range(limits.LOCKS_MAX)}
    assert len(PolicyDocument.decode(changed(POLICY, void_before=most)).void_before) == limits.LOCKS_MAX
    with pytest.raises(MessageError, match=f"void_before: more than {limits.LOCKS_MAX}"):
        PolicyDocument.decode(changed(POLICY, void_before={**most, "one.more": 1}))


@pytest.mark.parametrize("values", [{"node_id": "gw-1"}, {"version": -1}, {"name": "a b"}, {"labels": {"": ""}}])
def test_a_document_for_no_node_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(MessageError, match=next(iter(values))):
        NodeDocument.decode(changed(NODE_DOCUMENT, **values))


@pytest.mark.parametrize("kind", [PolicyDocument, Pulse, NodeDocument])
@given(body=st.text() | Anything.map(json.dumps))
def test_anything_is_a_document_or_refused(kind: Any, body: str) -> None:  # noqa: ANN401 - a kind of document
    with pytest.raises(MessageError):
        kind.decode(body)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
@given(data=st.data())
def test_a_document_with_anything_in_a_field_is_read_or_refused(sample: Any, data: st.DataObject) -> None:  # noqa: ANN401
    name = data.draw(st.sampled_from(sorted(json.loads(sample.encode()))))
    try:
        read = type(sample).decode(changed(sample, **{name: data.draw(Anything)}))
    except MessageError as err:
        assert str(err).startswith(name)  # noqa: PT017 - most of what is drawn is refused, and that is as good
        return
    assert type(sample).decode(read.encode()) == read
