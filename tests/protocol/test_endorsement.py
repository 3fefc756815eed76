from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.decision import Granted, Refused
from protocol.endorsement import (
    Endorsed,
    EndorsedKind,
    Succession,
    is_signed_by,
    judge_endorsed,
    parse_base64,
    plain_key,
    statement,
    succession_statement,
    walk,
)
from protocol.fields import MessageError
from protocol.names import ClusterName

CLUSTER = ClusterName("harbour")
OTHER = ClusterName("elsewhere")
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 6)]
Anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def line(key: Any, comment: str = "") -> str:  # noqa: ANN401 - any kind of private key
    found: str = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return f"{found} {comment}" if comment else found


def endorse(key: Ed25519PrivateKey, body: str = '{"version":1}', kind: EndorsedKind = "policy") -> Endorsed:
    return Endorsed(kind, body, line(key), key.sign(statement(kind, CLUSTER, body)))


def succeed(old: Ed25519PrivateKey, new: Ed25519PrivateKey, cluster: ClusterName = CLUSTER) -> Succession:
    return Succession(line(old), line(new), old.sign(succession_statement(cluster, line(old), line(new))))


def judge(endorsed: Endorsed, kind: EndorsedKind = "policy", **changed: Any) -> Granted[str] | Refused:  # noqa: ANN401 - an argument
    given_: dict[str, Any] = {"trusted": {line(KEYS[0])}, "cluster": CLUSTER} | changed
    return judge_endorsed(endorsed, kind, **given_)


def test_what_a_trusted_key_signed_is_believed_and_its_body_returned() -> None:
    assert judge(endorse(KEYS[0])) == Granted('{"version":1}')


def test_a_document_travels_as_json_and_is_the_same_after() -> None:
    for body in ("{}", '{"message":"Grüße “quoted” \\u0000"}', "x" * limits.POLICY_MAX):
        endorsed = endorse(KEYS[0], body)
        read = Endorsed.from_dict(json.loads(json.dumps(endorsed.to_dict())))
        assert read == endorsed
        assert judge(read) == Granted(body)


@pytest.mark.parametrize(
    ("endorsed", "check"),
    [
        (endorse(KEYS[0], kind="pulse"), "E1"),
        (endorse(KEYS[1]), "E2"),
        (replace(endorse(KEYS[0]), body='{"version":2}'), "E3"),
        (replace(endorse(KEYS[0]), signature=b""), "E3"),
        (replace(endorse(KEYS[0]), signature=bytes(64)), "E3"),
        (replace(endorse(KEYS[0], kind="pulse"), kind="policy"), "E3"),
        (replace(endorse(KEYS[1]), key=line(KEYS[0])), "E3"),
    ],
)
def test_what_was_not_signed_so_is_refused_by_a_numbered_check(endorsed: Endorsed, check: str) -> None:
    answer = judge(endorsed)
    assert isinstance(answer, Refused)
    assert answer.check == check


def test_a_document_of_another_cluster_with_the_same_key_is_refused() -> None:
    answer = judge(endorse(KEYS[0]), cluster=OTHER)
    assert isinstance(answer, Refused)
    assert answer.check == "E3"


def test_the_signed_bytes_of_two_documents_are_never_the_same() -> None:
    assert statement("policy", ClusterName("a"), "bc") != statement("policy", ClusterName("ab"), "c")
    assert statement("policy", CLUSTER, "") != statement("node", CLUSTER, "")
    assert not statement("policy", CLUSTER, "x").startswith(succession_statement(CLUSTER, "x", "y")[:20])


def test_a_comment_is_no_part_of_a_key() -> None:
    assert plain_key(line(KEYS[0], "root@harbour made it")) == line(KEYS[0])
    commented = replace(endorse(KEYS[0]), key=line(KEYS[0], "root@harbour"))
    assert isinstance(judge(commented), Granted)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "letter"),
        ("kind", 5),
        ("body", None),
        ("body", {}),
        ("body", "x" * (limits.POLICY_MAX + 1)),
        ("body", "\ud800"),
        ("key", "\ud800"),
        ("key", 5),
        ("signature", "not base64"),
        ("signature", "ö"),
        ("signature", None),
    ],
)
def test_what_is_no_signed_document_is_refused_by_the_name_of_the_field(name: str, value: object) -> None:
    with pytest.raises(MessageError, match=name):
        Endorsed.from_dict({**endorse(KEYS[0]).to_dict(), name: value})


