from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.control import describe_news, judge_node, judge_policy, judge_pulse, read
from protocol import limits
from protocol.control import NodeDocument, PolicyDocument, Pulse
from protocol.decision import Granted, Refused
from protocol.endorsement import Endorsed, EndorsedKind, Succession, statement, succession_statement
from protocol.locks import Lock
from protocol.names import ClusterName, NodeId, NodeName
from protocol.recordings import RecordingTerms
from tests.harness.simulated_controller import public_line

OURS, OTHER = ClusterName("ours"), ClusterName("other")
NODE, STRANGER = NodeId("00000000-0000-4000-8000-000000000001"), NodeId("00000000-0000-4000-8000-000000000002")
FIRST, SECOND, THIRD, FOREIGN = (Ed25519PrivateKey.generate() for _ in range(4))
TERMS = RecordingTerms("strict", record_input=True, key_id=str(NODE), public_key=b"k", time=1)


def endorse(kind: EndorsedKind, body: str, key: Ed25519PrivateKey = FIRST, cluster: ClusterName = OURS) -> Endorsed:
    return Endorsed(kind, body, public_line(key), key.sign(statement(kind, cluster, body)))


def word(old: Ed25519PrivateKey, new: Ed25519PrivateKey) -> Succession:
    before, after = public_line(old), public_line(new)
    return Succession(before, after, old.sign(succession_statement(OURS, before, after)))


def document(*signers: Ed25519PrivateKey, version: int = 5) -> PolicyDocument:
    hosts = tuple(public_line(key) for key in signers or (FIRST,))
    return PolicyDocument(version, 1, OURS, (public_line(THIRD),), hosts, ("PEM",), TERMS)


def judged(endorsed: Endorsed, *, held: int = 0) -> Granted[PolicyDocument] | Refused:
    return judge_policy(endorsed, trusted=(public_line(FIRST),), cluster=OURS, held=held)


def check(answer: object) -> str:
    assert isinstance(answer, Refused)
    return answer.check


def test_a_policy_document_of_our_host_ca_holds() -> None:
    assert judged(endorse("policy", document().encode())) == Granted(document())


def test_the_same_version_may_come_again() -> None:
    assert isinstance(judged(endorse("policy", document().encode()), held=5), Granted)


def test_what_a_document_changes_is_told_in_words() -> None:
    before, lock = document(), Lock("0" * 8, "user", "alice", "gone", None, datetime(2026, 1, 1, tzinfo=UTC))
    assert describe_news(None, before) == "the first it has, with 0 locks"
    assert describe_news(before, replace(before, locks=(lock,))) == "1 locks, where there were 0"
    retold = replace(before, version=6, issued=2, recording=replace(TERMS, time=2))
    assert describe_news(before, retold) == "nothing else is new"
    rotated = replace(before, tls_authorities=("NEW", "PEM"), renew=("tls",), locking_mode="strict")
    assert describe_news(before, rotated) == "TLS authorities, certificates to be renewed, the locking mode"


def test_an_older_version_is_refused() -> None:
    assert check(judged(endorse("policy", document().encode()), held=6)) == "Y3"


def test_a_foreign_key_is_refused_whatever_it_says_of_itself() -> None:
    policy = document(FOREIGN)
    assert check(judged(endorse("policy", policy.encode(), FOREIGN))) == "E2"
    claimed = replace(policy, successions=(replace(word(FOREIGN, FOREIGN), old=public_line(FIRST)),))
    assert check(judged(endorse("policy", claimed.encode(), FOREIGN))) == "E2"


def test_a_changed_body_is_refused() -> None:
    good = endorse("policy", document().encode())
    assert check(judged(replace(good, body=document(version=9).encode()))) == "E3"


def test_a_pulse_is_no_policy_document() -> None:
    assert check(judged(replace(endorse("policy", document().encode()), kind="pulse"))) == "E1"


