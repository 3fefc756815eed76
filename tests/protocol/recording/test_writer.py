from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.recording import framing
from protocol.recording.frame import FrameError
from protocol.recording.framing import Position
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, Reader, SealRecord
from protocol.recording.seal import Reason, Seal
from protocol.recording.writer import Writer
from protocol.secret import Secret
from tests.protocol.recording.test_vectors import Vector

PLAIN, ENCRYPTED = Vector("plain"), Vector("encrypted")
BOTH = pytest.mark.parametrize("vector", [PLAIN, ENCRYPTED])


def begun(vector: Vector = PLAIN) -> tuple[Writer, bytes]:
    writer = Writer(vector.signing.sign)
    return writer, writer.begin(vector.header(), vector.secret)


def last(reason: Reason = "final") -> Seal:
    return Seal(reason, 1, 2, 3)


@given(
    contents=st.lists(st.tuples(st.binary(min_size=1, max_size=3000), st.integers(0, 5000)), max_size=8),
    vector=st.sampled_from([PLAIN, ENCRYPTED, Vector("without-dictionary")]),
    every=st.integers(1, 4),
)
def test_what_is_written_is_read_again(contents: list[tuple[bytes, int]], vector: Vector, every: int) -> None:
    writer, data = begun(vector)
    begin = 0
    for number, (content, later) in enumerate(contents):
        begin += later
        data += writer.data(content, begin)
        if number % every == 0:
            data += writer.seal(Seal("running", begin, begin, begin))
    data += writer.seal(last())
    reader = Reader(vector.signer)
    opener = Opener(vector.header(), vector.secret)
    records = list(reader.feed(data))
    reader.finish()
    assert [opener.content(one) for one in records if isinstance(one, DataRecord)] == [one for one, _ in contents]
    assert (reader.position, reader.has_ended) == (writer.position, True)
    assert reader.position.offset == len(data)


@BOTH
def test_a_record_that_begins_earlier_than_the_one_before_says_the_same_as_that(vector: Vector) -> None:
    writer, data = begun(vector)
    data += writer.data(b"a", 700) + writer.data(b"b", 600) + writer.data(b"c", -1)
    assert [one.begin for one in Reader().feed(data) if isinstance(one, DataRecord)] == [700, 700, 700]


def test_a_moment_that_cannot_be_said_is_refused_and_nothing_changes() -> None:
    writer, _ = begun()
    before = writer.position
    with pytest.raises(ValueError, match="more than a record can say"):
        writer.data(b"a", framing.BEGIN_END)
    with pytest.raises(FrameError):
        writer.data(bytes(limits.RECORDING_FRAME_MAX + 1), 5)
    assert writer.position == before
    assert writer.data(b"a", framing.BEGIN_END - 1)


@BOTH
def test_the_largest_frame_fits_even_where_it_does_not_compress(vector: Vector) -> None:
    import os

    content = os.urandom(limits.RECORDING_FRAME_MAX)
    writer, data = begun(vector)
    record = next(one for one in Reader().feed(data + writer.data(content, 0)) if isinstance(one, DataRecord))
    assert Opener(vector.header(), vector.secret).content(record) == content


def test_no_content_makes_no_record() -> None:
    writer, _ = begun()
    assert writer.data(b"", 5) == b""
    assert writer.position.number == 1


def test_two_records_of_the_same_content_are_encrypted_differently() -> None:
    writer, data = begun(ENCRYPTED)
    data += writer.data(b"same", 0) + writer.data(b"same", 0)
    first, second = (one.sealed for one in Reader().feed(data) if isinstance(one, DataRecord))
    assert first != second


def test_only_who_began_a_recording_adds_data_so_that_no_number_is_used_twice_under_a_key() -> None:
    writer, data = begun(ENCRYPTED)
    going_on = Writer(ENCRYPTED.signing.sign, writer.position)
    with pytest.raises(ValueError, match="who began the recording"):
        going_on.data(b"x", 0)
    with pytest.raises(ValueError, match="has a header"):
        going_on.begin(ENCRYPTED.header(), ENCRYPTED.secret)
    with pytest.raises(ValueError, match="has a header"):
        writer.begin(ENCRYPTED.header(), ENCRYPTED.secret)
    records = list(Reader(ENCRYPTED.signer).feed(data + going_on.seal(last("interrupted"))))
    assert isinstance(records[-1], SealRecord)
    assert records[-1].seal == last("interrupted")


@pytest.mark.parametrize("reason", ["final", "interrupted"])
def test_after_the_last_seal_nothing_is_written(reason: Reason) -> None:
    writer, _ = begun()
    writer.seal(Seal("running", 1, 2, 3))
    writer.data(b"x", 0)
    writer.seal(last(reason))
    with pytest.raises(ValueError, match="sealed for good"):
        writer.data(b"x", 0)
    with pytest.raises(ValueError, match="nothing after the last seal"):
        writer.seal(last())


def test_before_the_header_nothing_is_written() -> None:
    writer = Writer(PLAIN.signing.sign)
    with pytest.raises(ValueError, match="comes after the header"):
        writer.seal(last())
    with pytest.raises(ValueError, match="who began the recording"):
        writer.data(b"x", 0)


@pytest.mark.parametrize(
    ("vector", "key"),
    [(PLAIN, Secret(bytes(32))), (ENCRYPTED, None), (ENCRYPTED, Secret(bytes(16))), (ENCRYPTED, Secret(b""))],
)
def test_a_key_that_does_not_fit_the_header_is_refused(vector: Vector, key: Secret[bytes] | None) -> None:
    writer = Writer(vector.signing.sign)
    with pytest.raises(ValueError, match="do not fit"):
        writer.begin(vector.header(), key)
    assert writer.position == framing.START


def test_where_signing_fails_nothing_changes_and_it_can_be_tried_again() -> None:
    def fail(_: bytes) -> bytes:
        raise OSError("the key is not to be had")

    writer, _ = begun()
    broken = Writer(fail, writer.position)
    with pytest.raises(OSError, match="not to be had"):
        broken.seal(last())
    assert broken.position == writer.position


def test_there_is_no_record_beyond_the_last_number() -> None:
    writer = Writer(PLAIN.signing.sign, Position(framing.NUMBER_END, 100, bytes(32)))
    with pytest.raises(ValueError, match="no record can have"):
        writer.seal(last())


def test_a_header_that_no_reader_would_take_is_not_written() -> None:
    header = ENCRYPTED.header()
    assert header.key is not None
    large = replace(header, key=replace(header.key, sealed=bytes(limits.RECORDING_HEADER_MAX)))
    with pytest.raises(ValueError, match="no record can have"):
        Writer(ENCRYPTED.signing.sign).begin(large, ENCRYPTED.secret)
