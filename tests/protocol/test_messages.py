from __future__ import annotations

import json
import uuid
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits, messages, recordings
from protocol.endorsement import Endorsed
from protocol.messages import MessageError
from protocol.names import ClusterName, Login, NodeId, NodeName, RoleName, SessionId, TokenText, UserName
from protocol.secret import Secret

NODE = NodeId(str(uuid.UUID(int=1)))
ENTRY = messages.NodeEntry(
    node_id=NODE,
    name=NodeName("kiosk"),
    address="⟵ Tunnel",
    labels={"env": "staging"},
    status="tunnel down",
    since=5,
    tunnel="down",
    presence="online",
    reason="stopped",
    last_seen=6,
    version="0.2.0",
)
EVENT = messages.NodeEvent(1, str(uuid.UUID(int=2)), "T3002I", "2026-11-22T10:47:00Z", {"command": ["ls", {"x": None}]})
TERMS = recordings.RecordingTerms(
    mode="strict", record_input=False, key_id=str(uuid.UUID(int=3)), public_key=b"for anyone to see", time=1
)
RECORDING = recordings.RecordingEntry(
    session=SessionId(str(uuid.UUID(int=4))),
    kind="ssh",
    participants=("alice", "bob"),
    login="root",
    node=NODE,
    hostname=NodeName("kiosk"),
    command="uptime",
    interactive=False,
    started=1,
    duration=2,
    size=3,
    state="arriving",
)
SAMPLES: tuple[Any, ...] = (
    messages.Ping(ClusterName("c"), "0.1.0", ":3023", ":3024", ":3025", ":8883"),
    messages.SignInRequest(UserName("alice"), Secret("insecure"), Secret("123456"), "ssh-ed25519 AAAA", 60, "tsh"),
    messages.SignInReply(
        user=UserName("alice"),
        cluster_name=ClusterName("c"),
        roles=(RoleName("access"),),
        logins=(Login("root"),),
        certificate="x",
        host_authorities=("y", "z"),
        session_token=Secret("insecure-session-token"),
        valid_until=1,
        ssh_address=":3023",
    ),
    ENTRY,
    messages.NodeList((ENTRY,)),
    messages.JoinRequest(
        token=Secret(TokenText("insecure-join-token")),
        name=NodeName("kiosk"),
        labels={"env": "staging"},
        ssh_public_key="ssh-ed25519 AAAA",
        tls_request="pem",
        proof="AAAA",
        version="0.1.0",
    ),
    messages.JoinReply(
        node_id=NODE,
        name=NodeName("kiosk"),
        cluster_name=ClusterName("c"),
        labels={"env": "staging"},
        host_certificate="h",
        tls_certificate="t",
        user_authorities=("u",),
        host_authorities=("v",),
        tls_authorities=("w",),
        tunnel_address=":3024",
        api_address=":3025",
        recording=TERMS,
        mqtt_address=":8883",
        generation=3,
        pending=True,
        policy=Endorsed("policy", "{}", "ssh-ed25519 AAAA", b"signed"),
        node=Endorsed("node", "{}", "ssh-ed25519 AAAA", b"signed"),
    ),
    EVENT,
    messages.EventBatch((EVENT,)),
    messages.EventReceipt(7),
    messages.ErrorReply("no"),
    TERMS,
    RECORDING,
    recordings.RecordingList((RECORDING,), is_cut=True),
    recordings.RecordingKey(Secret(b"insecure key"), b"signer"),
)
# What a peer may leave out: those from before it was there do.
OPTIONAL = {
    *("client", "version", "recording", "is_cut", "key", "mqtt_address", "generation", "pending", "policy", "node"),
    *("status", "since", "tunnel", "presence", "reason", "last_seen"),
}
TYPES = sorted({type(sample) for sample in SAMPLES}, key=lambda kind: kind.__name__)
Anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def opened(value: object) -> object:
    """Return a message as something that compares by value: secrets compare by identity."""
    if isinstance(value, Secret):
        return ("secret", value.reveal())
    if is_dataclass(value):
        return [(field.name, opened(getattr(value, field.name))) for field in fields(value)]
    return [opened(item) for item in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_message_is_read_as_it_was_written(sample: Any) -> None:  # noqa: ANN401 - any message
    wire = json.dumps(sample.to_dict()).encode()
    assert opened(type(sample).from_dict(messages.decode(wire))) == opened(sample)
    assert b"newer" not in wire
    newer = {**sample.to_dict(), "newer": [1]}
    assert opened(type(sample).from_dict(newer)) == opened(sample)


def test_every_message_of_the_module_has_a_sample() -> None:
    said = [*vars(messages).values(), *vars(recordings).values()]
    known = {kind for kind in said if isinstance(kind, type) and hasattr(kind, "from_dict")} - {Endorsed}
    assert known == set(TYPES)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
@given(data=st.data())
def test_a_message_with_anything_in_a_field_is_read_or_refused(sample: Any, data: st.DataObject) -> None:  # noqa: ANN401
    wire = sample.to_dict()
    name = data.draw(st.sampled_from(sorted(wire)))
    wire[name] = data.draw(Anything)
    try:
        read = type(sample).from_dict(wire)
    except MessageError as err:
        refusal = str(err)
    else:
        refusal = ""
        json.dumps(read.to_dict())
    assert refusal == "" or refusal.startswith(name)


@pytest.mark.parametrize("kind", TYPES)
@given(value=Anything)
def test_anything_is_a_message_or_refused(kind: Any, value: Any) -> None:  # noqa: ANN401 - whatever a peer sent
    with pytest.raises(MessageError):
        kind.from_dict(value)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_missing_field_is_named(sample: Any) -> None:  # noqa: ANN401 - any message
    wire = sample.to_dict()
    for name in wire.keys() - OPTIONAL:
        with pytest.raises(MessageError, match=f"{name}: missing"):
            type(sample).from_dict({key: value for key, value in wire.items() if key != name})


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"nul", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5000, b"\x00"],
)
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(MessageError, match="not JSON"):
        messages.decode(body)


