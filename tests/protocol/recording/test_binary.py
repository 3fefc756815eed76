"""What is no text: where the line runs, for whom, and what can be hidden behind it."""

from __future__ import annotations

import gzip
import hashlib
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.recording import binary
from protocol.recording.binary import Summary, Tally, parse_summary
from protocol.recording.cast import Code, Event, parse_lines
from protocol.recording.transcript import Transcript

NAMED = hashlib.sha256(b"").hexdigest()
CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\a\b\t\n\v\f\r\x1b")
# Of every kind of character there is, and of every length in UTF-8.
SCRIPTS = ["plain\n", "\x1b[31m\a\b\t\v\f\r", "grüß", "Привет", "日本語", "\U0001f600", "\u0085\u200b\ufffd"]


def told(*pieces: tuple[int, Code, bytes], last: bool = True) -> list[Event]:
    lines = Transcript(sums_up_binary=True).lines(pieces, last=last)
    return [event for event in parse_lines(lines) if isinstance(event, Event)]


def codes(data: bytes) -> set[str]:
    return {event.code for event in told((0, "o", data))}


def summed(time: int, data: bytes, stream: str = "o") -> Event:
    return Event(time, "b", f"{len(data)} {stream} sha256:{hashlib.sha256(data).hexdigest()}")


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - the same each time


BINARY = {
    "random": noise(65536),
    "zeros": bytes(65536),
    "control characters": b"\x01\x02" * 8192,
    "deleted": b"\x7f" * 1024,
    "compressed": gzip.compress(noise(40_000).hex().encode(), mtime=0),
    "a program": Path(sys.executable).resolve().read_bytes()[:65536],
    "UTF-16": ("plain text, told in another way\n" * 100).encode("utf-16"),
    "KOI8-R": ("Это обычный текст\n" * 100).encode("koi8-r"),
    "UTF-8 that never ends a character": b"\xe6\x97" * 2000,
    "bytes that begin no character": b"\xff\xc0\xf5" * 1000,
    "the least there is": noise(1024),
    "a large piece": noise(300_000),
    "many zeros": bytes(300_000),
    "zeros and characters": ("\0ü" * 2000).encode() + b"\xff",
}


@pytest.mark.parametrize("what", BINARY)
def test_what_is_no_text_is_summed_up(what: str) -> None:
    data = BINARY[what]
    assert told((7, "o", data)) == [summed(7, data)]
    assert told((7, "e", data)) == [summed(7, data, "e")]


@pytest.mark.parametrize("what", BINARY)
def test_on_a_terminal_everything_stays_text(what: str) -> None:
    data = BINARY[what]
    lines = Transcript().lines([(7, "o", data)], last=True)
    events = [event for event in parse_lines(lines) if isinstance(event, Event)]
    assert {event.code for event in events} == {"o"}
    assert "".join(event.data for event in events) == data.decode(errors="replace")


@given(st.lists(st.tuples(st.sampled_from("oei"), st.binary(max_size=3000)), max_size=6))
def test_on_a_terminal_nothing_is_ever_summed_up(pieces: list[tuple[Code, bytes]]) -> None:
    transcript = Transcript()
    lines = transcript.lines([(0, code, data * 2) for code, data in pieces], last=True)
    assert all(isinstance(event, Event) and event.code in "oei" for event in parse_lines(lines))


@pytest.mark.parametrize("what", BINARY)
def test_input_stays_as_it_was_typed(what: str) -> None:
    assert {event.code for event in told((0, "i", BINARY[what]))} == {"i"}


