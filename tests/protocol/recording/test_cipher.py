from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.names import NodeId, SessionId
from protocol.recording import cipher
from protocol.recording.cipher import CipherError
from protocol.secret import Secret

SESSION = SessionId("0198c0de-1111-7222-8333-944455556666")
NODE = NodeId("0198c0de-aaaa-7bbb-8ccc-dddd11112222")
PRIVATE, PUBLIC = cipher.generate()
KEY = Secret(bytes(range(32)))


def test_a_key_that_was_wrapped_opens_with_the_private_half() -> None:
    wrapped = cipher.wrap(KEY, "the id", PUBLIC, SESSION, NODE)
    assert (wrapped.key_id, wrapped.suite, len(wrapped.sealed)) == ("the id", cipher.SUITE, 1168)
    assert cipher.unwrap(wrapped, PRIVATE, SESSION, NODE).reveal() == KEY.reveal()
    assert cipher.wrap(KEY, "the id", PUBLIC, SESSION, NODE).sealed != wrapped.sealed


def test_it_opens_for_its_own_session_and_node_and_cluster_only() -> None:
    wrapped = cipher.wrap(KEY, "the id", PUBLIC, SESSION, NODE)
    other = SessionId(str(NODE))
    for private, session, node in (
        (cipher.generate()[0], SESSION, NODE), (PRIVATE, other, NODE), (PRIVATE, SESSION, NodeId(str(SESSION))),
    ):  # fmt: skip
        with pytest.raises(CipherError, match="does not open"):
            cipher.unwrap(wrapped, private, session, node)


def test_a_wrapped_key_that_was_changed_or_cut_does_not_open() -> None:
    wrapped = cipher.wrap(KEY, "the id", PUBLIC, SESSION, NODE)
    sealed = wrapped.sealed
    low_order = sealed[:1088] + bytes(32) + sealed[1120:]
    for changed in (b"", b"x", sealed[:-1], sealed[:1120], sealed + b"x", bytes(len(sealed)), low_order):
        with pytest.raises(CipherError, match="does not open"):
            cipher.unwrap(replace(wrapped, sealed=changed), PRIVATE, SESSION, NODE)


def test_another_suite_and_a_private_half_of_another_kind_are_refused() -> None:
    wrapped = cipher.wrap(KEY, "the id", PUBLIC, SESSION, NODE)
    for suite, private in (("HPKE/other", PRIVATE), (cipher.SUITE, Secret(bytes(32))), (cipher.SUITE, Secret(b""))):
        with pytest.raises(CipherError, match="not known here"):
            cipher.unwrap(replace(wrapped, suite=suite), private, SESSION, NODE)


def test_what_is_wrapped_must_be_a_recording_s_key() -> None:
    wrapped = cipher.wrap(Secret(b"too short"), "the id", PUBLIC, SESSION, NODE)
    with pytest.raises(CipherError, match="32 bytes"):
        cipher.unwrap(wrapped, PRIVATE, SESSION, NODE)


@pytest.mark.parametrize("public", [b"", PUBLIC[:-1], PUBLIC + b"x", b"\xff" * len(PUBLIC), PUBLIC[:1184] + bytes(32)])
def test_a_public_half_that_is_none_is_refused(public: bytes) -> None:
    with pytest.raises(CipherError, match="public half"):
        cipher.wrap(KEY, "the id", public, SESSION, NODE)


def test_a_record_decrypts_under_its_number_and_bound_data_only() -> None:
    key = AESGCM(KEY.reveal())
    sealed = cipher.encrypt(key, 7, b"frame", b"bound")
    assert len(sealed) == len(b"frame") + cipher.TAG_SIZE
    assert cipher.decrypt(key, 7, sealed, b"bound") == b"frame"
    for number, data, bound in (
        (8, sealed, b"bound"),
        (7, sealed, b"other"),
        (7, sealed[:-1], b"bound"),
        (7, b"", b""),
    ):
        with pytest.raises(CipherError, match="does not open"):
            cipher.decrypt(key, number, data, bound)