def test_a_document_for_another_cluster_is_refused() -> None:
    policy = replace(document(), cluster=OTHER)
    assert check(judged(endorse("policy", policy.encode()))) == "Y2"
    assert check(judged(endorse("policy", document().encode(), cluster=OTHER))) == "E3"


def test_trust_is_handed_on_through_rotations_that_were_slept_through() -> None:
    policy = replace(document(THIRD), successions=(word(FIRST, SECOND), word(SECOND, THIRD)))
    assert judged(endorse("policy", policy.encode(), THIRD)) == Granted(policy)
    broken = replace(policy, successions=(word(SECOND, THIRD),))
    assert check(judged(endorse("policy", broken.encode(), THIRD))) == "E2"


@pytest.mark.parametrize("field", ["user_authorities", "host_authorities"])
def test_authorities_that_are_no_keys_are_refused(field: str) -> None:
    policy = json.loads(document().encode()) | {field: ["ssh-ed25519 AAAA"]}
    assert check(judged(endorse("policy", json.dumps(policy)))) == "Y4"


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '{"version": -1}', "[" * 10_000, "\ud800"])
def test_a_body_that_makes_no_sense_is_refused(body: str) -> None:
    assert check(judged(Endorsed("policy", body, public_line(FIRST), b""))) == "Y1"


def test_a_pulse_of_our_host_ca_holds_and_another_does_not() -> None:
    pulse = Pulse(time=7, policy=5)
    trusted = (public_line(FIRST),)
    assert judge_pulse(endorse("pulse", pulse.encode()), trusted=trusted, cluster=OURS) == Granted(pulse)
    assert check(judge_pulse(endorse("pulse", pulse.encode(), FOREIGN), trusted=trusted, cluster=OURS)) == "E2"
    assert check(judge_pulse(endorse("pulse", "{}"), trusted=trusted, cluster=OURS)) == "Y1"


def node_judged(endorsed: Endorsed, held: int = 0) -> Granted[NodeDocument] | Refused:
    return judge_node(endorsed, trusted=(public_line(FIRST),), cluster=OURS, node_id=NODE, held=held)


def test_a_node_document_is_for_one_node_and_no_older_than_what_it_holds() -> None:
    ours = NodeDocument(NODE, 3, NodeName("buoy"), {"env": "prod"})
    assert node_judged(endorse("node", ours.encode()), held=3) == Granted(ours)
    assert check(node_judged(endorse("node", ours.encode()), held=4)) == "Y3"
    assert check(node_judged(endorse("node", replace(ours, node_id=STRANGER).encode()))) == "Y5"
    assert check(node_judged(endorse("node", ours.encode(), FOREIGN))) == "E2"


def test_a_message_is_read_as_it_was_sent() -> None:
    endorsed = endorse("policy", document().encode())
    assert read(json.dumps(endorsed.to_dict()).encode()) == endorsed


def test_a_message_that_is_too_large_is_not_even_read() -> None:
    assert check(read(b"{" * (limits.MQTT_MESSAGE_MAX + 1))) == "Y1"


def test_half_a_letter_under_our_own_key_is_refused() -> None:
    pulse = {"kind": "pulse", "body": "\ud800", "key": public_line(FIRST), "signature": ""}
    assert check(read(json.dumps(pulse).encode())) == "Y1"


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_document_or_refused(payload: bytes) -> None:
    assert check(read(payload)) == "Y1"


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_document_that_was_damaged_anywhere_never_holds(at: int, damage: bytes) -> None:
    good = json.dumps(endorse("policy", document().encode()).to_dict()).encode()
    at = min(at, len(good) - len(damage))
    bad = good[:at] + damage + good[at + len(damage) :]
    endorsed = read(bad)
    answer = endorsed if isinstance(endorsed, Refused) else judged(endorsed)
    if isinstance(answer, Granted):
        assert answer.value == document()  # the damage was none, as a space for a space
