"""The terminal's screen while a recording is drawn anew on it, and what is put over its last line."""

from __future__ import annotations

from tsh.caption import LastLine
from tsh.screen import Screen

_SYNCHRONISED, _SHOWN = "\x1b[?2026h", "\x1b[?2026l"  # a terminal that knows it draws what lies between in one go
_ERASE = "\x1b7\x1b[999;1H\x1b[2K\x1b8"


class Canvas:
    """Empties the screen before it is drawn anew, and lets it be seen when that is done."""

    def __init__(self, screen: Screen, last_line: LastLine) -> None:
        self._screen, self._last_line = screen, last_line
        self._cleared = False  # the screen is to be emptied before anything is shown
        self._drawing = False  # a redraw has begun, and the terminal holds it back

    def clear(self) -> None:
        """Have the screen emptied before anything is shown."""
        self._cleared = True

    def begin(self, *, alternate: bool) -> str:
        """Return what comes before what is shown, on the alternate screen or not."""
        erased = self.erase()
        if not self._cleared:
            return erased
        self._cleared, self._drawing = False, True
        return _SYNCHRONISED + self._screen.clear(alternate=alternate)

    def erase(self) -> str:
        """Return what takes away whatever was put over the last line."""
        return _ERASE if self._last_line.uncover() else ""

    def finish(self) -> str:
        """Return what comes after it, so that it is seen."""
        drawing, self._drawing = self._drawing, False
        return _SHOWN if drawing else ""
