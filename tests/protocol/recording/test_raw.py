"""Output told raw: what is around it, what is in it, and what only looks like it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.recording import raw
from protocol.recording.cast import CastError, CastHeader, Event, line_of, parse_lines, plain_lines
from protocol.recording.raw import SIZE_MIN, Raw, RawError, Stream, split
from protocol.recording.transcript import Transcript
from tests.protocol.recording import second_reader

STREAMS: tuple[Stream, ...] = ("o", "e", "i")
# Bytes as programs print them: text of every length in UTF-8, what is none, and what reads like the format itself.
BYTES = (
    st.binary(max_size=40)
    | st.text(max_size=40).map(lambda text: text.encode(errors="replace"))
    | st.sampled_from([b'[0.000,"o",{"raw":5}]\n', b'\n[1,"j","mallory"]\n', b'","o"]\n', b"\xf0\x9f\x98", b"\0\x1b[H"])
)
SIZES = st.sampled_from([1, 3, 50, SIZE_MIN - 1, SIZE_MIN, SIZE_MIN + 1, 9000])
PIECES = st.lists(st.tuples(st.sampled_from(STREAMS), st.integers(0, 30), BYTES, SIZES), max_size=8)


def told(stream: Stream, data: bytes, at: int = 0) -> bytes:
    return line_of(at, stream, raw.value(len(data))) + data + b"\n"


def pieces_of(given_pieces: list[tuple[Stream, int, bytes, int]]) -> list[tuple[int, Stream, bytes]]:
    """Return pieces with their times: each one's bytes repeated up to a size."""
    at, found = 0, []
    for stream, pause, data, size in given_pieces:
        at += pause
        found.append((at, stream, (data * (size // max(len(data), 1) + 1))[:size]))
    return found


@given(PIECES, st.integers(1, 4))
def test_whatever_is_printed_large_and_small_mixed_reads_as_it_was_in_each_stream(
    given_pieces: list[tuple[Stream, int, bytes, int]], every: int
) -> None:
    pieces = pieces_of(given_pieces)
    transcript = Transcript()
    contents = [transcript.lines(pieces[at : at + every]) for at in range(0, len(pieces), every)]
    contents.append(transcript.lines([], last=True))
    events = [event for content in contents for event in parse_lines(content) if isinstance(event, Event)]
    for stream in STREAMS:
        whole = b"".join(data for _, code, data in pieces if code == stream)
        assert "".join(event.data for event in events if event.code == stream) == whole.decode(errors="replace")
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert [event for content in contents for event in parse_lines(plain_lines(content))] == events
    assert [one for content in contents for one in second_reader.events(content)] == [
        [event.time, event.code, event.data] for event in events
    ]


def test_a_piece_is_told_raw_from_four_kibibytes_on_with_what_was_held_back() -> None:
    assert b'{"raw":' not in Transcript().lines([(0, "o", b"x" * 4095)])
    assert Transcript().lines([(0, "o", b"x" * 4096)]) == told("o", b"x" * 4096)
    assert Transcript().lines([(0, "o", b"x" * 4090), (9, "o", b"x" * 6)]) == told("o", b"x" * 4096)
    transcript = Transcript()
    assert transcript.lines([(0, "o", b"\xe6")]) == b""
    assert transcript.lines([(500, "o", b"\x97\xa5" + b"x" * 4093)]) == told("o", b"\xe6\x97\xa5" + b"x" * 4093, 500)


@pytest.mark.parametrize(
    ("end", "held"),
    [
        (b"\xc3", 1), (b"\xe6", 1), (b"\xe6\x97", 2), (b"\xf0\x9f\x98", 3), (b"\xf0\x9f", 2), (b"\xe6\x97\xa5", 0),
        (b"\xff", 0), (b"\x97\x97\x97", 0), (b"\xe0\x80", 0), (b"\xf5\x80\x80", 0), (b"a\xc3", 1), (b"\xc3\xe6\x97", 2),
    ],
)  # fmt: skip
def test_a_raw_piece_ends_where_a_character_does_as_far_as_its_bytes_make_one(end: bytes, held: int) -> None:
    transcript, data = Transcript(), b"x" * 5000 + end
    kept = len(data) - held
    assert transcript.lines([(0, "o", data)]) == told("o", data[:kept])
    rest = Event(0, "o", "\ufffd").line() if held else b""
    assert transcript.lines([], last=True) == rest


def test_large_output_that_is_no_text_is_told_raw_on_a_terminal_and_summed_up_without_one() -> None:
    data = bytes(range(256)) * 64
    assert Transcript().lines([(0, "o", data)], last=True) == told("o", data)
    (found,) = parse_lines(Transcript(sums_up_binary=True).lines([(0, "o", data)], last=True))
    assert isinstance(found, Event)
    assert found.code == "b"


def test_pieces_are_joined_up_to_a_bound() -> None:
    lines = Transcript().lines([(0, "o", b"x" * 30_000)] * 20)
    sizes = [len(part.data) for part in split(lines) if isinstance(part, Raw)]
    assert sum(sizes) == 600_000
    assert max(sizes) < 64 * 1024 + 30_000


def test_what_is_within_raw_output_is_no_line() -> None:
    forged = b'\n[0.000,"j","mallory"]\n[0.000,"o",{"raw":99}]\n' + CastHeader(1, 1, 1).line()
    content = told("o", forged * 100) + Event(5, "j", "bob").line()
    assert parse_lines(content) == [Event(0, "o", (forged * 100).decode()), Event(5, "j", "bob")]
    assert [part for part in split(content) if isinstance(part, bytes)] == [b"", Event(5, "j", "bob").line()]


TOLD = st.builds(told, st.sampled_from(STREAMS), BYTES.filter(bool))
LINES = st.builds(Event, st.integers(0, 10**14 - 1), st.sampled_from(STREAMS), st.text()) | st.sampled_from(
    [Event(0, "o", ',{"raw":5}'), Event(0, "o", '[0,"o",{"raw":5}]\n')]
)


@given(st.lists(TOLD | LINES, max_size=8))
def test_parts_make_up_the_whole(parts: list[bytes | Event]) -> None:
    content = b"".join(part.line() if isinstance(part, Event) else part for part in parts)
    found = list(split(content))
    again = b"".join(told(one.stream, one.data, one.time) if isinstance(one, Raw) else one for one in found)
    assert again == content
    assert sum(isinstance(one, Raw) for one in found) == sum(isinstance(part, bytes) for part in parts)


@pytest.mark.parametrize(
    "content",
    [
        b'[0.000,"o",{"raw":5}]\nabcd\n', b'[0.000,"o",{"raw":5}]\nabcdef\n', b'[0.000,"o",{"raw":5}]\nabcde',
        b'[0.000,"o",{"raw":5}]\n', b'[0.000,"o",{"raw":9999999}]\nabcde\n',
    ],
)  # fmt: skip
def test_raw_output_of_another_size_than_is_said_is_refused(content: bytes) -> None:
    with pytest.raises(RawError, match="not as long"):
        list(split(content))
    for read in (parse_lines, plain_lines):
        with pytest.raises(CastError, match="not as long"):
            read(content)


@pytest.mark.parametrize(
    "line",
    [
        b'[0.000,"o",{"raw":0}]', b'[0.000,"o",{"raw":05}]', b'[0.000,"o",{"raw":-5}]', b'[0.000,"o",{"raw":5.0}]',
        b'[0.000,"o",{"raw":"5"}]', b'[0.000,"o", {"raw":5}]', b'[0.000,"o",{"raw": 5}]',
        b'[0.000,"o",{"raw":5,"a":1}]',
        b'[0.000,"m",{"raw":5}]', b'[0.000,"x",{"raw":5}]', b'[0.000,"b",{"raw":5}]', b'[-1,"o",{"raw":5}]',
        b'[1e3,"o",{"raw":5}]', b'[0.0000,"o",{"raw":5}]', b'[123456789012,"o",{"raw":5}]', b'[0,"o",{"raw":10000000}]',
        b' [0.000,"o",{"raw":5}]', b'[0.000,"o",{"raw":5}] ', b'[0.000,"o",{"raw":5}]\r', b'[0.000,"o",{}]',
    ],
)  # fmt: skip
def test_a_line_that_is_only_like_the_one_before_raw_output_is_no_event(line: bytes) -> None:
    with pytest.raises(CastError):
        parse_lines(line + b"\nabcde\n")


def test_a_header_may_have_a_member_of_that_name() -> None:
    header = CastHeader(80, 24, 0, said={"a": [1, {"raw": 5}]})
    assert parse_lines(header.line() + told("o", b"abcde")) == [header, Event(0, "o", "abcde")]


def test_the_time_of_raw_output_is_read_as_any_other() -> None:
    for said, at in ((b"0", 0), (b"12.3", 12_300), (b"12.345", 12_345), (b"99999999999.999", 10**14 - 1)):
        assert parse_lines(b'[%b,"o",{"raw":1}]\nx\n' % said) == [Event(at, "o", "x")]


class Counted(bytes):
    """Bytes that count how many of them were looked at backwards."""

    seen = 0

    def rfind(self, what: bytes, begin: int, end: int) -> int:  # type: ignore[override]  # as it is used
        self.seen += end - begin
        return super().rfind(what, begin, end)


@pytest.mark.parametrize("part", [b',{"raw":', b'[0,"o",{"raw":x}]\n', b'\n,{"raw":1'])
def test_each_byte_of_what_looks_raw_and_is_not_is_looked_at_once(part: bytes) -> None:
    content = Counted(part * (limits.RECORDING_FRAME_MAX // len(part)))
    assert b"".join(one for one in split(content) if isinstance(one, bytes)) == content
    assert content.seen <= len(content)


@given(st.binary(max_size=100) | BYTES)
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    for whole in (content, b'[0,"o",{"raw":3}]\n' + content, content + b'\n[0,"o",{"raw":3}]\nabc\n'):
        with suppress(RawError):
            list(split(whole))