@given(Anything)
def test_anything_is_a_document_or_refused(value: Any) -> None:  # noqa: ANN401 - whatever came
    for kind in (Endorsed, Succession):
        with pytest.raises(MessageError):
            kind.from_dict(value)


@given(st.data())
def test_a_document_with_anything_in_a_field_is_refused_or_judged_without_a_crash(data: st.DataObject) -> None:
    wire: dict[str, Any] = {**endorse(KEYS[0]).to_dict()}
    name = data.draw(st.sampled_from(sorted(wire)))
    wire[name] = data.draw(Anything | st.text(st.characters(categories=["Cs", "L"])))
    try:
        read = Endorsed.from_dict(wire)
    except MessageError:
        return
    assert isinstance(judge(read, trusted={line(KEYS[0]), plain_key(read.key)}), Granted | Refused)


@given(st.text() | st.builds("ssh-ed25519 {}".format, st.text()), st.binary(max_size=80))
def test_whatever_a_key_and_a_signature_are_the_answer_is_no(key: str, signature: bytes) -> None:
    assert not is_signed_by(key, signature, b"anything")


def test_a_key_of_another_kind_signs_nothing_here() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert not is_signed_by(line(key), bytes(64), b"")
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(31)
    assert not is_signed_by(f"ssh-ed25519 {b64encode(blob).decode()}", bytes(64), b"")
    assert not is_signed_by("ssh-ed25519", bytes(64), b"")


def test_base64_is_read_strictly() -> None:
    assert parse_base64("AAEC") == b"\0\1\2"
    for bad in ("AAE", "AA EC", "-_==", 5, None):
        with pytest.raises(MessageError):
            parse_base64(bad)


def test_a_succession_travels_as_json_and_is_the_same_after() -> None:
    step = succeed(KEYS[0], KEYS[1])
    assert Succession.from_dict(json.loads(json.dumps(step.to_dict()))) == step


CHAIN = [succeed(old, new) for old, new in pairwise(KEYS)]


@pytest.mark.parametrize("start", range(len(KEYS)))
def test_who_slept_through_rotations_walks_from_the_key_they_know_to_the_one_of_today(start: int) -> None:
    assert walk([line(KEYS[start], "from long ago")], CHAIN, CLUSTER) == {line(key) for key in KEYS[start:]}


def test_the_order_of_successions_does_not_matter() -> None:
    assert walk([line(KEYS[0])], reversed(CHAIN), CLUSTER) == {line(key) for key in KEYS}


def test_nobody_walks_backwards_or_over_a_gap() -> None:
    assert walk([line(KEYS[4])], CHAIN, CLUSTER) == {line(KEYS[4])}
    assert walk([line(KEYS[0])], CHAIN[:1] + CHAIN[2:], CLUSTER) == {line(KEYS[0]), line(KEYS[1])}
    assert walk([], CHAIN, CLUSTER) == frozenset()


@pytest.mark.parametrize(
    "forged",
    [
        replace(CHAIN[0], new=line(KEYS[4])),
        replace(CHAIN[0], signature=bytes(64)),
        replace(CHAIN[0], signature=CHAIN[1].signature),
        succeed(KEYS[0], KEYS[4], OTHER),
        Succession(
            line(KEYS[0]), line(KEYS[4]), KEYS[4].sign(succession_statement(CLUSTER, line(KEYS[0]), line(KEYS[4])))
        ),
        replace(CHAIN[0], old="ssh-ed25519 AAAA"),
        replace(CHAIN[0], old=""),
    ],
)
def test_a_forged_succession_leads_nowhere(forged: Succession) -> None:
    assert walk([line(KEYS[0])], [forged], CLUSTER) == {line(KEYS[0])}


def test_a_circle_of_successions_ends() -> None:
    circle = [succeed(KEYS[0], KEYS[1]), succeed(KEYS[1], KEYS[0])]
    assert walk([line(KEYS[0])], circle, CLUSTER) == {line(KEYS[0]), line(KEYS[1])}


def test_as_many_bad_successions_as_fit_a_document_are_walked_past() -> None:
    step = replace(CHAIN[0], signature=bytes(64))
    count = limits.POLICY_MAX // len(json.dumps(step.to_dict()))
    assert walk([line(KEYS[0])], [step] * count, CLUSTER) == {line(KEYS[0])}
    assert count > 400
