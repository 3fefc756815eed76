from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.recording.cast import (
    CastError,
    CastHeader,
    Code,
    Event,
    parse_lines,
    parse_size,
    to_cast,
)
from protocol.recording.transcript import Transcript

CODES: tuple[Code, ...] = get_args(Code)
HEADER = {"version": 2, "width": 80, "height": 24, "timestamp": 1_718_020_800}
SUMMARY = f"2048 o sha256:{'0f' * 32}"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
TIMES = st.integers(0, 10**14 - 1)


def told(*pieces: tuple[int, Code, bytes], last: bool = False) -> list[CastHeader | Event]:
    return parse_lines(Transcript().lines(pieces, last=last))


@given(st.builds(Event, TIMES, st.sampled_from([code for code in CODES if code not in ("r", "b")]), TEXTS))
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    assert parse_lines(event.line()) == [event]


@given(TEXTS)
def test_any_json_reader_reads_the_same_text(text: str) -> None:
    assert json.loads(Event(0, "o", text).line())[2] == text


def test_a_line_is_compact_and_told_to_the_millisecond() -> None:
    assert Event(61_005, "o", 'say "ü"\r\n\x1b[0m').line() == '[61.005,"o","say \\"ü\\"\\r\\n\\u001b[0m"]\n'.encode()


@given(
    st.builds(
        CastHeader, st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 10**11), TEXTS,
        st.dictionaries(TEXTS, TEXTS, max_size=3),
        st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(0, 2**53) | TEXTS, max_size=3),
    )
)  # fmt: skip
def test_a_header_is_read_as_it_was_written(header: CastHeader) -> None:
    assert parse_lines(header.line()) == [header]


def test_half_a_surrogate_pair_is_written_as_a_question_mark() -> None:
    assert parse_lines(Event(0, "j", "a\ud800b").line()) == [Event(0, "j", "a?b")]
    header = CastHeader(80, 24, 0, command="\udcff")
    assert parse_lines(header.line()) == [CastHeader(80, 24, 0, command="?")]


@given(st.lists(st.binary(max_size=60) | TEXTS.map(str.encode), max_size=8), st.lists(st.integers(1, 9), max_size=30))
def test_output_cut_anywhere_is_told_as_if_it_had_come_whole(pieces: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(pieces)
    transcript, at, lines = Transcript(), 0, b""
    for cut in [*cuts, len(whole)]:
        lines += transcript.lines([(at * 100, "o", whole[at : at + cut])])
        at += cut
    lines += transcript.lines([], last=True)
    assert "".join(event.data for event in parse_lines(lines) if isinstance(event, Event)) == whole.decode(
        errors="replace"
    )


@given(
    st.builds(Event, st.integers(), st.sampled_from([code for code in CODES if code not in ("r", "b")]), st.text())
    | st.builds(Event, st.integers(), st.just("r"), st.builds("{}x{}".format, *[st.integers(0, 10**19)] * 2))
)
def test_whatever_an_event_says_is_read_again_or_the_nearest_there_is(event: Event) -> None:
    (found,) = parse_lines(event.line())
    assert isinstance(found, Event)
    assert found.time == min(max(event.time, 0), 10**14 - 1)
    if event.code == "r":
        columns, rows = (min(int(part), 65535) for part in event.data.split("x"))
        assert found.data == f"{columns}x{rows}"
    else:
        assert found.data == event.data.encode(errors="replace").decode()


@pytest.mark.parametrize("event", [Event(0, "r", ""), Event(0, "r", "-1x5"), Event(0, "r", "٨x5"), Event(0, "b", "5")])
def test_an_event_that_nobody_could_read_is_not_written(event: Event) -> None:
    with pytest.raises(ValueError, match="none"):
        event.line()


@given(
    st.builds(CastHeader, st.integers(), st.integers(), st.integers(), st.text(), st.dictionaries(st.text(), st.text()))
)
def test_whatever_a_header_says_is_read_again_or_the_nearest_there_is(header: CastHeader) -> None:
    (found,) = parse_lines(header.line())
    assert isinstance(found, CastHeader)
    assert (found.width, found.height) == (min(max(header.width, 0), 65535), min(max(header.height, 0), 65535))
    assert found.timestamp == min(max(header.timestamp, 0), 253_402_300_799)
    assert found.command == header.command.encode(errors="replace").decode()


def test_a_header_that_nobody_could_read_is_not_written() -> None:
    deep: dict[str, Any] = {}
    for _ in range(10):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="more within more"):
        CastHeader(80, 24, 0, said=deep).line()
    with pytest.raises(ValueError, match="not JSON compliant"):
        CastHeader(80, 24, 0, said={"a": float("nan")}).line()


@given(st.text(min_size=1, max_size=200) | st.text('ab"\\\r\n\t\x1b[0m', min_size=1, max_size=200))
def test_where_few_characters_need_it_and_where_many_do_a_text_is_written_the_same_way(dense: str) -> None:
    for text in (dense, dense + " " * 16 * len(dense)):
        assert Transcript().lines([(0, "o", text.encode())]) == Event(0, "o", text).line()


def test_what_follows_within_ten_milliseconds_in_one_stream_is_one_event() -> None:
    pieces: list[tuple[int, Code, bytes]] = [
        (0, "o", b"a"), (9, "o", b"b"), (10, "o", b"c"), (11, "e", b"d"), (12, "o", b"e"), (12, "o", b"f"),
    ]  # fmt: skip
    assert told(*pieces) == [
        Event(0, "o", "ab"), Event(10, "o", "c"), Event(11, "e", "d"), Event(12, "o", "ef"),
    ]  # fmt: skip


