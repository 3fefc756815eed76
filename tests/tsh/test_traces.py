"""What is switched off in the terminal of who leaves a session that goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsh.traces import Traces

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


def undone(*pieces: bytes) -> bytes:
    traces = Traces()
    for piece in pieces:
        traces.see(piece)
    return traces.undo()


@pytest.mark.parametrize("shown", [ENTER, b"\x1b[?47h", b"\x1b[?1047h", b"a\x1b[?25;01049hb", b"\x1b[?1049l" + ENTER])
def test_the_alternate_screen_is_left(shown: bytes) -> None:
    assert undone(shown).endswith(LEAVE)


@pytest.mark.parametrize("shown", [b"", b"text\r\n", ENTER + LEAVE, ENTER + b"\x1bc", b"\x1b[?25h", b"\x1b[1049h"])
def test_the_screen_stays_where_it_is_no_alternate_one(shown: bytes) -> None:
    assert LEAVE not in undone(shown)


def test_the_cursor_comes_to_the_beginning_of_a_line() -> None:
    assert undone(b"$ ").endswith(b"\r\n")
    assert not undone(b"$ \r\n").endswith(b"\r\n")
    assert not undone(b"").endswith(b"\r\n")


@pytest.mark.parametrize("mode", [b"1000", b"1002", b"1003", b"1006", b"2004", b"1004"])
def test_what_changes_what_keys_and_mouse_send_is_switched_off(mode: bytes) -> None:
    told = undone(b"\x1b[?" + mode + b"h").partition(b"\x1b[?9;")[2].partition(b"l")[0]
    assert mode in told.split(b";")


def test_a_terminal_that_was_told_nothing_is_told_nothing() -> None:
    assert undone(b"plain", b" text\r\n") == b""
    assert undone(b"plain") == b"\r\n"


PIECES = st.lists(st.sampled_from([b"\x1b", b"[", b"?", b"1049", b"47", b";", b"h", b"l", b"c", b"x", b"\n", b"25"]))


@given(PIECES)
def test_pieces_are_seen_as_the_whole(pieces: list[bytes]) -> None:
    assert undone(*pieces) == undone(b"".join(pieces))


def test_what_never_ends_is_not_kept() -> None:
    traces = Traces()
    for _ in range(1000):
        traces.see(b"\x1b[?" + b"1;" * 1000)
    assert len(traces._tail) < 100
