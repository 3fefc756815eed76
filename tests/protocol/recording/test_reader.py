from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol.recording import framing, seal
from protocol.recording.fault import RecordingError
from protocol.recording.framing import Kind, Position
from protocol.recording.reader import DataRecord, HeaderRecord, Reader, Record, SealRecord
from protocol.recording.seal import Seal
from tests.harness.tape import Tape
from tests.protocol.recording.test_vectors import Vector

PLAIN, ENCRYPTED = Vector("plain"), Vector("encrypted")
RECORDS = [prefix + body for _, prefix, body in PLAIN.bodies()]
MAGIC = framing.MAGIC


def read(data: bytes, signer: bytes | None = PLAIN.signer) -> list[Record]:
    """Read `data` as all there is."""
    reader = Reader(signer)
    records = list(reader.feed(data))
    reader.finish()
    return records


def fault_of(data: bytes, signer: bytes | None = PLAIN.signer) -> RecordingError:
    with pytest.raises(RecordingError) as caught:
        read(data, signer)
    return caught.value


def relinked(bodies: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a recording of these kinds and bodies: numbers and links as they must be, seals as they are."""
    data, position = MAGIC, framing.START
    for kind, body in bodies:
        record, position = made(kind, body, position)
        data += record
    return data


def made(kind: bytes | str, body: bytes, position: Position, size: int | None = None) -> tuple[bytes, Position]:
    """Return a record that nobody would write, its link as it must be, and the position after it."""
    unlinked = framing.PREFIX.pack(ord(kind), len(body) if size is None else size, position.number, b"") + body
    after = framing.advance(position, unlinked)
    return unlinked[: framing.STEM] + framing.link(after) + body, after


def signed(position: Position, kind: Kind, body: bytes, key: Ed25519PrivateKey = PLAIN.signing) -> bytes:
    """Return a record at `position`; the last 64 bytes of a seal are a good signature."""
    if kind == "S":
        fields, stem = body, framing.stem("S", seal.SIZE, position)
        body = fields + key.sign(seal.statement(position.chain, stem, fields))
    return framing.add(kind, body, position)[0]


def after(count: int) -> tuple[bytes, Position]:
    """Return the first `count` records with the magic, and the position after them."""
    position = framing.START
    for record in RECORDS[:count]:
        position = framing.advance(position, record)
    return MAGIC + b"".join(RECORDS[:count]), position


def test_a_good_recording_is_read_record_by_record() -> None:
    kinds = [type(record).__name__ for record in read(PLAIN.data)]
    assert kinds == ["HeaderRecord", *["DataRecord"] * 3, "SealRecord", "DataRecord", "SealRecord"]


@pytest.mark.parametrize("vector", [PLAIN, ENCRYPTED])
def test_cut_off_at_any_byte_what_is_whole_stands_and_the_cut_is_told(vector: Vector) -> None:
    ends = [position.offset for position, _, _ in vector.bodies()][1:]
    for size in range(len(vector.data)):
        reader = Reader(vector.signer)
        records = list(reader.feed(vector.data[:size]))
        whole = sum(end <= size for end in ends)
        assert len(records) == reader.position.number == whole
        assert not reader.has_ended
        if size in ends:
            reader.finish()
        else:
            with pytest.raises(RecordingError, match=rf"record {whole}: .*\(F12\)"):
                reader.finish()


def test_any_flipped_bit_of_a_sealed_recording_is_found_at_its_record() -> None:
    starts = [position.offset for position, _, _ in PLAIN.bodies()]
    for bit in range(8 * len(PLAIN.data)):
        changed = bytearray(PLAIN.data)
        changed[bit // 8] ^= 1 << bit % 8
        hit = max(sum(start <= bit // 8 for start in starts) - 1, 0)
        assert fault_of(bytes(changed)).number == hit, bit


def test_any_flipped_bit_of_a_record_that_nothing_follows_is_found_too() -> None:
    data, position = after(3)
    for bit in range(8 * len(RECORDS[2])):
        changed = bytearray(data)
        changed[len(data) - len(RECORDS[2]) + bit // 8] ^= 1 << bit % 8
        fault = fault_of(bytes(changed))
        assert (fault.number, position.number) == (2, 3), bit
        assert fault.check in {"F2", "F3", "F4", "F5", "F6", "F12"}, bit


def test_a_flipped_bit_in_any_byte_of_an_encrypted_recording_is_found() -> None:
    for at in range(len(ENCRYPTED.data)):
        changed = bytearray(ENCRYPTED.data)
        changed[at] ^= 1 << at % 8
        fault_of(bytes(changed), ENCRYPTED.signer)


@pytest.mark.parametrize(
    ("order", "check", "number"),
    [
        ((0, 2, 1, 3, 4, 5, 6), "F4", 1),
        ((0, 2, 3, 4, 5, 6), "F4", 1),
        ((0, 1, 1, 2, 3, 4, 5, 6), "F4", 2),
        ((0, 1, 2, 3, 5, 6), "F4", 4),
        ((1, 0, 2, 3, 4, 5, 6), "F4", 0),
        ((0, 0, 1, 2, 3, 4, 5, 6), "F4", 1),
        ((0, 1, 2, 3, 4, 5, 6, 6), "F11", 7),
    ],
)
def test_records_that_were_swapped_dropped_or_repeated_are_found(
    order: tuple[int, ...], check: str, number: int
) -> None:
    fault = fault_of(MAGIC + b"".join(RECORDS[index] for index in order))
    assert (fault.check, fault.number) == (check, number)


def test_a_record_of_another_recording_does_not_fit() -> None:
    other = Tape(signing=PLAIN.signing).head().output(480, "other").records
    fault = fault_of(MAGIC + RECORDS[0] + RECORDS[1] + other[2])
    assert (fault.check, fault.number) == ("F5", 2)


def test_renumbered_and_linked_anew_the_records_still_lack_the_signature() -> None:
    bodies = [(prefix[:1], body) for _, prefix, body in PLAIN.bodies()]
    assert relinked(bodies) == PLAIN.data
    without_one = [*bodies[:2], *bodies[3:]]
    swapped = [bodies[0], bodies[1], bodies[1], *bodies[3:]]
    for forged in (without_one, swapped):
        assert fault_of(relinked(forged)).check == "F10"


def test_a_seal_by_another_key_is_refused() -> None:
    data, position = after(2)
    fields = Seal("final", 1, 2, 3).encode()
    other = Ed25519PrivateKey.generate()
    assert fault_of(data + signed(position, "S", fields, other)).check == "F10"
    assert isinstance(read(data + signed(position, "S", fields))[-1], SealRecord)


def test_another_signer_than_the_expected_one_is_refused_at_the_header() -> None:
    fault = fault_of(PLAIN.data, bytes(32))
    assert (fault.check, fault.number) == ("F10", 0)
    assert len(read(PLAIN.data, None)) == 7


def test_a_signer_that_is_no_point_on_the_curve_has_signed_nothing() -> None:
    body = PLAIN.bodies()[0][2].replace(b'"signer":"', b'"signer":"//////', 1)
    body = body[: body.index(b"//////") + 43] + body[body.index(b'","dictionary"') - 1 :]
    data = relinked([(b"H", body), *[(prefix[:1], body) for _, prefix, body in PLAIN.bodies()[1:]]])
    assert fault_of(data, None).check in {"F7", "F10"}


@pytest.mark.parametrize(
    ("count", "kind", "body", "check"),
    [
        (0, "D", b"", "F6"),
        (0, "S", bytes(89), "F6"),
        (1, "H", RECORDS[0][13:], "F6"),
        (0, "H", b"", "F7"),
        (0, "H", b"[]", "F7"),
        (1, "D", b"", "F8"),
        (1, "D", bytes(framing.BEGIN_SIZE), "F8"),
        (3, "D", bytes(framing.BEGIN_SIZE) + b"earlier", "F8"),
        (1, "S", b"", "F9"),
    ],
)
def test_a_record_that_fits_but_is_none_is_refused(count: int, kind: Kind, body: bytes, check: str) -> None:
    data, position = after(count)
    assert fault_of(data + made(kind, body, position)[0]).check == check


@pytest.mark.parametrize(
    "fields",
    [struct.pack(">BQQQ", 4, 0, 0, 0), struct.pack(">BQQQ", 255, 0, 0, 0), struct.pack(">BQQQ", 0, 0, 0, 1 << 63)],
)
def test_a_signed_seal_that_says_nothing_known_is_refused(fields: bytes) -> None:
    data, position = after(1)
    assert fault_of(data + signed(position, "S", fields)).check == "F9"


@pytest.mark.parametrize("kind", ["H", "D", "S"])
def test_a_length_beyond_bounds_is_refused_before_the_body_comes(kind: Kind) -> None:
    data, position = after(0 if kind == "H" else 1)
    for size in (framing.BODY_MAX[kind] + 1, 2**32 - 1):
        reader = Reader()
        with pytest.raises(RecordingError, match=r"too many \(F3\)"):
            list(reader.feed(data + made(kind, b"", position, size)[0]))


@pytest.mark.parametrize("code", [0, ord("h"), ord("X"), 255])
def test_an_unknown_kind_is_refused(code: int) -> None:
    data, position = after(1)
    assert fault_of(data + made(bytes([code]), b"", position)[0]).check == "F2"


@pytest.mark.parametrize("data", [b"x", b"SKERRYR2", b"SKERRY" + bytes(20), b"\0" * 8])
def test_what_does_not_begin_as_a_recording_is_refused(data: bytes) -> None:
    assert fault_of(data).check == "F1"


@pytest.mark.parametrize("data", [b"", b"SKER", MAGIC, MAGIC + b"H"])
def test_what_ends_before_the_header_does_is_no_recording(data: bytes) -> None:
    assert fault_of(data).check == "F12"


def test_nothing_follows_the_last_seal_not_even_one_byte() -> None:
    assert fault_of(PLAIN.data + b"\0").check == "F11"
    reader = Reader()
    list(reader.feed(PLAIN.data))
    assert reader.has_ended
    with pytest.raises(RecordingError, match="F11"):
        list(reader.feed(b"x"))


@given(st.lists(st.integers(1, 700), max_size=12))
def test_the_size_of_the_pieces_makes_no_difference(sizes: list[int]) -> None:
    reader, at = Reader(PLAIN.signer), 0
    found: list[Record] = []
    for size in [*sizes, len(PLAIN.data)]:
        found += reader.feed(PLAIN.data[at : at + size])
        at += size
    reader.finish()
    assert found == read(PLAIN.data)


@pytest.mark.parametrize("vector", [PLAIN, ENCRYPTED])
def test_byte_by_byte_is_the_same_as_whole(vector: Vector) -> None:
    reader = Reader(vector.signer)
    found = [record for at in range(len(vector.data)) for record in reader.feed(vector.data[at : at + 1])]
    assert found == read(vector.data, vector.signer)


@pytest.mark.parametrize("vector", [PLAIN, ENCRYPTED, Vector("unsealed")])
def test_going_on_after_any_record_is_the_same_as_not_having_stopped(vector: Vector) -> None:
    straight = Reader(vector.signer)
    expected = list(straight.feed(vector.data))
    for stop in [position.offset for position, _, _ in vector.bodies()][1:]:
        first = Reader(vector.signer)
        before = list(first.feed(vector.data[:stop]))
        assert first.header is not None
        second = Reader.resume(
            first.header, first.position, begin=first.begin, sealed=first.sealed, last=first.seal, signer=vector.signer
        )
        after_it = list(second.feed(vector.data[stop:]))
        assert before + after_it == expected
        assert (second.position, second.sealed, second.seal, second.begin, second.pending) == (
            straight.position, straight.sealed, straight.seal, straight.begin, straight.pending,
        )  # fmt: skip


def test_who_goes_on_knows_that_the_recording_had_ended_and_whose_it_was() -> None:
    first = Reader()
    list(first.feed(PLAIN.data))
    assert first.header is not None
    state = {"begin": first.begin, "sealed": first.sealed, "last": first.seal}
    again = Reader.resume(first.header, first.position, **state, signer=None)  # type: ignore[arg-type]  # its own
    again.finish()
    with pytest.raises(RecordingError, match="F11"):
        list(again.feed(b"x"))
    with pytest.raises(RecordingError, match="F10"):
        Reader.resume(first.header, first.position, **state, signer=bytes(32))  # type: ignore[arg-type]  # its own


def test_records_nobody_asked_for_come_later_and_none_is_lost() -> None:
    reader = Reader()
    reader.feed(PLAIN.data[:400])
    half = reader.feed(PLAIN.data[400:])
    assert isinstance(next(half), HeaderRecord)
    assert [*reader.feed(b"")] == read(PLAIN.data)[1:]
    assert list(half) == []
    reader.finish()


def test_finishing_judges_what_nobody_asked_for() -> None:
    reader = Reader()
    reader.feed(PLAIN.data)
    reader.finish()
    assert reader.has_ended
    torn = Reader()
    torn.feed(PLAIN.data[:-1] + bytes([PLAIN.data[-1] ^ 1]))
    with pytest.raises(RecordingError, match="F5"):
        torn.finish()


def test_after_a_fault_there_is_only_that_fault_and_nothing_is_kept() -> None:
    reader = Reader()
    data, _ = after(1)
    with pytest.raises(RecordingError) as first:
        list(reader.feed(data + b"X" * 1000))
    for _ in range(3):
        with pytest.raises(RecordingError) as again:
            list(reader.feed(PLAIN.data))
        assert again.value is first.value
    with pytest.raises(RecordingError):
        reader.finish()
    assert (reader.pending, reader.position.number) == (0, 1)


def test_what_is_under_the_last_seal_is_counted() -> None:
    reader = Reader()
    counted = [(reader.sealed, reader.begin) for _ in reader.feed(PLAIN.data)]
    assert counted == [(0, 0), (0, 0), (0, 480), (0, 2000), (5, 2000), (5, 3000), (7, 3000)]


@given(st.binary(max_size=400), st.integers(0, 7))
def test_whatever_follows_good_records_only_recording_errors_are_raised(rest: bytes, count: int) -> None:
    reader = Reader()
    with suppress(RecordingError):
        for record in reader.feed(after(count)[0] + rest):
            assert isinstance(record, HeaderRecord | DataRecord | SealRecord)
        reader.finish()
