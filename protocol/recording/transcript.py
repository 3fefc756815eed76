"""What a session prints and what is typed, as it is read piece by piece, turned into event lines."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring

from protocol.recording import raw
from protocol.recording.binary import Tally, is_binary, is_dense, is_no_text
from protocol.recording.cast import Code, Event, line_of

_STREAMS: tuple[Code, ...] = ("o", "e", "i")
# Output that follows within so many milliseconds is told as one event, up to so many bytes of it.
_TOGETHER, _TOGETHER_MAX = 10, 64 * 1024
_CHARACTER_MAX = 4
# How JSON writes what it does not write as it is; the same as `encode_basestring` does, which must look at every
# character by itself. Where few need it, replacing them takes half the time or less.
_WRITTEN = (
    (b"\\", b"\\\\"),
    (b'"', b'\\"'),
    (b"\n", b"\\n"),
    (b"\r", b"\\r"),
    (b"\t", b"\\t"),
    (b"\x1b", b"\\u001b"),
)
_COMMON = bytes(code for code in range(256) if code not in (*range(0x20), 0x7F) or code in b"\n\r\t")
_FEW = 4


class Transcript:
    """Turns output as it was read into events: text that a multi-byte character may begin here and end there."""

    def __init__(self, *, sums_up_binary: bool = False) -> None:
        """Begin. Where there is no terminal, output that is no text may be summed up: it was never on a screen."""
        self._sums_up = sums_up_binary
        self._held: dict[Code, bytes] = dict.fromkeys(_STREAMS, b"")
        self._time = 0

    def lines(self, pieces: Iterable[tuple[int, Code, bytes]], *, last: bool = False) -> bytes:
        """Return event lines for pieces of output: time in milliseconds, code ``o``, ``e`` or ``i``, and bytes.

        Large pieces are told raw. In others, bytes that are no UTF-8 become U+FFFD; with `last`, so does what is held
        back of a character. What is summed up is told at the time of its first piece.
        """
        found: list[bytes] = []
        tally: Tally | None = None
        for time, code, piece in self._together(pieces):
            data = self._held[code] + piece
            line = self._raw(time, code, data) if len(data) >= raw.SIZE_MIN else self._text(time, code, data)
            if tally and (line is not None or code != tally.stream):
                found.append(_sum_line(tally))
                tally = None
            if line is None:
                tally = tally or Tally(time, code)
                tally.add(data)
            else:
                found.append(line)
        if tally:
            found.append(_sum_line(tally))
        if last:
            rests = (self._text(self._time, code, self._held[code], final=True) for code in _STREAMS)
            found += [line for line in rests if line]
        return b"".join(found)

    def _together(self, pieces: Iterable[tuple[int, Code, bytes]]) -> Iterator[tuple[int, Code, bytes]]:
        parts: list[bytes] = []
        begun: tuple[int, Code] = (0, "o")
        size = 0
        for time, code, data in pieces:
            if parts and (code != begun[1] or time - begun[0] >= _TOGETHER or size >= _TOGETHER_MAX):
                yield *begun, b"".join(parts)
                parts, size = [], 0
            if not parts:
                begun = (time, code)
            parts.append(data)
            size += len(data)
            self._time = time
        if parts:
            yield *begun, b"".join(parts)

    def _raw(self, time: int, code: Code, data: bytes) -> bytes | None:
        """Return the event that `data` is, but for what its end has of a character; None where it is to be summed up.

        That a character is cut in two shows in its last three bytes: nothing else of it is decoded here.
        """
        self._held[code] = b""
        if self._sums_up and code != "i" and is_no_text(data):
            return None
        end = data[1 - _CHARACTER_MAX :]
        self._held[code] = end[codecs.utf_8_decode(end, "replace")[1] :]
        size = len(data) - len(self._held[code])
        return b"".join((line_of(time, code, raw.value(size)), data[:size], b"\n"))

    def _text(self, time: int, code: Code, data: bytes, *, final: bool = False) -> bytes | None:
        """Return the event that `data` is, empty where it is all held back; None where it is to be summed up."""
        is_judged = self._sums_up and code != "i"
        text, self._held[code] = data, b""
        if not data.isascii():
            try:
                used = codecs.utf_8_decode(data, "strict", final)[1]
                text = data[:used]
            except UnicodeDecodeError:
                if is_judged and is_binary(data):
                    return None
                is_judged = False
                decoded, used = codecs.utf_8_decode(data, "replace", final)
                text = decoded.encode()
            self._held[code] = data[used:]
        rare = text.translate(None, _COMMON)
        if is_judged and is_dense(rare, len(data)):
            self._held[code] = b""
            return None
        return line_of(time, code, _quote(text, rare)) if text else b""


def _sum_line(tally: Tally) -> bytes:
    return Event(tally.time, "b", str(tally.summary())).line()


def _quote(text: bytes, rare: bytes) -> bytes:
    """Return UTF-8 as a string of JSON, in UTF-8; `rare` is what of it is not common."""
    if len(rare) * _FEW > len(text) or rare.strip(b"\x1b"):
        return encode_basestring(text.decode()).encode()
    for plain, written in _WRITTEN:
        text = text.replace(plain, written)
    return b'"%b"' % text
