from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocol.console import terminal_width


@contextmanager
def standard_output(fd: int) -> Iterator[None]:
    before = os.dup(1)
    os.dup2(fd, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def test_a_terminal_has_a_width_and_anything_else_has_none(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    try:
        for columns, width in ((70, 70), (0, None)):  # a terminal whose size nobody has said
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            with standard_output(slave):
                assert terminal_width() == width
    finally:
        os.close(master)
        os.close(slave)
    with (tmp_path / "file").open("wb") as file, standard_output(file.fileno()):
        assert terminal_width() is None
