from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.recording import framing
from protocol.recording.framing import BODY_MAX, Kind, Position


def test_a_record_is_kind_size_number_link_and_body_and_the_link_proves_the_rest() -> None:
    position = Position(7, 1000, bytes(range(32)))
    stem, body = b"D\x00\x00\x01\x02\x00\x00\x00\x07", bytes(258)
    chain = hashlib.sha256(position.chain + stem + body).digest()
    record, after = framing.add("D", body, position)
    assert framing.stem("D", 258, position) == stem
    assert record == stem + chain[:4] + body
    assert after == framing.advance(position, record) == Position(8, 1000 + len(record), chain)


def test_a_recording_starts_after_its_magic() -> None:
    assert Position(0, 8, hashlib.sha256(b"SKERRYR1").digest()) == framing.START


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_the_chain_depends_on_every_record_and_their_order(bodies: list[bytes]) -> None:
    position = framing.START
    for number, body in enumerate(bodies):
        before = position
        record, position = framing.add("D", body, before)
        assert (position.number, position.offset) == (number + 1, before.offset + len(record))
        assert position.chain == hashlib.sha256(before.chain + record[:9] + record[13:]).digest()
        assert framing.bound(before.chain, record[:9], body[:5]) == before.chain + record[:9] + body[:5]


@pytest.mark.parametrize("kind", ["H", "D", "S"])
def test_what_a_reader_would_not_take_is_not_made(kind: Kind) -> None:
    assert framing.stem(kind, BODY_MAX[kind], framing.START)
    for size, number in ((BODY_MAX[kind] + 1, 0), (0, framing.NUMBER_END)):
        with pytest.raises(ValueError, match="no record can have"):
            framing.add(kind, bytes(size), Position(number, 0, bytes(32)))


def test_there_are_more_numbers_than_records_in_the_largest_recording() -> None:
    smallest = framing.PREFIX.size + 5 + 1
    assert limits.RECORDING_MAX // smallest < framing.NUMBER_END
