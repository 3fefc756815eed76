"""What a program may have left switched on in the terminal of somebody who leaves, or is cut off, before it ends."""

from __future__ import annotations

import re

from tsh.screen import ALTERNATE_MODES

_ESCAPE = b"\x1b"
# What switches to the alternate screen and back (xterm's ctlseqs, DECSET), and what resets all (RIS).
_SWITCH = re.compile(rb"\x1b(?:\[\?([0-9;]{1,64})([hl])|(c))")
_UNFINISHED = re.compile(rb"\x1b(?:\[(?:\?[0-9;]{0,64})?)?\Z")
# Cursor and number keys; the mouse, focus and pasted text told of; keys told of in other ways (xterm, kitty).
_KEYS = b"\x1b[?1l\x1b>\x1b[?9;1000;1002;1003;1004;1005;1006;1015;1016;2004l\x1b[>4m\x1b[=0u"
# Reverse video, origin mode and margins (which move the cursor), autowrap, character sets, cursor, attributes.
_DRAWING = b"\x1b[?5l\x1b7\x1b[?6l\x1b[?69l\x1b[r\x1b8\x1b[?7h\x1b(B\x0f\x1b[0 q\x1b[?25h\x1b[0m\x1b[4l"
_LEAVE = b"\x1b[?1049l"


class Traces:
    """Sees what goes to the terminal, piece by piece, and tells how to make that fit for a shell again."""

    def __init__(self) -> None:
        self._tail = b""
        self._alternate = self._is_touched = False
        self._at_line_start = True

    def see(self, data: bytes) -> None:
        """Take note of what is written next."""
        if data:
            self._at_line_start = data.endswith(b"\n")
        if not self._tail and _ESCAPE not in data:
            return
        self._is_touched = True
        data = self._tail + data
        for modes, final, reset in _SWITCH.findall(data):
            if reset:
                self._alternate = False
            elif any(mode.lstrip(b"0").decode() in ALTERNATE_MODES for mode in modes.split(b";")):
                self._alternate = final == b"h"
        unfinished = _UNFINISHED.search(data)
        self._tail = unfinished[0] if unfinished else b""

    def undo(self) -> bytes:
        """Return what switches it all off, the cursor at the beginning of a line."""
        end = _LEAVE if self._alternate else b"" if self._at_line_start else b"\r\n"
        return b"\x1b\\" + _KEYS + _DRAWING + end if self._is_touched else end
