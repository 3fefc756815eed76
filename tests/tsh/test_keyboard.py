"""Keys found in what a terminal sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsh.keyboard import Key, KeyReader

KEYS = {
    b" ": Key.PAUSE,
    b"q": Key.QUIT,
    b"Q": Key.QUIT,
    b"\x03": Key.QUIT,
    b"\x04": Key.QUIT,
    b"\x1b[C": Key.FORWARD,
    b"\x1bOC": Key.FORWARD,
    b"\x1b[1;5D": Key.BACK,
    b"\x1b[A": Key.FASTER,
    b"\x1bOB": Key.SLOWER,
    b"\x1b[H": Key.START,
    b"\x1b[1~": Key.START,
    b"\x1b[F": Key.END,
    b"\x1b[4~": Key.END,
    b"\x1b[8;2~": Key.END,
    b"\x1bq": Key.QUIT,  # Escape, then q
}
OTHERS = [b"x", b"\r", b"\xc3\xa9", b"\x1b[5~", b"\x1b[Z", b"\x1bOP", b"\x1bx", b"\x1b[?1;2c", b"\x1b]11;rgb:q/q/q\x07",
          b"\x1bP>|q q\x1b\\"]  # fmt: skip


@pytest.mark.parametrize("typed", KEYS)
def test_keys_are_known(typed: bytes) -> None:
    assert list(KeyReader().read(typed)) == [KEYS[typed]]


@pytest.mark.parametrize("typed", OTHERS)
def test_other_keys_and_what_terminals_answer_mean_nothing(typed: bytes) -> None:
    reader = KeyReader()
    assert list(reader.read(typed)) == []
    assert list(reader.read(b" ")) == [Key.PAUSE]


def test_a_sequence_may_come_in_pieces() -> None:
    reader = KeyReader()
    assert [key for byte in b"\x1b[1;5C" for key in reader.read(bytes([byte]))] == [Key.FORWARD]


@pytest.mark.parametrize("begun", [b"\x1b", b"\x1b[", b"\x1bO", b"\x1b[1;", b"\x1b]", b"\x1bP", b"\x1b\x1b"])
def test_a_sequence_that_was_only_begun_does_not_keep_ctrl_c_from_being_heard(begun: bytes) -> None:
    reader = KeyReader()
    assert list(reader.read(begun)) == []
    assert Key.QUIT in reader.read(b"\x03")


def test_keys_typed_together_are_all_heard() -> None:
    assert list(KeyReader().read(b"\x1b[C \x1b[Dxq")) == [Key.FORWARD, Key.PAUSE, Key.BACK, Key.QUIT]


@given(st.lists(st.binary(max_size=20)))
def test_anything_may_be_typed_and_ctrl_c_still_quits(pieces: list[bytes]) -> None:
    reader = KeyReader()
    for piece in pieces:
        list(reader.read(piece))
    assert Key.QUIT in [key for byte in b"\x03\x03" for key in reader.read(bytes([byte]))]