@given(st.text(CHARACTERS, min_size=1, max_size=200), st.integers(1, 3000))
def test_text_is_never_summed_up_wherever_it_is_cut(text: str, size: int) -> None:
    whole = (text * (4096 // len(text.encode()) + 1)).encode()
    pieces: list[tuple[int, Code, bytes]] = [
        (at, "o", whole[at : at + size]) for at in range(0, len(whole), max(size, 64))
    ]
    whole = b"".join(data for _, _, data in pieces)
    events = told(*pieces)
    assert {event.code for event in events} == {"o"}
    assert "".join(event.data for event in events) == whole.decode(errors="replace")


@pytest.mark.parametrize("script", SCRIPTS)
def test_text_of_any_script_is_text_also_where_a_few_bytes_of_it_are_broken(script: str) -> None:
    whole = (script * 20_000).encode()[:100_000]
    assert codes(whole) == {"o"}
    broken = bytearray(whole)
    for at in range(0, len(broken), 50):
        broken[at] = 0xFF
    assert codes(bytes(broken)) == {"o"}


@pytest.mark.parametrize("what", ["latin-1", "progress"])
def test_what_is_mostly_text_is_text(what: str) -> None:
    data = {
        "latin-1": ("Ein gewöhnlicher Satz über Bäume und Flüsse.\n" * 100).encode("latin-1"),
        "progress": b"\r\x1b[K 42 % \b\b\b" * 1000,
    }[what]
    assert codes(data) == {"o"}


@pytest.mark.parametrize("odd", [b"\0", b"\xff", b"\x7f"])
@pytest.mark.parametrize("size", [1024, 4096])
def test_three_bytes_in_ten_are_the_most_that_is_told(odd: bytes, size: int) -> None:
    most = size * 3 // 10
    assert codes(odd * most + b"x" * (size - most)) == {"o"}
    assert codes(odd * (most + 1) + b"x" * (size - most - 1)) == {"b"}


@pytest.mark.parametrize("odd", [b"\0", b"\xff", b"\xfe\0"])
def test_less_than_a_kibibyte_is_told_whatever_it_is(odd: bytes) -> None:
    assert codes((odd * 1023)[:1023]) == {"o"}
    assert codes((odd * 1024)[:1024]) == {"b"}


def test_bytes_that_grow_as_they_are_told_do_not_make_a_small_piece_a_large_one() -> None:
    assert codes(b"\1" * 800 + b"\xff" * 200) == {"o"}


@given(st.integers(1024, 9000), st.integers(0, 100), st.booleans(), st.sampled_from([b"\0", b"\xff"]))
def test_whoever_hides_ascii_prints_three_bytes_of_something_else_for_seven_of_it(
    size: int, percent: int, spread: bool, odd: bytes
) -> None:
    """However the others are spread: text in which there are fewer of them is told whole."""
    strange = size * percent // 100
    data = odd * strange + b"a" * (size - strange)
    if spread:
        data = bytes(byte for place in range(97) for byte in data[place::97])
    if strange * 10 <= size * 3:
        assert told((0, "o", data)) == [Event(0, "o", data.decode(errors="replace"))]
    elif odd == b"\0" or size <= 4096:
        assert told((0, "o", data)) == [summed(0, data)]


def test_in_a_large_piece_what_is_utf_8_beyond_ascii_is_seen_in_eight_samples() -> None:
    size, step = 65536, 8192
    whole = bytearray(("日" * size).encode()[: size - 1] + b"\xff")
    for begin in range(0, size, step):
        whole[begin : begin + 512] = b"\xff" * 512
    assert binary.is_binary(bytes(whole))  # 4 KiB of it, at the very places, hide the rest
    whole = bytearray(("日" * size).encode()[: size - 1] + b"\xff")
    for begin in range(0, size, step):
        whole[begin + 513 : begin + 4096] = b"\xff" * 3583
    assert not binary.is_binary(bytes(whole))


@given(st.lists(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), max_size=60))
def test_characters_are_counted_as_they_are_shaped(parts: list[bytes]) -> None:
    data = b"".join(parts)
    expected, at = 0, 0
    while at < len(data):
        size = next((size for first, size in ((0xF5, 0), (0xF0, 4), (0xE0, 3), (0xC2, 2)) if data[at] >= first), 0)
        rest = data[at + 1 : at + size]
        is_whole = size and len(rest) == size - 1 and all(0x80 <= byte < 0xC0 for byte in rest)
        expected += size if is_whole else 0
        at += size if is_whole else 1
    assert binary._shaped(data) == expected


@pytest.mark.parametrize("size", [0, 1, 65518, 65519, 65520, 65521, 65522, 200_000])
def test_marks_that_are_all_set_are_all_counted(size: int) -> None:
    assert binary._count(b"\1" * size) == size
    assert binary._count(b"\0" * size) == 0


@given(st.binary(max_size=300), st.sampled_from([1, 7, 300]))
def test_marks_are_counted_in_pieces_of_any_size(marks: bytes, times: int) -> None:
    whole = bytes(mark & 1 for mark in marks) * times
    assert binary._count(whole) == whole.count(1)


# --- what is told of it -----------------------------------------------------------------------------------------------


def test_what_follows_in_the_same_stream_is_one_event_with_the_time_of_the_first() -> None:
    one, two, three = noise(2000, 1), noise(3000, 2), noise(4000, 3)
    assert told((5, "o", one), (100, "o", two), (101, "o", three)) == [summed(5, one + two + three)]


def test_text_and_the_other_stream_come_between() -> None:
    one, two = noise(2000, 1), noise(2000, 2)
    assert told((5, "o", one), (100, "o", b"text"), (200, "o", two), (300, "e", one), (400, "o", two)) == [
        summed(5, one), Event(100, "o", "text"), summed(200, two), summed(300, one, "e"), summed(400, two),
    ]  # fmt: skip
    assert told((5, "o", one), (100, "i", b"typed"), (200, "o", two)) == [
        summed(5, one), Event(100, "i", "typed"), summed(200, two),
    ]  # fmt: skip


def test_a_lone_beginning_of_a_character_does_not_part_what_is_told_around_it_from_its_bytes() -> None:
    one, two = bytes(2000), bytes(3000)
    assert told((5, "o", one), (100, "o", b"\xe6"), (200, "o", two)) == [summed(5, one), summed(200, b"\xe6" + two)]
    assert told((5, "o", one), (100, "o", b"\xe6")) == [summed(5, one), Event(100, "o", "\ufffd")]


def test_a_cut_character_that_ends_it_is_counted_with_it() -> None:
    data = bytes(2000) + b"\xe6\x97"
    assert told((5, "o", data), (100, "o", b"\xa5")) == [summed(5, data), Event(100, "o", "\ufffd")]


@given(
    st.lists(st.tuples(st.sampled_from("oe"), st.integers(0, 40), st.binary(min_size=200, max_size=900)), max_size=8)
)
def test_every_byte_is_told_or_counted_once(pieces: list[tuple[Code, int, bytes]]) -> None:
    time, given_pieces = 0, []
    for code, pause, data in pieces:
        time += pause
        given_pieces.append((time, code, data * 3))
    transcript, lines = Transcript(sums_up_binary=True), b""
    for piece in given_pieces:
        lines += transcript.lines([piece])
    lines += transcript.lines([], last=True)
    events = [event for event in parse_lines(lines) if isinstance(event, Event)]
    for stream in ("o", "e"):
        said = "".join(event.data for event in events if event.code == stream)
        counted = [parse_summary(event.data) for event in events if event.code == "b"]
        whole = sum(len(data) for _, code, data in given_pieces if code == stream)
        count = sum(one.count for one in counted if one.stream == stream)
        assert count <= whole
        # A character of the text came of at least one byte, and of at most four.
        assert count + len(said) <= whole <= count + 4 * len(said)


def test_a_summary_is_read_as_it_was_written() -> None:
    tally = Tally(5, "e")
    tally.add(b"\0" * 10)
    tally.add(b"\1" * 5)
    summary = tally.summary()
    assert summary == Summary(15, "e", hashlib.sha256(b"\0" * 10 + b"\1" * 5).hexdigest())
    assert parse_summary(str(summary)) == summary
    assert summary.describe() == "15 bytes that are no text"


@pytest.mark.parametrize(
    "text",
    [
        "", "1", f"0 o sha256:{NAMED}", f"01 o sha256:{NAMED}", f"-1 o sha256:{NAMED}", f"1 i sha256:{NAMED}",
        f"1 o sha1:{NAMED}", f"1 o sha256:{NAMED[:-1]}", f"1 o sha256:{NAMED}0", f"1 o sha256:{NAMED.upper()}",
        f"1 o sha256:{NAMED}\n", f" 1 o sha256:{NAMED}", f"1  o sha256:{NAMED}", f"\u0661 o sha256:{NAMED}",
        f"{10**16} o sha256:{NAMED}", f"1 oe sha256:{NAMED}",
    ],
)  # fmt: skip
def test_a_summary_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="none"):
        parse_summary(text)
