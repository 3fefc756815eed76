"""What a screen is like between two blocks of a recording, found in their event lines without reading each event.

Whoever goes to the middle of a recording does not see what came long before. Two things of that matter for what is
drawn from there: whether a program had switched to the alternate screen, and how large the session's terminal was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tsh.screen import ALTERNATE_MODES

# Lines of what is no output: they are left out, and output that goes on in the next line is joined.
_OTHERS = re.compile(rb'^(?:\{|\[[^"\n]*"[^oe]").*\n?', re.MULTILINE)
_JOINTS = re.compile(rb'"\]\s*\n\[[^"\n]*"[oe]", *"')
_LINE_END, _LAST_END = b'"]\n', re.compile(rb'"\]\s*$')
# ESC [, or its one-character form, as JSON writes them; a backslash before is a character of its own.
_START = rb"(?<!\\)(?:\\\\)*(?:\\u001[bB]\[|\\u009[bB]|" + "\x9b".encode() + rb")"
_SWITCH = re.compile(_START + rb"\?([0-9;]*)([hl])|(?<!\\)(?:\\\\)*\\u001[bB](c)")
_UNFINISHED = re.compile(_START + rb"(?:\?[0-9;]*)?$|(?<!\\)(?:\\\\)*\\u001[bB]$")
_HINTS = (b"\\u001", b"\\u009", "\x9b".encode())
_RESIZE = re.compile(rb'^\[[^"\n]*"r", *"([0-9]{1,5})x([0-9]{1,5})"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the screen is like.

    Attributes:
        alternate: whether it is the alternate one.
        size: columns and rows of the session's terminal; None where they are still those of its beginning.
    """

    alternate: bool = False
    size: tuple[int, int] | None = None


class Scout:
    """Reads all blocks of a recording in their order.

    Attributes:
        scene: the one after what was read.
    """

    def __init__(self) -> None:
        self.scene = Scene()
        self._tail = b""  # of a sequence that goes on in the next block

    def read(self, lines: bytes) -> Scene:
        """Read the event lines of the next block, and return the scene after it."""
        for found in _RESIZE.finditer(lines):
            self.scene = replace(self.scene, size=(int(found[1]), int(found[2])))
        if self._tail or any(hint in lines for hint in _HINTS):
            self._read_output(_OTHERS.sub(b"", lines))
        return self.scene

    def _read_output(self, lines: bytes) -> None:
        if self._tail:
            lines = self._tail + _LINE_END + lines
        text = _LAST_END.sub(b"", _JOINTS.sub(b"", lines))
        for modes, final, reset in _SWITCH.findall(text):
            if reset:
                self.scene = replace(self.scene, alternate=False)
            elif any(mode.lstrip(b"0").decode() in ALTERNATE_MODES for mode in modes.split(b";")):
                self.scene = replace(self.scene, alternate=final == b"h")
        unfinished = _UNFINISHED.search(text)
        self._tail = unfinished[0] if unfinished else b""
