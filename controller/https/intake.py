"""When has a request arrived? Bytes in, an answer out; no sockets, no clock.

A thread is given to a request that is wholly there, so that a peer that dawdles costs memory, bounded, and
no thread. What is read here is a hint about waiting and nothing more: gunicorn's parser reads the same bytes
again and is the only one to say where a request ends, so the two cannot be played against each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from protocol import limits

HEAD_MAX = 32 * 1024
LINE_MAX = 8 * 1024

_BEGINNING = re.compile(rb"(?:\r\n)?[A-Z]{1,20}(?: |\Z)")
_PROMISE = re.compile(rb"(?:\r|\r\n)?\Z")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*(?=\r\n)", re.IGNORECASE)
_CODED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_BARE_LF = re.compile(rb"(?<!\r)\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t;][^\r\n]{0,256})?\r\n")
_CHUNK_LINE_MAX = 300


class Progress(Enum):
    """Where a request stands."""

    WAIT = "more must come"
    CONTINUE = "more must come, and the peer waits to be told so (RFC 9110 section 10.1.1)"
    READY = "it may be parsed: it is whole, or no more of it is wanted"


@dataclass(frozen=True, slots=True)
class Rejected:
    """It is no request, or too large a one."""

    status: int
    reason: str


class Intake:
    """Gathers the bytes of one request. Holds at most `HEAD_MAX` and `body_max`, and one read more."""

    def __init__(self, body_max: int = limits.HTTP_BODY_MAX) -> None:
        self._body_max = body_max
        self.buffer = bytearray()
        self.whole = False  # whether the body is all there too: the connection may then serve another request
        self._head_end = -1
        self._wanted = 0
        self._coded = False
        self._chunk = 0  # where the next chunk begins

    def feed(self, data: bytes) -> Progress | Rejected:
        """Take `data` and say where the request stands."""
        searched = max(0, len(self.buffer) - 3)
        self.buffer += data
        if self._head_end < 0:
            self._head_end = self.buffer.find(b"\r\n\r\n", searched)
            if self._head_end < 0 or self._head_end > HEAD_MAX:
                return self._judge_part()
            return self._begin_body()
        return self._judge_body()

    def _judge_part(self) -> Progress | Rejected:
        start = bytes(self.buffer[:24])
        if not (_BEGINNING.match(start) or _PROMISE.match(start) or (len(start) <= 20 and start.isupper())):
            return Rejected(400, "not an HTTP request")
        if b"\n" not in self.buffer and len(self.buffer) > LINE_MAX:
            return Rejected(414, f"a request line of more than {LINE_MAX} bytes")
        if len(self.buffer) > HEAD_MAX:
            return Rejected(431, f"headers of more than {HEAD_MAX} bytes")
        if _BARE_LF.search(self.buffer):
            return Rejected(400, "a line that ends without a carriage return")
        return Progress.WAIT

    def _begin_body(self) -> Progress | Rejected:
        head = bytes(self.buffer[: self._head_end + 2])
        if not _BEGINNING.match(head):
            return Rejected(400, "not an HTTP request")
        length = _LENGTH.search(head)
        self._coded = _CODED.search(head) is not None
        self._chunk = self._head_end + 4
        self._wanted = self._head_end + 4 + (int(length[1]) if length else 0)
        if self._coded and length:
            return Progress.READY  # ambiguous: gunicorn's parser refuses it without reading on
        progress = self._judge_body()
        return Progress.CONTINUE if progress is Progress.WAIT and _EXPECT.search(head) else progress

    def _judge_body(self) -> Progress:
        body = len(self.buffer) - self._head_end - 4
        if self._coded:
            return Progress.READY if self._chunks_end() or body > self._body_max else Progress.WAIT
        self.whole = len(self.buffer) >= self._wanted
        too_long = self._wanted - self._head_end - 4 > self._body_max
        return Progress.READY if self.whole or too_long else Progress.WAIT

    def _chunks_end(self) -> bool:
        """Walk the chunks that are there; tell whether the last one is, or something that is none (RFC 9112 7.1)."""
        while (size := _CHUNK_SIZE.match(self.buffer, self._chunk)) is not None:
            if int(size[1], 16) == 0:
                # After the last chunk: trailer lines, or none, and an empty line.
                self.whole = self.buffer.find(b"\r\n\r\n", size.end() - 2) >= 0
                return self.whole
            following = size.end() + int(size[1], 16) + 2
            if following > len(self.buffer):
                return False
            self._chunk = following
        rest = self.buffer[self._chunk :]
        return b"\n" in rest or len(rest) > _CHUNK_LINE_MAX
