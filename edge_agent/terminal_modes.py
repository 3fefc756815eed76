"""Terminal modes as SSH sends them (RFC 4254 section 8), applied to a pseudo-terminal."""

from __future__ import annotations

import fcntl
import struct
import termios
from collections.abc import Mapping

_INPUT, _OUTPUT, _LOCAL, _CHARACTERS = 0, 1, 3, 6
_NO_CHARACTER = 255

# Opcode to special character.
_SPECIAL: Mapping[int, int] = {
    1: termios.VINTR,
    2: termios.VQUIT,
    3: termios.VERASE,
    4: termios.VKILL,
    5: termios.VEOF,
    6: termios.VEOL,
    7: termios.VEOL2,
    8: termios.VSTART,
    9: termios.VSTOP,
    10: termios.VSUSP,
    12: termios.VREPRINT,
    13: termios.VWERASE,
    14: termios.VLNEXT,
    18: termios.VDISCARD,
}
_IUTF8 = 0o40000  # Linux; Python 3.11's termios has no name for it

# Opcode to the word it is in, and the bit. A pseudo-terminal has no parity and no size of characters to choose.
_FLAGS: Mapping[int, tuple[int, int]] = {
    30: (_INPUT, termios.IGNPAR),
    31: (_INPUT, termios.PARMRK),
    32: (_INPUT, termios.INPCK),
    33: (_INPUT, termios.ISTRIP),
    34: (_INPUT, termios.INLCR),
    35: (_INPUT, termios.IGNCR),
    36: (_INPUT, termios.ICRNL),
    38: (_INPUT, termios.IXON),
    39: (_INPUT, termios.IXANY),
    40: (_INPUT, termios.IXOFF),
    41: (_INPUT, termios.IMAXBEL),
    42: (_INPUT, _IUTF8),
    50: (_LOCAL, termios.ISIG),
    51: (_LOCAL, termios.ICANON),
    53: (_LOCAL, termios.ECHO),
    54: (_LOCAL, termios.ECHOE),
    55: (_LOCAL, termios.ECHOK),
    56: (_LOCAL, termios.ECHONL),
    57: (_LOCAL, termios.NOFLSH),
    58: (_LOCAL, termios.TOSTOP),
    59: (_LOCAL, termios.IEXTEN),
    60: (_LOCAL, termios.ECHOCTL),
    61: (_LOCAL, termios.ECHOKE),
    70: (_OUTPUT, termios.OPOST),
    72: (_OUTPUT, termios.ONLCR),
    73: (_OUTPUT, termios.OCRNL),
    74: (_OUTPUT, termios.ONOCR),
    75: (_OUTPUT, termios.ONLRET),
}


def apply_modes(fd: int, modes: Mapping[int, int]) -> None:
    """Set terminal `fd` as `modes` say; what this system does not know is passed over. Raises `OSError`."""
    try:
        settings = termios.tcgetattr(fd)
        for opcode, value in modes.items():
            _apply(settings, opcode, value)
        termios.tcsetattr(fd, termios.TCSANOW, settings)
    except termios.error as err:
        raise OSError(*err.args) from None


def _apply(settings: list[int | list[bytes | int]], opcode: int, value: int) -> None:
    characters = settings[_CHARACTERS]
    if opcode in _SPECIAL and isinstance(characters, list):
        characters[_SPECIAL[opcode]] = b"\0" if value == _NO_CHARACTER else bytes([value & 0xFF])
    elif opcode in _FLAGS:
        word, bit = _FLAGS[opcode]
        bits = settings[word]
        if isinstance(bits, int):
            settings[word] = bits | bit if value else bits & ~bit


def within_bounds(size: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return `size` as a terminal can have it: SSH has 32 bits for each number, the kernel 16."""
    columns, rows, width, height = (min(max(number, 0), 0xFFFF) for number in size)
    return columns, rows, width, height


def set_size(fd: int, size: tuple[int, int, int, int]) -> None:
    """Set terminal `fd` to `size`, which is within bounds. Raises `OSError`."""
    columns, rows, width, height = size
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))
