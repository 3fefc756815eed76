"""What of a program's output is no text, and what a recording says of it: how much it was, and its hash.

A command without a terminal prints archives and disk images as well as text. Kept as text they would be of no use to
anybody, for most of their bytes would read U+FFFD, and they would cost several times what it costs to send them.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import zlib
from dataclasses import dataclass

# A smaller piece is text, whatever it is.
SIZE_MIN = 1024
# More than three bytes in ten that are no text: then all of the piece is none.
_PART, _WHOLE = 3, 10
# What text has of control characters: bell, backspace, tab, the line and page feeds, escape.
_USUAL = b"\a\b\t\n\v\f\r\x1b"
_PLAIN = frozenset(range(0x20, 0x7F)) | frozenset(_USUAL)
# 1 for what is not plain; a byte of UTF-8 beyond ASCII is not either.
_STRANGE = bytes(code not in _PLAIN for code in range(256))
# 1 for a control character that text does not have.
_CONTROL = bytes(code not in _PLAIN and code < 0x80 for code in range(256))
# Bytes of UTF-8 by what they are, a bit each: one that continues a character, one that begins one of 2, of 3, of 4.
_PLACES = bytes(
    1 if 0x80 <= code < 0xC0
    else 2 if 0xC2 <= code < 0xE0
    else 4 if 0xE0 <= code < 0xF0
    else 8 if 0xF0 <= code < 0xF5
    else 0
    for code in range(256)
)  # fmt: skip
# Whether bytes are shaped as UTF-8 is seen in so many samples of this size.
_SAMPLES, _SAMPLE = 8, 512
# Adler-32 sums up from 1, modulo 65521.
_ADLER = 65519
_SUMMARY = re.compile(r"([1-9][0-9]{0,15}) ([oe]) sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Summary:
    """Output that was no text.

    Attributes:
        count: bytes.
        stream: where it went: ``o``, standard output, or ``e``, standard error.
        sha256: of the bytes, 64 hexadecimal digits.
    """

    count: int
    stream: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.count} {self.stream} sha256:{self.sha256}"

    def describe(self) -> str:
        """Say it to a person."""
        return f"{self.count} bytes that are no text"


class Tally:
    """Sums up output that was no text, piece by piece."""

    def __init__(self, time: int, stream: str) -> None:
        """Begin with nothing, at `time`."""
        self.time = time
        self.stream = stream
        self._count = 0
        self._hash = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """Add a piece."""
        self._count += len(data)
        self._hash.update(data)

    def summary(self) -> Summary:
        """Return what it was."""
        return Summary(self._count, self.stream, self._hash.hexdigest())


def parse_summary(text: str) -> Summary:
    """Read what `Summary` says as text. Raises `ValueError`."""
    found = _SUMMARY.fullmatch(text)
    if found is None:
        raise ValueError("a summary that is none")
    return Summary(int(found[1]), found[2], found[3])


def is_dense(rare: bytes, size: int) -> bool:
    """Tell whether UTF-8 of `size` bytes is no text, for its control characters; `rare` has all that are unusual."""
    return size >= SIZE_MIN and _is_much(len(rare.translate(None, _USUAL)), size)


def is_no_text(data: bytes) -> bool:
    """Tell whether a large piece is no text. Where a few samples are text, so is it; else it is judged throughout."""
    sample = _sample(data)
    strange = _count(sample.translate(_STRANGE))
    if not _is_much(strange, len(sample)) or not _is_much(strange - _shaped(sample), len(sample)):
        return False
    if not data.isascii():
        try:
            codecs.utf_8_decode(data)
        except UnicodeDecodeError:
            return is_binary(data)
    return _is_much(_count(data.translate(_CONTROL)), len(data))


def is_binary(data: bytes) -> bool:
    """Tell whether `data`, which is not UTF-8 throughout, is no text.

    Plain ASCII is counted exactly: where it makes seven bytes in ten, it is text. In a piece of more than 4 KiB, how
    much of the rest is UTF-8 is seen in samples.
    """
    size = len(data)
    if size < SIZE_MIN or not _is_much(_count(data.translate(_STRANGE)), size):
        return False
    sample = _sample(data)
    return _is_much(_count(sample.translate(_STRANGE)) - _shaped(sample), len(sample))


def _sample(data: bytes) -> bytes:
    step = len(data) // _SAMPLES
    if step <= _SAMPLE:
        return data
    return b"".join(data[at : at + _SAMPLE] for at in range(0, step * _SAMPLES, step))


def _is_much(strange: int, size: int) -> bool:
    return strange * _WHOLE > size * _PART


def _count(marks: bytes) -> int:
    """Return how many bytes of 1 are among those of 0: a checksum's plain sum, as nothing else adds up as fast."""
    parts = (marks[at : at + _ADLER] for at in range(0, len(marks), _ADLER))
    return sum((zlib.adler32(part) & 0xFFFF) - 1 for part in parts)


def _shaped(data: bytes) -> int:
    """Return how many bytes are in characters of UTF-8 beyond ASCII, by their shape: all bytes at once, as a number."""
    here = int.from_bytes(data.translate(_PLACES), "little")
    ones = int.from_bytes(b"\1" * len(data), "little")
    two = here >> 8 & ones
    three = two & here >> 16
    four = three & here >> 24
    return sum(
        size * (here >> bit & rest).bit_count() for size, bit, rest in ((2, 1, two), (3, 2, three), (4, 3, four))
    )
