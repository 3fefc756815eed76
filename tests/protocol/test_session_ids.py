from __future__ import annotations

import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.names import NodeId, SessionId, parse_session_id
from protocol.session_ids import RANDOM_BYTES, is_beginning, is_minted_by, mint_session_id

HERE, THERE = NodeId(str(uuid.UUID(int=0x6F9C1A541F0E4F5C9D0E0A1B2C3D4E5F))), NodeId(str(uuid.UUID(int=1)))
RANDOM = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@given(RANDOM)
def test_a_session_s_id_is_its_node_s_and_no_other_s(random: bytes) -> None:
    session = mint_session_id(HERE, random)
    assert parse_session_id(session) == session
    assert is_minted_by(session, HERE)
    assert not is_minted_by(session, THERE)


@given(RANDOM)
def test_it_is_a_uuid_of_version_8(random: bytes) -> None:
    minted = uuid.UUID(mint_session_id(HERE, random))
    assert (minted.version, minted.variant) == (8, uuid.RFC_4122)


@given(RANDOM, RANDOM)
def test_all_74_random_bits_are_in_it(one: bytes, other: bytes) -> None:
    def bits(random: bytes) -> int:
        return int.from_bytes(random) & int("0FFF3FFFFFFFFFFFFFFF", 16)

    assert bits(b"\xff" * RANDOM_BYTES).bit_count() == 74
    assert (mint_session_id(HERE, one) == mint_session_id(HERE, other)) == (bits(one) == bits(other))


@given(RANDOM, st.integers(0, 127))
def test_an_id_with_one_bit_changed_is_nobody_s(random: bytes, bit: int) -> None:
    changed = uuid.UUID(int=uuid.UUID(mint_session_id(HERE, random)).int ^ (1 << bit))
    assert not is_minted_by(SessionId(str(changed)), HERE)


@given(st.uuids(version=4))
def test_an_id_from_anywhere_is_nobody_s(some: uuid.UUID) -> None:
    assert not is_minted_by(SessionId(str(some)), HERE)


def test_an_id_is_made_as_it_is_written_down() -> None:
    rest = bytes.fromhex("8102830405060708090a")
    mark = hashlib.sha256(b"skerry session id v1\0" + uuid.UUID(HERE).bytes + rest).digest()[:6]
    assert mint_session_id(HERE, bytes(range(1, 11))) == str(uuid.UUID(bytes=mark + rest))
    assert mint_session_id(HERE, bytes(range(1, 11))) == "e93d94bd-1123-8102-8304-05060708090a"


@pytest.mark.parametrize("size", [0, 9, 11, 16])
def test_too_few_random_bytes_or_too_many_make_none(size: int) -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        mint_session_id(HERE, bytes(size))


@pytest.mark.parametrize("text", ["e93d94bd", "E93D94BD-1123", "e93d94bd-1123-8102-8304-05060708090a"])
def test_the_beginning_of_an_id_names_a_session(text: str) -> None:
    assert is_beginning(text)


@pytest.mark.parametrize("text", ["", "../e93d94bd", "e93d94bg", "e93d94bd-1123-8102-8304-05060708090a0", "e93d94bd\n"])
def test_nothing_else_does(text: str) -> None:
    assert not is_beginning(text)
