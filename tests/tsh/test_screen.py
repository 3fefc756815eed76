"""What of a recording reaches the terminal it is played on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsh.screen import Screen

DRAWS = [
    "plain text, grüß dich\r\n",
    "\x1b[1;31mred\x1b[0m",
    "\x1b[10;20H\x1b[2K\x1b[J\x1b[2J\x1b[1;24r\x1b[4h\x1b[4l",
    "\x1b[?25l\x1b[?25h\x1b[?7l\x1b[?1049h\x1b[?1049l\x1b[?6;7h",
    "\x1b(0lqk\x1b(B\x1b7\x1b8\x1bM\x1bD\x1b#8\x1bc",
    "\x1b[2 q\x1b[!p\x1b[5$x\x1b[3'}\x1b[?2J",
]
SILENT = [
    "\x05",  # ENQ
    "\x1b[c",
    "\x1b[>0c",
    "\x1b[=c",
    "\x1b[6n",
    "\x1b[?6n",
    "\x1b[21t",
    "\x1b[8;50;200t",
    "\x1b[x",
    "\x1bZ",
    "\x1b[5i",  # print
    "\x1b[3J",  # lines that have scrolled away
    "\x1b[03J",
    "\x1b[2h",  # lock the keyboard
    "\x1b[20h",
    "\x1b[?1h",
    "\x1b[?1000h",
    "\x1b[?1002;1006h",
    "\x1b[?2004h",
    "\x1b[?3h",
    "\x1b[?u",
    "\x1b[>1u",
    "\x1b[>4;1m",
    "\x1b[?25$p",
    "\x1b[1;1;1;1;1;1*y",
    "\x1b=",
    "\x1b>",
    "\x1b%@",
    "\x1b G",
    "\x1b]52;c;ZWNobyBoaQ==\x07",
    "\x1b]0;title\x1b\\",
    "\x1b]11;?\x9c",
    "\x1bP$qm\x1b\\",
    "\x1b_Ga=T;\x1b\\",
    "\x1b^pm\x18",
    "\x9b6n",  # C1: the one-character form of CSI
    "\x9d52;c;!\x9c",
    "\x1b[?1000;1001h",
]


@pytest.mark.parametrize("text", DRAWS)
def test_what_draws_passes_as_it_is(text: str) -> None:
    assert Screen().show(text) == text


@pytest.mark.parametrize("text", SILENT)
def test_what_does_not_draw_is_left_out(text: str) -> None:
    assert Screen().show(f"before{text}after") == "beforeafter"


@pytest.mark.parametrize("text", SILENT + DRAWS)
def test_pieces_of_any_size_are_shown_as_the_whole(text: str) -> None:
    whole, piecewise = Screen(), Screen()
    shown = whole.show(f"<{text}>")
    assert "".join(piecewise.show(character) for character in f"<{text}>") == shown
    assert whole.alternate == piecewise.alternate


def test_of_several_modes_those_that_draw_are_set() -> None:
    assert Screen().show("\x1b[?25;1000;7h") == "\x1b[?25;7h"


def test_a_string_ends_with_the_escape_of_the_next_sequence() -> None:
    assert Screen().show("\x1b]0;title\x1b[1mbold") == "\x1b[1mbold"
    screen = Screen()
    assert screen.show("\x1b]0;title\x1b") == ""
    assert screen.show("[1mbold") == "\x1b[1mbold"


def test_what_is_no_sequence_loses_its_escape() -> None:
    assert Screen().show("a\x1b[1\x07c") == "a[1\x07c"
    assert Screen().show("\x1b[" + "1" * 300) == "[" + "1" * 300
    assert Screen().show("\x1b\x1b[1m") == "\x1b[1m"
    assert Screen().show("\x1b\x07x") == "\x07x"


def test_restoring_leaves_the_alternate_screen_only_from_there() -> None:
    screen = Screen()
    assert "1049" not in screen.restore()
    screen.show("\x1b[?1049h")
    assert screen.restore().endswith("\x1b[?1049l")
    screen.show("\x1bc")
    assert "1049" not in screen.restore()


def test_restoring_ends_the_line() -> None:
    screen = Screen()
    screen.show("prompt$ ")
    assert screen.restore().endswith("\r\n")
    screen.show("\r\n")
    assert not screen.restore().endswith("\r\n")


def test_clearing_forgets_what_was_half_shown() -> None:
    screen = Screen()
    screen.show("\x1b[?1049h\x1b]0;half")
    cleared = screen.clear()
    assert cleared.index("\x1b[?1049l") < cleared.index("\x1b[2J")
    assert screen.show("text") == "text"
    assert not screen.alternate


def test_clearing_may_go_to_the_alternate_screen() -> None:
    screen = Screen()
    assert screen.clear(alternate=True).endswith("\x1b[?1049h")
    assert screen.alternate


@given(st.lists(st.text(st.sampled_from("\x1b[]?;01459hlmcnJtP\\\x07\x9b\x05 \x18xq")), max_size=8))
def test_nothing_shown_asks_anything_of_a_terminal(pieces: list[str]) -> None:
    screen = Screen()
    shown = "".join(screen.show(piece) for piece in pieces)
    again = Screen()
    assert again.show(shown) == shown.removesuffix(again._pending)
    assert not any(asks in shown for asks in ("\x05", "\x9b", "\x1b[c", "\x1b]", "\x1bP", "\x1b[6n", "\x1b[?1000h"))


@given(st.text(max_size=200))
def test_any_text_is_taken(text: str) -> None:
    Screen().show(text)


def test_where_lines_scroll_is_reset_with_the_size_only_where_a_program_had_set_it() -> None:
    screen = Screen()
    assert screen.resize() == ""
    screen.show("\x1b[1;10r")
    assert screen.resize() == "\x1b7\x1b[?6l\x1b[r\x1b8"
    assert screen.resize() == ""
    for undone in ("\x1bc", None):
        screen.show("\x1b[1;10r")
        screen.show(undone) if undone else screen.clear()
        assert screen.resize() == ""
