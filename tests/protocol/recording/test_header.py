from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.fields import MessageError
from protocol.recording.header import Header
from tests.protocol.recording.test_vectors import Vector

PLAIN, ENCRYPTED = Vector("plain"), Vector("encrypted")
LINE, _, SEALED = ENCRYPTED.bodies()[0][2].partition(b"\n")


@pytest.mark.parametrize("vector", [PLAIN, ENCRYPTED])
def test_a_header_is_read_as_it_was_written(vector: Vector) -> None:
    assert Header.decode(vector.header().encode()) == vector.header()


def test_a_wrapped_key_may_hold_line_feeds() -> None:
    header = Header.decode(LINE + b"\n" + b"\n\n" + SEALED)
    assert header.key is not None
    assert header.key.sealed == b"\n\n" + SEALED


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"version": "1"}, {"session": "../../x"}, {"node": 5}, {"node_name": "a/b"}, {"cluster": ""},
        {"started": -1}, {"started": 1.5}, {"corrected": 2**63}, {"corrected": True}, {"signer": "AAAA"},
        {"signer": "é"}, {"signer": None}, {"dictionary": -1}, {"cipher": "ROT13"}, {"cipher": None}, {"key": None},
        {"key": {}}, {"key": {"id": "../x", "suite": "x"}}, {"key": {"id": "0198c0de-0000-7000-8000-00000000beef"}},
        {"key": "x"}, {"cipher": "none"}, {"extra": float("nan")}, {"started": float("inf")},
    ],
)  # fmt: skip
def test_a_header_with_something_wrong_in_it_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        Header.decode(json.dumps({**json.loads(LINE), **change}).encode() + b"\n" + SEALED)


@pytest.mark.parametrize("missing", list(json.loads(LINE)))
def test_a_header_that_lacks_something_is_refused(missing: str) -> None:
    said = json.loads(LINE)
    del said[missing]
    with pytest.raises(MessageError, match=missing):
        Header.decode(json.dumps(said).encode() + b"\n" + SEALED)


def test_a_member_that_is_not_known_is_left_alone() -> None:
    said = {**json.loads(LINE), "later": [1, 2]}
    assert Header.decode(json.dumps(said).encode() + b"\n" + SEALED) == ENCRYPTED.header()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\n", b"null", b"[]", b"{", b"\xff", b"{}" * 2, LINE, LINE + b"\n", PLAIN.bodies()[0][2] + b"x",
        b'{"version":1,' + LINE[1:] + b"\n" + SEALED, b"[" * 16_000, b'{"a":' * 3_000, b"9" * 5000,
        LINE.replace(b'"key":{', b'"key":{"id":"x",') + b"\n" + SEALED, LINE.decode().encode("utf-16"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_header_is_refused(body: bytes) -> None:
    with pytest.raises(MessageError):
        Header.decode(body)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    with pytest.raises(MessageError):
        Header.decode(body)
