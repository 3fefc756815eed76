"""The person's own terminal: raw while a session runs and as it was on every way out, its size, the escapes."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

HELP = (
    b"~?\r\nSupported escape sequences:\r\n"
    b" ~.   - terminate the connection\r\n"
    b" ~?   - this message\r\n"
    b" ~~   - send the escape character by typing it twice\r\n"
    b"(Note that escapes are only recognized immediately after newline.)\r\n"
)

TerminalSize = tuple[int, int, int, int]

_TILDE = ord("~")
_NEWLINES = b"\r\n"
# RFC 4254 section 8: opcodes of the special characters a person may have changed, and their place here.
_CHARACTERS = {
    1: termios.VINTR,
    2: termios.VQUIT,
    3: termios.VERASE,
    4: termios.VKILL,
    5: termios.VEOF,
    8: termios.VSTART,
    9: termios.VSTOP,
    10: termios.VSUSP,
}
_IUTF8 = 0o40000
_IUTF8_OPCODE = 42  # RFC 8160


class Escape(Enum):
    """What a person asks of tsh itself."""

    DISCONNECT = "disconnect"
    HELP = "help"


class EscapeReader:
    """Finds ``~.``, ``~?`` and ``~~`` in what is typed, at the beginning of a line only."""

    def __init__(self) -> None:
        self._at_line_start = True
        self._after_tilde = False

    def read(self, typed: bytes) -> Iterator[bytes | Escape]:
        """Yield what is to be sent and what is asked, in order. A tilde may wait for the next call."""
        if not self._after_tilde and b"~" not in typed:
            if typed:
                self._at_line_start = typed[-1] in _NEWLINES
                yield typed
            return
        plain = bytearray()
        for byte in typed:
            escape = self._step(byte, plain)
            if escape is not None:
                if plain:
                    yield bytes(plain)
                    plain.clear()
                yield escape
        if plain:
            yield bytes(plain)

    def _step(self, byte: int, plain: bytearray) -> Escape | None:
        if self._after_tilde:
            self._after_tilde = False
            if byte in b".?":
                self._at_line_start = True
                return Escape.DISCONNECT if byte == ord(".") else Escape.HELP
            plain.append(_TILDE)
            self._at_line_start = False
            if byte == _TILDE:
                return None
        elif byte == _TILDE and self._at_line_start:
            self._after_tilde = True
            return None
        plain.append(byte)
        self._at_line_start = byte in _NEWLINES
        return None


def terminal_size(descriptor: int) -> TerminalSize | None:
    """Return columns, rows, width and height in pixels; None where `descriptor` is no terminal."""
    try:
        answer = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    rows, columns, width, height = struct.unpack("HHHH", answer)
    return (columns, rows, width, height) if rows and columns else None


def terminal_modes(descriptor: int) -> dict[int, int]:
    """Return the terminal's modes as RFC 4254 section 8 numbers them: those that shells are given to change."""
    try:
        attributes = termios.tcgetattr(descriptor)
    except termios.error:
        return {}
    characters = attributes[6]
    modes = {opcode: characters[place][0] for opcode, place in _CHARACTERS.items()}
    modes[_IUTF8_OPCODE] = int(bool(attributes[0] & _IUTF8))
    return modes


@contextmanager
def raw_terminal(descriptor: int) -> Iterator[None]:
    """Pass every key on as it is typed; as it was before when left, however that happens.

    Signals that end the program must reach it as exceptions: `tsh.session` sees to that.
    """
    before = termios.tcgetattr(descriptor)
    raw = termios.tcgetattr(descriptor)
    raw[0] &= ~(
        termios.IGNPAR | termios.ISTRIP | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON | termios.IXANY
        | termios.IXOFF
    )  # fmt: skip
    raw[1] &= ~termios.OPOST
    raw[2] = (raw[2] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
    raw[3] &= ~(termios.ECHO | termios.ECHOE | termios.ECHOK | termios.ECHONL | termios.ISIG | termios.ICANON)
    raw[3] &= ~termios.IEXTEN
    raw[6][termios.VMIN] = 1
    raw[6][termios.VTIME] = 0
    termios.tcsetattr(descriptor, termios.TCSADRAIN, raw)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


def is_terminal(descriptor: int) -> bool:
    """Tell whether `descriptor` is a terminal."""
    return os.isatty(descriptor)
