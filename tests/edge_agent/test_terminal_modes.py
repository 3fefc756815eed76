from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.terminal_modes import apply_modes, set_size, within_bounds


@pytest.fixture
def terminal() -> Iterator[int]:
    master, slave = os.openpty()
    yield slave
    os.close(master)
    os.close(slave)


def test_flags_and_characters_are_set_as_sent(terminal: int) -> None:
    apply_modes(terminal, {53: 0, 70: 0, 36: 1, 3: 8, 1: 255})
    found = termios.tcgetattr(terminal)
    assert not found[3] & termios.ECHO
    assert not found[1] & termios.OPOST
    assert found[0] & termios.ICRNL
    assert found[6][termios.VERASE] == b"\x08"
    assert found[6][termios.VINTR] == b"\0"


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 255), st.integers(0, 2**32 - 1)))
def test_no_modes_upset_it(terminal: int, modes: dict[int, int]) -> None:
    apply_modes(terminal, modes)


@pytest.mark.parametrize(
    ("asked", "rows", "columns"), [((80, 24, 0, 0), 24, 80), ((10**9, -1, 0, 0), 0, 65535), ((0, 0, 0, 0), 0, 0)]
)
def test_any_size_is_held_to_what_a_terminal_can_have(
    terminal: int, asked: tuple[int, int, int, int], rows: int, columns: int
) -> None:
    set_size(terminal, within_bounds(asked))
    assert struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))[:2] == (rows, columns)