@given(st.binary())
def test_any_body_is_json_or_refused(body: bytes) -> None:
    try:
        value = messages.decode(body)
    except MessageError:
        return
    json.dumps(value)


@pytest.mark.parametrize("value", [-1, 2**63, 1.0, True, "1", None, 10**400])
def test_a_number_is_whole_and_fits_63_bits(value: object) -> None:
    with pytest.raises(MessageError, match="sequence: not a whole number"):
        messages.EventReceipt.from_dict({"sequence": value})


@pytest.mark.parametrize("value", [None, 1, [], "x" * (16 * 1024 + 1), "\ud800"])
def test_a_text_is_a_text_of_bounded_length_that_can_be_sent(value: object) -> None:
    with pytest.raises(MessageError, match="certificate: not a text"):
        messages.JoinReply.from_dict({**SAMPLES[6].to_dict(), "host_certificate": value})


def test_a_clients_name_and_version_are_optional_and_cut() -> None:
    wire = SAMPLES[1].to_dict()
    assert messages.SignInRequest.from_dict({**wire, "client": None}).client == ""
    assert len(messages.SignInRequest.from_dict({**wire, "client": "x" * 200}).client) == 100
    assert len(messages.JoinRequest.from_dict({**SAMPLES[5].to_dict(), "version": "x" * 200}).version) == 50


def test_a_batch_is_bounded() -> None:
    full = {"events": [EVENT.to_dict()] * limits.EVENT_BATCH_MAX}
    assert len(messages.EventBatch.from_dict(full).events) == limits.EVENT_BATCH_MAX
    full["events"].append(EVENT.to_dict())
    with pytest.raises(MessageError, match=f"more than {limits.EVENT_BATCH_MAX}"):
        messages.EventBatch.from_dict(full)


def test_an_events_fields_are_an_object() -> None:
    with pytest.raises(MessageError, match="fields: not an object"):
        messages.NodeEvent.from_dict({**EVENT.to_dict(), "fields": []})


def test_no_message_shows_its_secrets() -> None:
    for sample in SAMPLES:
        assert "insecure" not in repr(sample)


def test_a_join_statement_cannot_be_read_in_two_ways() -> None:
    assert messages.join_statement("t", "a", "bc") != messages.join_statement("t", "ab", "c")
    assert messages.join_statement("t", " a\n", "b ") == messages.join_statement("t", "a", "b")
    assert messages.join_statement("t", "a", "b").startswith(b"\0\0\0\x0eskerry join v1\0\0\0\x01t")


@pytest.mark.parametrize("name", ["tunnel_address", "api_address", "mqtt_address"])
def test_an_address_that_nobody_can_dial_is_refused(name: str) -> None:
    with pytest.raises(MessageError, match=f"{name}: should be HOST:PORT"):
        messages.JoinReply.from_dict({**SAMPLES[6].to_dict(), name: "a:b:c"})


def test_what_a_newer_peer_says_of_a_node_is_read_as_not_known() -> None:
    newer = {**ENTRY.to_dict(), "status": "asleep", "tunnel": ["up"], "presence": 7}
    read = messages.NodeEntry.from_dict(newer)
    assert (read.status, read.tunnel, read.presence) == ("unknown", "unknown", "unknown")
    assert messages.NodeEntry.from_dict(ENTRY.to_dict()).status == "tunnel down"


def test_a_reply_of_before_there_was_a_broker_has_no_address_of_one_and_the_first_generation() -> None:
    said = SAMPLES[6].to_dict()
    older = {key: value for key, value in said.items() if key not in OPTIONAL}
    reply = messages.JoinReply.from_dict(older)
    assert (reply.mqtt_address, reply.generation, reply.pending, reply.policy) == ("", 1, False, None)
    assert messages.JoinReply.from_dict({**said, "mqtt_address": ""}).mqtt_address == ""


def test_a_state_of_a_node_is_one_of_those_that_there_are() -> None:
    assert messages.parse_node_status("tunnel down") == "tunnel down"
    for wrong in ("asleep", "", None, ["online"]):
        with pytest.raises(MessageError, match="not one of online, tunnel down"):
            messages.parse_node_status(wrong)
