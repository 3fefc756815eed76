from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.recording import framing
from protocol.recording.cast import CastHeader, Event, parse_lines
from protocol.recording.fault import RecordingError
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, Reader
from protocol.secret import Secret
from tests.protocol.recording.test_frame import packed
from tests.protocol.recording.test_vectors import Vector

PLAIN, ENCRYPTED = Vector("plain"), Vector("encrypted")


def records(vector: Vector) -> list[DataRecord]:
    return [record for record in Reader().feed(vector.data) if isinstance(record, DataRecord)]


@pytest.mark.parametrize("vector", [PLAIN, ENCRYPTED])
def test_records_open_in_any_order_and_the_first_begins_with_the_header(vector: Vector) -> None:
    opener = Opener(vector.header(), vector.secret)
    events = [opener.events(record) for record in reversed(records(vector))]
    assert isinstance(events[-1][0], CastHeader)
    assert events[-1][1] == Event(0, "j", "alice")
    assert events[0][-1] == Event(4500, "x", "SIGHUP")


@pytest.mark.parametrize(
    ("vector", "key", "reason"),
    [
        (PLAIN, bytes(32), "not encrypted"),
        (ENCRYPTED, None, "its key is needed"),
        (ENCRYPTED, b"", "32 bytes"),
        (ENCRYPTED, bytes(16), "32 bytes"),
    ],
)
def test_a_key_that_does_not_fit_is_refused_at_once(vector: Vector, key: bytes | None, reason: str) -> None:
    with pytest.raises(RecordingError, match=rf"{reason}.*\(O1\)"):
        Opener(vector.header(), Secret(key) if key is not None else None)


def test_another_key_opens_nothing() -> None:
    opener = Opener(ENCRYPTED.header(), Secret(bytes(32)))
    for record in records(ENCRYPTED):
        with pytest.raises(RecordingError, match=rf"record {record.position.number}: .*\(O1\)"):
            opener.events(record)


def test_a_record_opens_in_its_own_place_only() -> None:
    opener = Opener(ENCRYPTED.header(), ENCRYPTED.secret)
    first, second = records(ENCRYPTED)[:2]
    moved = replace(first, position=second.position)
    changed = replace(first, bound=first.bound[:-1] + b"\1")
    cut = replace(first, sealed=first.sealed[:-1])
    short = replace(first, sealed=b"x")
    for record in (moved, changed, cut, short):
        with pytest.raises(RecordingError, match="O1"):
            opener.content(record)


def test_a_frame_that_is_none_and_lines_that_are_none_are_told_at_their_record() -> None:
    opener = Opener(PLAIN.header(), None)
    record = DataRecord(framing.Position(7, 0, bytes(32)), 0, b"no frame", b"")
    with pytest.raises(RecordingError, match=r"record 7: .*\(O2\)"):
        opener.content(record)
    with pytest.raises(RecordingError, match=r"record 7: .*\(O3\)"):
        opener.events(replace(record, sealed=packed(b"no line")))


def test_raw_output_is_a_line_like_any_other_for_who_asks_for_lines() -> None:
    vector = Vector("raw")
    opener = Opener(vector.header(), vector.secret)
    for record in records(vector):
        lines = opener.lines(record)
        assert b'{"raw":' not in lines
        assert parse_lines(lines) == opener.events(record)
    assert any(b'{"raw":' in opener.content(record) for record in records(vector))


def test_raw_output_that_is_cut_off_is_told_at_its_record() -> None:
    opener = Opener(PLAIN.header(), None)
    content = packed(b'[0.000,"o",{"raw":9}]\nshort\n')
    record = DataRecord(framing.Position(7, 0, bytes(32)), 0, content, b"")
    for read in (opener.events, opener.lines):
        with pytest.raises(RecordingError, match=r"record 7: .*\(O3\)"):
            read(record)


def test_a_recording_made_with_a_newer_dictionary_is_told_so() -> None:
    opener = Opener(replace(PLAIN.header(), dictionary=99), None)
    with pytest.raises(RecordingError, match=r"dictionary 99 is not here.*\(O2\)"):
        opener.content(records(PLAIN)[0])
