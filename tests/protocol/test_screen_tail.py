"""The screen after a snapshot is the screen of who saw all, by the judgement of a terminal emulator (pyte)."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import limits
from protocol.screen_tail import ALL_LINES, ScreenTail

COLUMNS, ROWS = 40, 10
_ALTERNATE = 1049


class Screen(pyte.Screen):
    """Pyte's screen with xterm's alternate one, which it has not."""

    def __init__(self) -> None:
        super().__init__(COLUMNS, ROWS)
        self.main: tuple[Any, Any] | None = None

    def set_mode(self, *modes: int, **more: Any) -> None:  # noqa: ANN401 - pyte's
        if _ALTERNATE in modes and more.get("private") and self.main is None:
            x, y, attrs = self.cursor.x, self.cursor.y, self.cursor.attrs
            self.main = ({row: dict(line) for row, line in self.buffer.items()}, (x, y, attrs))
            self.buffer.clear()
        super().set_mode(*modes, **more)

    def reset_mode(self, *modes: int, **more: Any) -> None:  # noqa: ANN401 - pyte's
        if _ALTERNATE in modes and more.get("private") and self.main is not None:
            lines, (self.cursor.x, self.cursor.y, self.cursor.attrs) = self.main
            self.main = None
            self.buffer.clear()
            for row, line in lines.items():
                self.buffer[row].update(line)
        super().reset_mode(*modes, **more)


def shown(*pieces: bytes) -> tuple[object, ...]:
    """Return all that can be seen, and how the terminal would go on."""
    screen = Screen()
    stream = pyte.ByteStream(screen)
    for piece in pieces:
        stream.feed(piece)
    # Pyte colours the blanks of an emptied line only where something had been.
    cells = [
        [cell if (cell := screen.buffer[row][column]).data != " " else " " for column in range(COLUMNS)]
        for row in range(ROWS)
    ]
    cursor = screen.cursor
    margins = screen.margins if screen.margins != (0, ROWS - 1) else None
    modes = screen.mode - {mode for mode in screen.mode if mode >> 5 == 12}  # the cursor's blinking
    return cells, cursor.x, cursor.y, cursor.attrs, cursor.hidden, margins, modes, screen.main is not None


# What a viewer had on the screen before, in the worst of states.
MESS = b"mess\x1b[5;9r\x1b[?25l\x1b[41m\x1b[4h\x1b[?1000hmore mess\x1b["


def tail_of(*pieces: bytes, most: int = limits.SCREEN_TAIL_MAX) -> ScreenTail:
    tail = ScreenTail(most)
    for piece in pieces:
        tail.add(piece)
    return tail


TEXT = st.sampled_from(
    [b"hello ", b"\r\n", b"line\r\n", "grüße €😀".encode(), b"\t", b"\b", "─│┌".encode(), b"x" * 70, b"\x07", b"\n"]
)
CODES = st.sampled_from(
    [
        b"\x1b[31m",
        b"\x1b[1;44m",
        b"\x1b[0m",
        b"\x1b[m",
        b"\x1b[0;32m",
        b"\x1b[3;5H",
        b"\x1b[H",
        b"\x1b[K",
        b"\x1b[2A",
        b"\x1b]0;a title\x07",
        b"\x1b]8;;http://x/\x1b\\",
        b"\x1bPq#0;2;0;0;0\x1b\\",
        b"\x1b[?2004h",
        b"\x1b[?2004l",
        b"\x1b[?1000;1006h",
        b"\x1b[?1l",
        b"\x1b[?25l",
        b"\x1b[?25h",
        b"\x1b[2L",
    ]
)
EMPTYING = st.sampled_from([b"\x1b[H\x1b[2J", b"\x1b[2J", b"\x1b[J", b"\x1b[1;1H\x1b[J", b"\x1b[H\x1b[2J\x1b[3J"])
SWITCHING = st.sampled_from([b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?1049h\x1b[H\x1b[2J"])
STREAM = st.lists(st.one_of(TEXT, TEXT, CODES, CODES, EMPTYING, SWITCHING), max_size=60)


@settings(max_examples=150, deadline=None)
@given(STREAM)
def test_a_snapshot_makes_any_terminal_show_what_all_of_it_did(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    # An alternate screen that was cleared before it is left again is all the same to who sees it later.
    assert shown(MESS, tail_of(whole).snapshot()) == shown(whole)


@settings(max_examples=80, deadline=None)
@given(STREAM, st.integers(0, 4000), TEXT)
def test_what_follows_is_understood_wherever_the_snapshot_was_taken(pieces: list[bytes], at: int, more: bytes) -> None:
    whole = b"".join(pieces) + more
    first, rest = whole[: at % (len(whole) + 1)], whole[at % (len(whole) + 1) :]
    assert shown(MESS, tail_of(first).snapshot(), rest) == shown(whole)


@settings(max_examples=80, deadline=None)
@given(STREAM, st.sampled_from([40, 200, 1000]))
def test_byte_by_byte_it_is_the_same_as_whole(pieces: list[bytes], most: int) -> None:
    whole = b"".join(pieces)
    single = tail_of(*(bytes([byte]) for byte in whole), most=most)
    if len(whole) <= most * 3 // 2:
        assert single.snapshot() == tail_of(whole, most=most).snapshot()
    assert single.is_midway == tail_of(whole).is_midway
    assert len(single._kept) <= most * 3 // 2


@settings(max_examples=80, deadline=None)
@given(STREAM, st.sampled_from([40, 1000]), st.integers(1, 50))
def test_what_holds_is_known_however_it_came_and_whenever_it_was_asked(
    pieces: list[bytes], most: int, size: int
) -> None:
    whole = b"".join(pieces)
    asked = ScreenTail(most)
    for start in range(0, len(whole), size):
        asked.add(whole[start : start + size])
        fresh = tail_of(whole[: start + size])
        assert (asked.is_alternate, asked.has_margins) == (fresh.is_alternate, fresh.has_margins)
        assert asked.farewell() == fresh.farewell()


def calls_of(tail: ScreenTail, more: bytes) -> int:
    """Return how many functions of Python's are called to take `more`, and to tell all there is to tell."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        tail.add(more)
        tail.snapshot()
        assert tail.is_alternate or tail.has_margins or tail.farewell()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "said",
    [b"\x1b[?25l\x1b[?25h", b"\x1b[1;24r", b"\x1bc", b"\x1b[?25ltext\x1b[?25h", b"\x1b=\x1b>", b"\x1b[4h", b"\x1b[!p"],
)
def test_what_is_said_over_and_over_is_looked_at_a_few_times(said: bytes) -> None:
    whole = said * (limits.SCREEN_TAIL_MAX // len(said))
    tail = tail_of(whole)
    assert calls_of(tail, whole) < 500


def test_a_short_visit_to_the_other_screen_is_sent_with_the_rest() -> None:
    whole = b"\x1b[?1049hx\x1b[?1049ly" * 5000
    tail = tail_of(whole)
    assert calls_of(tail, b"z") < 500 + 5 * 5000  # few for each, though not none
    assert shown(MESS, tail.snapshot()) == shown(whole + b"z")


@settings(max_examples=80, deadline=None)
@given(STREAM, st.sampled_from([30, 100, 500]), st.integers(1, 50))
def test_what_was_forgotten_leaves_no_half_of_anything(pieces: list[bytes], most: int, size: int) -> None:
    """All the rest is rewritten after the cut: so nothing may differ but for what half a sequence would have left."""
    whole = b"".join(pieces) * 3
    paint = b"\x1b[0m\x1b[H\x1b[2J" + b"".join(b"\x1b[%d;1Hrow %d" % (row, row) for row in range(1, ROWS + 1))
    tail = ScreenTail(max(most, len(paint) * 2))
    for start in range(0, len(whole), size):
        tail.add(whole[start : start + size])
    if tail.is_midway:
        return
    tail.add(paint)
    assert shown(MESS, tail.snapshot())[0] == shown(whole + paint)[0]


def test_it_begins_at_a_whole_character() -> None:
    for size in range(100, 108):
        tail = tail_of("€".encode() * 400, most=size)
        assert tail.snapshot().endswith("€".encode() * (len(tail._kept) // 3))
        assert bytes(tail._kept).decode()


def test_it_begins_at_a_whole_sequence() -> None:
    for size in range(100, 112):
        tail = tail_of(b"\x1b[38;5;12mx" * 400, most=size)
        assert bytes(tail._kept).startswith((b"\x1b[38;5;12m", b"x"))


def test_nonsense_is_taken_as_it_comes() -> None:
    for nonsense in (b"\xff" * 5000, b"\x1b" * 5000, b"\x1b[" * 3000, b"\x1b[;;;" * 2000, b"\x80" * 5000, bytes(5000)):
        tail = tail_of(*[nonsense] * 3, most=1000)
        assert len(tail._kept) <= 1500
        assert tail.snapshot()
        tail.add(b"\x1b[H\x1b[2Jfine")
        assert shown(MESS, tail.snapshot())[0] == shown(b"\x1b[H\x1b[2Jfine")[0]


@pytest.mark.parametrize("end", [b"\x07", b"\x1b\\"])
def test_a_string_longer_than_all_that_is_kept_is_dropped_and_ends_where_it_ends(end: bytes) -> None:
    tail = tail_of(b"before\r\n", b"\x1b]1337;File=:", *[b"A" * 700] * 20, most=1000)
    assert len(tail._kept) <= 1500
    assert tail.is_midway
    rest = b"AAAA" + end + b"\x1b[H\x1b[2Jafter"
    assert shown(MESS, tail.snapshot(), rest)[0] == shown(b"\x1b[H\x1b[2Jafter")[0]
    tail.add(rest)
    assert not tail.is_midway
    assert shown(MESS, tail.snapshot())[0] == shown(b"\x1b[H\x1b[2Jafter")[0]


def test_a_string_that_came_whole_and_is_too_long_is_dropped_too() -> None:
    tail = tail_of(b"\x1b]0;" + b"A" * 5000 + b"\x07" + b"tail", most=1000)
    tail.add(b"!")
    assert len(tail._kept) <= 1500
    assert b"A" not in tail.snapshot()
    assert tail.snapshot().endswith(b"tail!")


def test_what_was_emptied_is_not_sent_again() -> None:
    tail = tail_of(b"secret\r\n" * 100, b"\x1b[H\x1b[2J", b"fresh")
    assert b"secret" not in tail.snapshot()
    assert tail.snapshot().endswith(b"fresh")


def test_a_screen_that_was_left_is_not_sent_and_the_one_before_is() -> None:
    tail = tail_of(b"shell\r\n", b"\x1b[?1049h\x1b[H\x1b[2J", b"editor" * 100, b"\x1b[?1049l", b"again")
    assert b"editor" not in tail.snapshot()
    assert tail.snapshot().endswith(b"shell\r\nagain")


def test_modes_hold_though_what_set_them_is_forgotten() -> None:
    told = b"\x1b[?2004h\x1b[?1h\x1b=\x1b[?1002;1006h\x1b[?25l\x1b[2;8r\x1b[4h\x1b[1;35m"
    whole = told + b"x\r\n" * 2000
    tail = tail_of(whole, most=500)
    assert shown(MESS, tail.snapshot())[3:] == shown(whole)[3:]
    assert b"\x1b=" in tail.snapshot()
    assert b"\x1b[?1002h" in tail.snapshot()
    left = tail.farewell()
    for undone in (b"\x1b[?2004l", b"\x1b[?1002l", b"\x1b[?25h", b"\x1b>", b"\x1b[r", b"\x1b[4l"):
        assert undone in left


@pytest.mark.parametrize("reset", [b"\x1bc", b"\x1b[!p"])
def test_a_reset_forgets_modes(reset: bytes) -> None:
    tail = tail_of(b"\x1b[?2004h\x1b[?25l\x1b=", reset, b"on")
    assert b"\x1b[?2004l" not in tail.farewell()
    tail.add(b"\x1b[?2004h")
    assert b"\x1b[?2004l" in tail.farewell()


def test_a_full_reset_empties_the_screen_and_leaves_the_other_one() -> None:
    tail = tail_of(b"old\x1b[?1049h", b"other", b"\x1bc", b"new")
    assert not tail.is_alternate
    assert b"old" not in tail.snapshot()
    assert shown(MESS, tail.snapshot())[0] == shown(b"new")[0]


@pytest.mark.parametrize(
    ("said", "undone"),
    [
        (b"\x1b[>4;2m", b"\x1b[>4m"),
        (b"\x1b[>1u", b"\x1b[<9u"),
        (b"\x1b[=5;1u", b"\x1b[<9u"),
        (b"\x1b[?1016h", b"\x1b[?1016l"),
    ],
)
def test_how_keys_and_the_mouse_are_told_is_undone(said: bytes, undone: bytes) -> None:
    tail = tail_of(b"\x1b[?1049h", said, b"text")
    assert undone in tail.farewell()
    assert undone not in tail_of(b"\x1b[?1049htext").farewell()
    if b"u" in undone:  # each screen has its own
        assert tail.farewell().index(undone) < tail.farewell().index(b"\x1b[?1049l") < tail.farewell().rindex(undone)


def test_how_keys_are_told_is_known_to_who_comes_late_though_it_was_said_long_ago() -> None:
    tail = tail_of(b"\x1b[>4;2m", b"x\r\n" * 2000, most=500)
    assert b"\x1b[>4;2m" in tail.snapshot()
    tail.add(b"\x1b[>4m")
    assert b"\x1b[>4m" not in tail.farewell()


def test_the_alternate_screen_is_known() -> None:
    tail = tail_of(b"a\x1b[?1049h")
    assert tail.is_alternate
    tail.add(b"\x1b[?47l")
    assert not tail.is_alternate


@pytest.mark.parametrize(
    "part", [b"\x1b", b"\x1b[", b"\x1b[31", b"\x1b]0;title", b"\xe2", b"\xe2\x82", b"\xf0\x9f\x98"]
)
def test_nothing_may_be_shown_in_the_middle_of_something(part: bytes) -> None:
    assert tail_of(b"text", part).is_midway


@pytest.mark.parametrize(
    "whole", [b"", b"\x1b[31m", b"\x1b]0;t\x07", b"\x1b]0;t\x1b\\", "€".encode(), b"\x80", b"\xe9abc"]
)
def test_between_things_something_may_be_shown(whole: bytes) -> None:
    assert not tail_of(b"text", whole).is_midway


def test_margins_are_known_and_undone_on_the_screen_they_are_on() -> None:
    tail = ScreenTail()
    tail.add(b"\x1b[?1049h\x1b[1;20r")
    assert tail.has_margins
    assert tail.farewell().index(ALL_LINES) < tail.farewell().index(b"\x1b[?1049l")
    tail.add(ALL_LINES)
    assert not tail.has_margins
    assert ALL_LINES not in tail.farewell()


def test_a_screen_whose_beginning_is_forgotten_is_known_to_be_partial() -> None:
    tail = tail_of(b"shell\r\n\x1b[?1049h\x1b[H\x1b[2Jpainted", most=500)
    assert not tail.is_partial
    tail.add(b"\x1b[3;1Hchanged" * 200)
    assert tail.is_partial
    tail.add(b"\x1b[H\x1b[2Jpainted")
    assert not tail.is_partial
    tail.add(b"\x1b[?1049lshell")
    assert not tail.is_partial
