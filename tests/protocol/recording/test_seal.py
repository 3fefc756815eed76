from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol.recording import seal
from protocol.recording.seal import Reason, Seal

TIMES = st.integers(0, seal.TIME_END - 1)
REASONS: tuple[Reason, ...] = ("running", "final", "interrupted", "stopped")


@given(st.builds(Seal, st.sampled_from(REASONS), TIMES, TIMES, TIMES), st.binary(min_size=64, max_size=64))
def test_a_seal_is_read_as_it_was_written(what: Seal, signature: bytes) -> None:
    assert seal.decode(what.encode() + signature) == (what, signature)


@pytest.mark.parametrize("times", [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, seal.TIME_END), (2**64, 0, 0)])
def test_a_time_that_is_none_is_not_written(times: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="from 0 up"):
        Seal("final", *times).encode()


@given(st.binary(max_size=120))
def test_what_is_no_seal_is_refused(body: bytes) -> None:
    try:
        found, _ = seal.decode(body)
    except ValueError:
        return
    assert found.encode() == body[:25]


def test_a_running_seal_does_not_end_a_recording_and_the_others_do() -> None:
    assert [Seal(reason, 0, 0, 0).ends for reason in REASONS] == [False, True, True, True]


def test_a_signature_is_good_for_one_statement_and_key() -> None:
    key = Ed25519PrivateKey.generate()
    signer, said = key.public_key().public_bytes_raw(), seal.statement(bytes(32), b"prefix", b"fields")
    assert seal.is_signed(signer, key.sign(said), said)
    assert not seal.is_signed(signer, key.sign(said), said + b"x")
    assert not seal.is_signed(bytes(32), key.sign(said), said)
    assert not seal.is_signed(b"", key.sign(said), said)
    assert not seal.is_signed(signer, b"", said)
