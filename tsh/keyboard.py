"""The keys of somebody who watches a recording, found in what a terminal sends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum


class Key(Enum):
    """What a key asks of the player."""

    PAUSE = "pause"
    FORWARD = "forward"
    BACK = "back"
    FASTER = "faster"
    SLOWER = "slower"
    START = "start"
    END = "end"
    QUIT = "quit"


_PLAIN = {" ": Key.PAUSE, "q": Key.QUIT, "Q": Key.QUIT, "\x03": Key.QUIT, "\x04": Key.QUIT}
# How terminals write the keys, xterm's normal and application mode; Home and End also as VT220 and rxvt write them.
_SEQUENCES = {
    "A": Key.FASTER,
    "B": Key.SLOWER,
    "C": Key.FORWARD,
    "D": Key.BACK,
    "H": Key.START,
    "F": Key.END,
    "1~": Key.START,
    "7~": Key.START,
    "4~": Key.END,
    "8~": Key.END,
}
_KEY = re.compile(
    "(?P<plain>[^\x1b])"
    "|\x1b\\[(?P<csi>[0-?]*)[ -/]*(?P<final>[@-~])"
    "|\x1bO(?P<ss3>[ -~])"
    "|\x1b[\\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\\\)"  # what a terminal answers, should somebody have asked it
    "|\x1b(?P<alt>[^\\[O\x1b])"
)
_UNFINISHED = re.compile("\x1b(?:\\[[0-?]{0,64}[ -/]{0,8}|O)?")


class KeyReader:
    """Turns what is typed into keys; a sequence may come in two pieces."""

    def __init__(self) -> None:
        self._pending = ""

    def read(self, typed: bytes) -> Iterator[Key]:
        """Yield the keys that `typed` completes; what is no key of ours is passed over."""
        text, self._pending = self._pending + typed.decode("latin-1"), ""
        place = 0
        while place < len(text):
            found = _KEY.match(text, place)
            if found is None and _UNFINISHED.fullmatch(text, place):
                self._pending = text[place:]
                return
            place = found.end() if found else place + 1
            key = _key(found) if found else None
            if key is not None:
                yield key


def _key(found: re.Match[str]) -> Key | None:
    if plain := found["plain"] or found["alt"]:
        return _PLAIN.get(plain)
    if found["final"] == "~":
        return _SEQUENCES.get(f"{found['csi'].partition(';')[0]}~")
    return _SEQUENCES.get(found["final"] or found["ss3"] or "")
