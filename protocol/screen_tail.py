"""The end of what a terminal was sent, kept so that somebody who comes late sees the same screen.

No terminal is emulated. The last bytes are kept and sent again, from the last point where the screen was emptied; what
was shown on the alternate screen (an editor, a pager) is left out once the program has gone back from it. What the
terminal was told earlier and still goes by, such as its modes and the colour, is noted as it falls out of what is kept.
The sequences are those of ECMA-48 and of xterm's "Control Sequences" (ctlseqs).

A program that paints a whole screen and then changes parts of it for longer than is kept leaves gaps, until it paints
anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache

from protocol import limits

# An escape sequence that is no string and longer than this is none.
_SEQUENCE_MAX = 128
# So far back a colour is looked for at first.
_NEAR = 4096
_COLOURS_MAX = 8

# A control sequence, a string, or what is shorter. A string has no escape in it but that which ends it.
_SEQUENCE = re.compile(
    rb"\x1b(?:\[[0-?]*+[ -/]*+[@-~]"
    rb"|[\]PX^_][^\x07\x18\x1a\x1b]*+(?:[\x07\x18\x1a]|\x1b\\|(?=\x1b[^\\]))"
    rb"|[ -/]*+[0-OQ-WYZ\\`-~])"
)
_STRING = re.compile(rb"\x1b[\]PX^_]")
_STRING_END = re.compile(rb"[\x07\x18\x1a]|\x1b\\?")
# What changes how a terminal goes on; and how that may begin that has not ended yet. There is no escape within.
_TELLING = re.compile(rb"\x1b(?:[c=>]|\[(?:[?!][0-9;]*+[hlp]|[0-9;]*+[hlr]|>4(?:;[0-9]*+)?[mn]|[>=][0-9;]*+u))")
_OPEN = re.compile(rb"\x1b(?:\[[?!>=]?[0-9;]*+)?\Z")
# What empties the screen from the corner on, and what may change to the alternate one or back.
_SHAPING = re.compile(
    rb"\x1b\[(?:(?:1?;1?)?H(?P<emptied>\x1b\[2?J)|\?(?P<numbers>(?=[0-9;]*4[79])[0-9;]*+)(?P<final>[hl]))"
)
_RESET = b"\x1bc"
# A visit to the alternate screen that took fewer bytes is sent again with the rest: cutting it out costs more.
_VISIT_MIN = 256
_COLOUR = re.compile(rb"(?s).*\x1b\[([0-9;:]{0,64})m")
_ALTERNATE = frozenset({47, 1047, 1049})
# Private modes, and what holds in a terminal that was just reset.
_PRIVATE = {1: False, 6: False, 7: True, 25: True, 2004: False} | dict.fromkeys(
    (9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016), False
)


@dataclass(frozen=True, slots=True)
class _Modes:
    """What a terminal goes by.

    Attributes:
        unusual: the private modes that are not as after a reset.
        keys: how keys with modifiers are sent (xterm's modifyOtherKeys); empty where as usual.
        has_protocol: whether the keys may be sent by kitty's protocol, of which terminals keep a stack.
    """

    unusual: frozenset[int] = frozenset()
    is_alternate: bool = False
    has_keypad: bool = False
    inserts: bool = False
    region: bytes = b""
    keys: bytes = b""
    has_protocol: bool = False


@dataclass(slots=True)
class _Slice:
    """A part of what is kept, which is shown from `start` to `end`.

    Attributes:
        colours: what had been said of colours at `floor`, before which nobody need look for them.
        is_home: whether the cursor is known to be in the corner at its start.
    """

    start: int
    colours: tuple[bytes, ...]
    floor: int
    end: int = -1
    is_home: bool = False


_PLAIN = _Modes()
# All lines scroll again; the cursor stays where it is.
ALL_LINES = b"\x1b7\x1b[r\x1b8"
# Takes all from the stack of kitty's protocol: where it holds fewer, that is no harm.
_NO_PROTOCOL = b"\x1b[<9u"
# Ends a sequence that was cut short (CAN), then a soft reset (DECSTR), of which terminals think differently, what it
# leaves out, and an empty screen.
_FRESH = (
    b"\x18\x1b[!p\x1b[?1049l"
    + b"".join(b"\x1b[?%d%c" % (number, b"h" if usual else b"l") for number, usual in _PRIVATE.items())
    + b"\x1b>\x1b[4l\x1b[>4m\x1b[0m\x1b(B\x0f\x1b[r\x1b[H\x1b[2J"
)


@dataclass(slots=True)
class ScreenTail:
    """Takes what a terminal is sent; tells what to send to another one.

    Attributes:
        most: how many bytes are kept; for a while it is half as many more.
    """

    most: int = limits.SCREEN_TAIL_MAX
    _kept: bytearray = field(default_factory=bytearray)
    _modes: _Modes = _PLAIN  # these hold where what is kept begins
    _colours: tuple[bytes, ...] = ()
    _string: bytes = b""  # how a string began that is too long to be kept, and has not ended
    _read: int = 0  # so much of what is kept was looked through for what holds there, which is this
    _last: _Modes = _PLAIN

    def add(self, data: bytes) -> None:
        """Take what comes next."""
        self._kept += data
        if self._string:
            self._end_string()
        if len(self._kept) > self.most + self.most // 2:  # cutting has its price
            self._cut()

    def snapshot(self) -> bytes:
        """Return what makes another terminal, of the same size and whatever it shows, look like this one."""
        data = bytes(self._kept)
        at = max(data.rfind(_RESET), 0)
        modes, colours = (_PLAIN, ()) if data.startswith(_RESET, at) else (self._modes, self._colours)
        parts, current = [_FRESH], _PLAIN
        for piece in _slices(data, at, modes, colours):
            modes = _fold(modes, data, at, piece.start)
            parts.append(_changes(current, modes) + (b"\x1b[H" if piece.is_home else b""))
            parts.extend(_colours_at(data, piece.start, piece.colours, piece.floor))
            parts.append(data[piece.start : piece.end])
            current = modes = _fold(modes, data, piece.start, piece.end)
            at = piece.end
        return b"".join(parts) + self._string

    def farewell(self) -> bytes:
        """Return what frees a terminal that has shown all this from the modes that still hold."""
        modes = self._modes_now()
        margins = ALL_LINES if modes.region else b""  # before the screen is left, which puts the cursor where it was
        protocol = _NO_PROTOCOL if modes.has_protocol else b""  # each screen has a stack of its own
        return b"\x18\x1b[0m" + margins + protocol + _changes(replace(modes, region=b""), _PLAIN) + protocol

    @property
    def is_alternate(self) -> bool:
        """Whether the alternate screen is shown: a program that has all of it for itself."""
        return self._modes_now().is_alternate

    @property
    def has_margins(self) -> bool:
        """Whether only some of the lines scroll."""
        return bool(self._modes_now().region)

    def _modes_now(self) -> _Modes:
        """Return what holds at the end. Only what has come since the last time is looked through."""
        data, end = self._kept, len(self._kept)
        self._last = _fold(self._last, data, self._read, end)
        escape = data.rfind(b"\x1b", self._read)
        self._read = escape if escape >= 0 and _OPEN.match(data, escape) else end
        return self._last

    @property
    def is_partial(self) -> bool:
        """Whether a program has the whole screen for itself, and how it began to paint it is kept no more."""
        if not self._modes.is_alternate or _RESET in self._kept:
            return False
        return _slices(bytes(self._kept), 0, self._modes, self._colours)[-1].start == 0

    @property
    def is_midway(self) -> bool:
        """Whether what came last ends within an escape sequence or a character: nothing may be shown there."""
        end = len(self._kept)
        return bool(self._string) or _boundary(self._kept, end) < end

    # --- cutting ------------------------------------------------------------------------------------------------------

    def _cut(self) -> None:
        """Forget the oldest, up to a place between two tokens."""
        target = len(self._kept) - self.most
        at = _boundary(self._kept, target)
        self._forget(at)
        if len(self._kept) > self.most + self.most // 2:  # cutting has its price
            self._skip_string()

    def _forget(self, count: int) -> None:
        gone = bytes(self._kept[:count])
        self._colours = _colours_at(gone, len(gone), self._colours)
        self._modes = _fold(self._modes, gone, 0, len(gone))
        self._drop(count)

    def _drop(self, count: int) -> None:
        """Drop the first bytes, which `_modes` is about already, or which tell nothing."""
        del self._kept[:count]
        self._read -= count
        if self._read <= 0:
            self._read, self._last = 0, self._modes

    def _skip_string(self) -> None:
        """Drop the string that what is kept begins with: nobody needs a picture that is larger than all we keep."""
        whole = _SEQUENCE.match(self._kept)
        if whole:
            self._drop(whole.end())
        else:
            self._string = bytes(self._kept[:2])
            self._drop(len(self._kept))

    def _end_string(self) -> None:
        """Drop more of a string that goes on, up to its end."""
        match = _STRING_END.search(self._kept)
        if match is None:
            self._drop(len(self._kept))
        else:
            self._drop(match.start() if match[0] == b"\x1b" else match.end())
            self._string = b""


def _boundary(data: bytearray, target: int) -> int:
    """Return `target`, or the place before it where a sequence or a character begins that goes on there."""
    start = data.rfind(b"\x1b", 0, target)
    if start < 0:
        return _whole_characters(data, target)
    sequence = _SEQUENCE.match(data, start)
    if sequence:
        return _whole_characters(data, target) if sequence.end() <= target else start
    is_open = target - start <= _SEQUENCE_MAX or _STRING.match(data, start)
    return start if is_open else _whole_characters(data, target)


def _whole_characters(data: bytes | bytearray, at: int) -> int:
    """Return `at`, or the place before it where a character (UTF-8) begins that goes on there, or at the end."""
    for back in range(1, min(at, 3) + 1):
        byte = data[at - back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return at - back if length > back else at
        if byte < 0x80:
            break
    return at


# --- what the sequences say -----------------------------------------------------------------------------------------


def _fold(modes: _Modes, data: bytes | bytearray, start: int, end: int) -> _Modes:
    """Return what holds after all the sequences there.

    Each makes something so, whatever was before: of those that are alike only the last one counts.
    """
    for said in reversed(dict.fromkeys(reversed(_TELLING.findall(data, start, end)))):
        modes = _after(modes, said)
    return modes


def _after(modes: _Modes, said: bytes) -> _Modes:  # noqa: PLR0911 - one return a kind
    """Return what holds after a sequence that `_TELLING` has found: the same object where that changes nothing."""
    final, kind = said[-1:], said[2:3]
    if said in {_RESET, b"\x1b[!p"}:
        return replace(_PLAIN, is_alternate=modes.is_alternate and said != _RESET)
    if kind == b"?":
        return _after_private(modes, said[3:-1], is_set=final == b"h")
    if final == b"r":
        return modes if modes.region == said[2:-1] else replace(modes, region=said[2:-1])
    if final == b"u":
        return modes if modes.has_protocol else replace(modes, has_protocol=True)
    if kind == b">":
        keys = said[5:-1].lstrip(b"0") if final == b"m" else b""
        return modes if modes.keys == keys else replace(modes, keys=keys)
    if said in {b"\x1b=", b"\x1b>"}:
        return modes if modes.has_keypad == (said == b"\x1b=") else replace(modes, has_keypad=not modes.has_keypad)
    if said in {b"\x1b[4h", b"\x1b[4l"} and modes.inserts != (final == b"h"):
        return replace(modes, inserts=not modes.inserts)
    return modes


def _after_private(modes: _Modes, numbers: bytes, *, is_set: bool) -> _Modes:
    to_alternate, changed, usual = _meaning(numbers, is_set=is_set)
    unusual = modes.unusual
    if not changed <= unusual:
        unusual |= changed
    if not usual.isdisjoint(unusual):
        unusual -= usual
    is_alternate = is_set if to_alternate else modes.is_alternate
    if unusual is modes.unusual and is_alternate == modes.is_alternate:
        return modes
    return replace(modes, unusual=unusual, is_alternate=is_alternate)


@lru_cache(256)
def _meaning(numbers: bytes, *, is_set: bool) -> tuple[bool, frozenset[int], frozenset[int]]:
    """Return whether some change screens, which modes are then not as after a reset, and which are."""
    said = {int(number) for number in numbers.split(b";") if 0 < len(number) < 6}
    known = said & _PRIVATE.keys()
    usual = frozenset(number for number in known if _PRIVATE[number] == is_set)
    return bool(said & _ALTERNATE), frozenset(known) - usual, usual


def _changes(before: _Modes, after: _Modes) -> bytes:
    """Return the sequences that lead from one to the other. What moves the cursor stands first."""
    parts = []
    if before.is_alternate != after.is_alternate:
        parts.append(b"\x1b[?1049h" if after.is_alternate else b"\x1b[?1049l")
    if before.region != after.region:
        parts.append(b"\x1b[" + after.region + b"r")
    differing = before.unusual ^ after.unusual
    for number, usual in _PRIVATE.items() if differing else ():
        if number in differing:
            parts.append(b"\x1b[?%d%c" % (number, b"h" if usual != (number in after.unusual) else b"l"))
    if before.has_keypad != after.has_keypad:
        parts.append(b"\x1b=" if after.has_keypad else b"\x1b>")
    if before.inserts != after.inserts:
        parts.append(b"\x1b[4h" if after.inserts else b"\x1b[4l")
    if before.keys != after.keys:
        parts.append(b"\x1b[>4;%bm" % after.keys if after.keys else b"\x1b[>4m")
    return b"".join(parts)


def _slices(data: bytes, begin: int, modes: _Modes, colours: tuple[bytes, ...]) -> list[_Slice]:
    """Return the parts that make the screen: not what it was emptied of, nor what was on a screen left since.

    `modes` and `colours` hold at `begin`, where nothing before it is to be seen and after which there is no reset.
    """
    found: list[_Slice] = []
    here, floor, visit = _Slice(begin, colours, begin), begin, -1
    saved: tuple[bytes, ...] = ()  # the colours that the other screen was left with, to be had again there
    is_alternate = modes.is_alternate
    for match in _SHAPING.finditer(data, begin):
        if match["emptied"]:
            found = found if is_alternate else []
            here = _Slice(match.start("emptied"), colours, floor, is_home=True)
            continue
        is_set = match["final"] == b"h"
        if is_set == is_alternate or not _meaning(match["numbers"], is_set=is_set)[0]:
            continue
        is_alternate = is_set
        if is_set:
            here.end = visit = match.start()
            found.append(here)
            colours = saved = _colours_at(data, visit, colours, floor)
            here = _Slice(match.end(), colours, match.end())
        elif found and match.end() - visit < _VISIT_MIN:
            here, colours = found.pop(), saved
        else:
            here, colours = _Slice(match.end(), saved, match.end()), saved
        floor = match.end()
    here.end = len(data)
    return [*found, here]


def _colours_at(data: bytes, end: int, before: tuple[bytes, ...], floor: int = 0) -> tuple[bytes, ...]:
    """Return what was said of colours up to `end`, since they were last reset; `before` was said before `floor`."""
    parts: list[bytes] = []
    while len(parts) < _COLOURS_MAX:
        match = _COLOUR.match(data, max(floor, end - _NEAR), end) or _COLOUR.match(data, floor, end)
        if match is None:
            return (*before, *parts)[-_COLOURS_MAX:]
        parts.insert(0, b"\x1b[" + match[1] + b"m")
        if match[1] in {b"", b"0"} or match[1].startswith(b"0;"):
            break
        end = match.start(1) - 2
    return tuple(parts)
