"""Large output within the event lines: a line that says how much it is, those bytes as they were printed, a line feed.

As a text of JSON it would have to be looked at byte by byte, and most control characters would take six bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Stream = Literal["o", "e", "i"]
# A smaller piece is told as text: the dictionary that small frames are compressed with knows it so.
SIZE_MIN = 4 * 1024
# Between the lines of an event this cannot stand: a quotation mark within a text has a backslash before it.
_SIGN = b',{"raw":'
_LINE = re.compile(rb'\[([0-9]{1,11}(?:\.[0-9]{1,3})?),"([oei])",\{"raw":([1-9][0-9]{0,6})\}\]\n')


class RawError(ValueError):
    """What is said to follow does not."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A piece of output.

    Attributes:
        time: milliseconds since the session's start.
        stream: ``o``, ``e`` or ``i``, see `protocol.recording.cast`.
        data: as it was printed; what of it is no UTF-8 reads U+FFFD.
    """

    time: int
    stream: Stream
    data: bytes

    @property
    def text(self) -> str:
        """It, as text."""
        return self.data.decode(errors="replace")


def value(size: int) -> bytes:
    """Return what stands in the place of the text, where so many bytes follow the line."""
    return b'{"raw":%d}' % size


def split(content: bytes) -> Iterator[bytes | Raw]:
    """Yield the parts of a data record's content in their order: whole lines, some at a time, and raw pieces.

    Raises `RawError`. A line that is like the one before a raw piece and not quite is left among the others.
    """
    begin = at = 0  # both are where a line begins; up to the latter there is nothing raw
    while (sign := content.find(_SIGN, at)) >= 0:
        found = _LINE.match(content, max(content.rfind(b"\n", at, sign) + 1, at))
        if found is None:
            at = content.find(b"\n", sign) + 1 or len(content)
            continue
        yield content[begin : found.start()]
        end = found.end() + int(found[3])
        if content[end : end + 1] != b"\n":
            raise RawError("raw output that is not as long as it is said to be")
        yield Raw(round(float(found[1]) * 1000), found[2].decode(), content[found.end() : end])  # type: ignore[arg-type]  # one of the three
        begin = at = end + 1
    yield content[begin:]
