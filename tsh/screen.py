"""What a recording may do to the screen it is played on.

A recording holds whatever a program on a device printed, and it is played on somebody else's terminal. Text passes,
and the control sequences that draw. The others are left out: those that make the terminal answer, change what its
keys send, or reach the clipboard, the window, its title, a printer or the lines that have scrolled away.
"""

from __future__ import annotations

import re

# Control sequences as ECMA-48 and xterm's ctlseqs write them; xterm obeys their one-character forms (C1) as well.
_C1 = re.compile("[\x80-\x9f]")
_START = re.compile("[\x05\x1b]")  # ENQ, which asks for an answer, and ESC
_CSI = re.compile("\x1b\\[([<-?]?)([0-?]*)([ -/]*)([@-~])")
_SHORT = re.compile("\x1b[ -/]*[0-~]")
_UNFINISHED = re.compile("\x1b(?:\\[[0-?]*[ -/]*|[ -/]*)")
_SEQUENCE_MAX = 256
_STRINGS = frozenset("]P_^X")  # OSC, DCS, APC, PM, SOS: none of them draws text
_STRING_END = re.compile("[\x07\x18\x1a\x1b]")
# What draws: CSI sequences by what stands before the last character, and by that; those with a question mark.
_DRAWS = {
    "": frozenset("@ABCDEFGHIJKLMPSTXZ`abdefgjkmrsu"),
    " ": frozenset("@Aq"),
    "!": frozenset("p"),
    '"': frozenset("q"),
    "#": frozenset("{}"),
    "$": frozenset("rtvxz{"),
    "'": frozenset("}~"),
    "*": frozenset("x"),
}
_INSERT_MODE = "4"
# Reverse video, origin, autowrap, blinking, cursor, reverse wrap, alternate screen, margins, synchronised output,
# grapheme clusters.
_MODES = frozenset(("5", "6", "7", "12", "25", "45", "47", "69", "1047", "1048", "1049", "2026", "2027"))
ALTERNATE_MODES = frozenset(("47", "1047", "1049"))
# Character sets, double size and the test pattern; save and restore, line feeds, tabs, shifts, reset.
_SHORT_DRAWS = re.compile("\x1b(?:[()*+./-][ -/]*[0-~]|#[3-8]|[6-9DEHMNOcno|}~])")
# All lines scroll; origin mode is off while they are set, for that moves the cursor to where nobody had put it.
_WHOLE = "\x1b7\x1b[?6l\x1b[r\x1b8"
_ENTER, _LEAVE = "\x1b[?1049h", "\x1b[?1049l"
# End a string cut in two; attributes, insert mode, reverse video; origin mode and margins, which move the cursor;
# autowrap, character sets, the cursor's shape, the cursor.
_RESTORE = "\x1b\\\x1b[0m\x1b[4l\x1b[?5l\x1b7\x1b[?6l\x1b[?69l\x1b[r\x1b8\x1b[?7h\x1b(B\x0f\x1b[0 q\x1b[?25h"


class Screen:
    """Passes a recording's output on, piece by piece, and knows what to undo in the end.

    Attributes:
        alternate: whether a program has switched to the alternate screen.
        at_line_start: whether the last character that was shown ended a line.
    """

    def __init__(self) -> None:
        self._pending = ""
        self._in_string = False
        self._has_margins = False
        self.alternate = False
        self.at_line_start = True

    def show(self, text: str) -> str:
        """Return what of `text` goes to the terminal; a sequence that goes on in the next piece waits for it."""
        if self._pending or self._in_string or _C1.search(text) or _START.search(text):
            text = self._filter(self._pending + _C1.sub(_seven_bit, text))
        if text:
            self.at_line_start = text[-1] == "\n"
        return text

    def clear(self, *, alternate: bool = False) -> str:
        """Return what empties the screen, as it is before a session's first output, or the alternate one."""
        leave = _LEAVE if self.alternate else ""
        self._pending, self._in_string, self._has_margins = "", False, False
        self.alternate, self.at_line_start = alternate, True
        return f"{_RESTORE}{leave}\x1b[H\x1b[2J{_ENTER if alternate else ''}"

    def resize(self) -> str:
        """Return what a terminal does by itself when its size changes: lines scroll from its first to its last."""
        had_margins, self._has_margins = self._has_margins, False
        return _WHOLE if had_margins else ""

    def restore(self) -> str:
        """Return what makes the terminal fit for a shell again, the cursor at the beginning of a line."""
        if self.alternate:
            return _RESTORE + _LEAVE
        return _RESTORE if self.at_line_start else f"{_RESTORE}\r\n"

    def _filter(self, text: str) -> str:
        self._pending = ""
        shown: list[str] = []
        place = 0
        while place < len(text):
            if self._in_string:
                place = self._skip_string(text, place)
                continue
            found = _START.search(text, place)
            shown.append(text[place : found.start() if found else len(text)])
            if found is None:
                break
            piece, place = self._take(text, found.start())
            shown.append(piece)
        return "".join(shown)

    def _take(self, text: str, place: int) -> tuple[str, int]:
        """Return what is shown of the sequence that begins at `place`, and where it ends."""
        if text[place] == "\x05":
            return "", place + 1
        if text[place + 1 : place + 2] in _STRINGS:
            self._in_string = True
            return "", place + 2
        if csi := _CSI.match(text, place):
            return self._judge(csi), csi.end()
        unfinished = _UNFINISHED.match(text, place)
        if unfinished and unfinished.end() == len(text) and len(text) - place <= _SEQUENCE_MAX:
            self._pending = text[place:]
            return "", len(text)
        if text[place + 1 : place + 2] != "[" and (short := _SHORT.match(text, place)):
            return self._judge_short(short.group()), short.end()
        return "", place + 1  # no sequence: without its ESC it is only text

    def _skip_string(self, text: str, place: int) -> int:
        end = _STRING_END.search(text, place)
        if end is None:
            return len(text)
        if end.group() == "\x1b":
            if end.end() == len(text):
                self._pending = "\x1b"
                return len(text)
            self._in_string = False
            return end.end() + 1 if text[end.end()] == "\\" else end.start()
        self._in_string = False
        return end.end()

    def _judge_short(self, sequence: str) -> str:
        if sequence == "\x1bc":
            self.alternate = self._has_margins = False
        return sequence if _SHORT_DRAWS.fullmatch(sequence) else ""

    def _judge(self, csi: re.Match[str]) -> str:
        private, parameters, between, final = csi.groups()
        if private == "?" and not between and final in "hl":
            return self._judge_modes(parameters.split(";"), final)
        if final in "hl":
            draws = csi.group() in (f"\x1b[{_INSERT_MODE}h", f"\x1b[{_INSERT_MODE}l")
        elif final == "J" and parameters.lstrip("0") == "3":
            draws = False  # the viewer's own lines that have scrolled away
        elif private == "?":
            draws = not between and final in "JK"
        else:
            draws = not private and final in _DRAWS.get(between, ())
        self._has_margins = self._has_margins or (draws and not (between or private) and final == "r")
        return csi.group() if draws else ""

    def _judge_modes(self, modes: list[str], final: str) -> str:
        kept = [mode for mode in modes if mode.lstrip("0") in _MODES]
        if any(mode.lstrip("0") in ALTERNATE_MODES for mode in kept):
            self.alternate = final == "h"
        return f"\x1b[?{';'.join(kept)}{final}" if kept else ""


def _seven_bit(found: re.Match[str]) -> str:
    return f"\x1b{chr(ord(found.group()) - 0x40)}"