def test_a_character_cut_in_two_is_told_whole_and_each_stream_keeps_its_own_half() -> None:
    assert told((0, "o", b"\xe6\x97"), (50, "e", b"\xc3"), (100, "o", b"\xa5"), (150, "e", b"\xa4")) == [
        Event(100, "o", "日"),
        Event(150, "e", "ä"),
    ]


def test_what_is_held_back_of_a_character_is_told_at_the_last_moment_known() -> None:
    transcript = Transcript()
    assert transcript.lines([(700, "o", b"\xe6\x97"), (900, "e", b"x")]) == Event(900, "e", "x").line()
    assert transcript.lines([], last=True) == Event(900, "o", "\ufffd").line()
    assert transcript.lines([], last=True) == b""


def test_bytes_that_are_no_text_become_the_replacement_character() -> None:
    assert told((0, "o", b"a\xff\xc3b\xe6\x97"), last=True) == [
        Event(0, "o", "a\ufffd\ufffdb"),
        Event(0, "o", "\ufffd"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"x", b"[", b"1", b'"o"', b"null", b"[]", b'[0,"o"]', b'[0,"o","a","b"]', b'["0","o","a"]', b'[0,"q","a"]',
        b'[0,"","a"]', b'[0,"o",1]', b'[true,"o","a"]', b'[-1,"o","a"]', b'[-0.001,"o","a"]', b'[1e11,"o","a"]',
        b'[1e999,"o","a"]', b'[NaN,"o","a"]', b'[Infinity,"o","a"]', b"[" + b"9" * 5000 + b',"o","a"]',
        b"[" + b"9" * 400 + b',"o","a"]', b'[0,"o","\\ud800"]', b'[0,"o","\\udc00x"]', b'[0,"o","\xff"]',
        b'[0,"o","a\x01"]', b"[" * 100_000, b'{"a":' * 100_000, '[0,"o","a"]'.encode("utf-16"),
        b'\xef\xbb\xbf[0,"o","a"]', b'[0,"r",""]', b'[0,"r","80"]', b'[0,"r","80x24x1"]', b'[0,"r","-1x24"]',
        b'[0,"r","99999x24"]', b'[0,"r","\xef\xbc\x98\xef\xbc\x90x24"]', b'[0,"r","80x24\\n"]', b"{}",
        b'[0,"b",""]', b'[0,"b","2048"]', b'[0,"b","2048 i sha256:' + b"0" * 64 + b'"]',
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(CastError):
        parse_lines(line)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1}, {"version": "2"}, {"width": -1}, {"width": True}, {"width": 65536}, {"width": 80.5},
        {"height": 10**30}, {"height": None}, {"timestamp": -1}, {"timestamp": 10**12}, {"timestamp": 1.5},
        {"command": 5}, {"command": "\ud800"}, {"env": []}, {"env": {"TERM": "\udfff"}}, {"skerry": []},
        {"skerry": {"user": "\ud800"}}, {"skerry": {"n": float("nan")}},
    ],
)  # fmt: skip
def test_a_first_line_that_is_no_header_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(CastError):
        parse_lines(json.dumps({**HEADER, **change}).encode())


@pytest.mark.parametrize("depth", [9, 500, *range(940, 1000, 4), 5000])
def test_a_first_line_that_nests_too_deep_is_refused_whatever_the_reader_could_follow(depth: int) -> None:
    said = '{"a":' * depth + "1" + "}" * depth
    with pytest.raises(CastError):
        parse_lines(json.dumps({**HEADER, "skerry": "?"}).replace('"?"', said).encode())


def test_a_header_of_somebody_else_s_is_read_and_what_is_no_text_in_its_env_left_out() -> None:
    foreign = {**HEADER, "idle_time_limit": 2.5, "theme": {"fg": "#fff"}, "env": {"SHELL": "/bin/zsh", "X": 5}}
    assert parse_lines(json.dumps(foreign).encode()) == [CastHeader(80, 24, 1_718_020_800, env={"SHELL": "/bin/zsh"})]


def test_a_header_stands_nowhere_but_in_the_first_line() -> None:
    header = json.dumps(HEADER).encode()
    assert len(parse_lines(header + b'\n[0,"o","a"]\n')) == 2
    for content in (b'[0,"o","a"]\n' + header, header + b"\n" + header):
        with pytest.raises(CastError, match="a header among the events"):
            parse_lines(content)


def test_other_recorders_spaces_and_whole_numbers_are_read_too() -> None:
    assert parse_lines(b'[1, "o", "a"]\n\n[ 1.2345 , "r", "132x43" ]\n') == [
        Event(1000, "o", "a"),
        Event(1234, "r", "132x43"),
    ]


@pytest.mark.parametrize(("text", "size"), [("80x24", (80, 24)), ("0x0", (0, 0)), ("65535x00001", (65535, 1))])
def test_a_size_is_read(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


def test_a_plain_player_gets_what_it_knows() -> None:
    assert [to_cast(Event(5, code, "bob")) for code in ("o", "i", "r", "m")] == [
        Event(5, code, "bob") for code in ("o", "i", "r", "m")
    ]
    assert to_cast(Event(5, "e", "bob")) == Event(5, "o", "bob")
    assert to_cast(Event(5, "j", "bob")) == Event(5, "m", "bob joined")
    assert to_cast(Event(5, "l", "bob")) == Event(5, "m", "bob left")
    assert to_cast(Event(5, "b", SUMMARY)) == Event(5, "m", "2048 bytes that are no text")
    assert to_cast(Event(5, "x", "0")) is None


def test_a_summary_of_what_was_no_text_is_read() -> None:
    assert parse_lines(Event(5, "b", SUMMARY).line()) == [Event(5, "b", SUMMARY)]


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    with suppress(CastError):
        assert all(isinstance(one, Event | CastHeader) for one in parse_lines(content))
