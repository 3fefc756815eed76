"""Recordings to be played: our own container, checked and opened record by record, and asciicast v2 files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, get_args

from protocol.recording import framing
from protocol.recording.cast import CastHeader, Code, Event
from protocol.recording.fault import RecordingError
from protocol.recording.header import Header
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, HeaderRecord, Reader
from protocol.recordings import RecordingKey
from tsh.content import Content, Pause
from tsh.error import TshError

_CLEAR = framing.PREFIX.size + framing.BEGIN_SIZE
# Lines of a file are taken together up to this; one longer than the other is no line.
_LINES, _LINE_MAX = 64 * 1024, 16 * 1024 * 1024
_TIME_MAX = 1e11  # seconds
_CODES = frozenset(get_args(Code)) - {"b"}  # an export has a marker in its place
_NOTES = {
    "interrupted": "the recording ends here: the agent was interrupted",
    "stopped": "the recording ends here, and the session may not: the device could not record any further",
}


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a recording that can be opened by itself.

    Attributes:
        number: of the record, or of the first line.
        begin: when its first event happened, milliseconds since the session's start.
        offset: where it lies.
        size: how many bytes it has there.
        chain: what its encryption is bound to, before its own beginning.
    """

    number: int
    begin: int
    offset: int
    size: int
    chain: bytes


class Recording(Protocol):
    """A recording to be played.

    Attributes:
        content: its bytes.
        note: what is to be said after its end; empty for nothing.
        length: milliseconds on record, as far as is known.
    """

    content: Content
    note: str
    length: int

    def blocks(self, pause: Pause) -> Iterator[Block | None]:
        """Yield its blocks in order; None where these are all so far. `pause` waits some seconds.

        Raises:
            RecordingError: it is broken: what came before is good.
            TshError: no more can be had.
        """

    def lines(self, block: Block) -> bytes:
        """Return a block's event lines, as asciicast has them. Raises `RecordingError`."""

    def open(self, block: Block) -> list[CastHeader | Event]:
        """Return a block's events. Raises `RecordingError`."""


class SealedRecording:
    """A recording in our own container."""

    def __init__(self, content: Content, key: RecordingKey | None, *, length: int = 0) -> None:
        """Begin. Without `key` it must not be encrypted, and its seals are checked with the key that it names."""
        self.content, self._key = content, key
        self._reader = Reader(key.signer if key else None)
        self._opener: Opener | None = None
        self._last: DataRecord | None = None  # is opened next, mostly
        self.note, self.length = "", length

    def blocks(self, pause: Pause) -> Iterator[Block | None]:
        """Yield the data records that are good."""
        reader = self._reader
        for piece in self.content.pieces(pause):
            if not piece:
                if reader.has_ended:
                    break
                yield None
            for record in reader.feed(piece):
                if isinstance(record, HeaderRecord):
                    self._opener = Opener(record.header, self._key.key if self._key else None)
                elif isinstance(record, DataRecord):
                    self.length = max(self.length, record.begin)
                    self._last = record
                    at = record.position
                    yield Block(at.number, record.begin, at.offset, _CLEAR + len(record.sealed), at.chain)
        self._finish()

    def lines(self, block: Block) -> bytes:
        """Return the event lines of a record that was good. Raises `RecordingError`."""
        return self._opened(block).lines(self._record(block))

    def open(self, block: Block) -> list[CastHeader | Event]:
        """Return the events of a record that was good. Raises `RecordingError` where its key does not open it."""
        return self._opened(block).events(self._record(block))

    def _opened(self, block: Block) -> Opener:
        if self._opener is None:
            raise RecordingError("F6", block.number, "no header before it")
        return self._opener

    def _record(self, block: Block) -> DataRecord:
        last = self._last
        if last is not None and last.position.number == block.number:
            return last
        data = self.content.at(block.offset, block.size)
        position = framing.Position(block.number, block.offset, block.chain)
        bound = framing.bound(block.chain, data[: framing.STEM], data[framing.PREFIX.size : _CLEAR])
        return DataRecord(position, block.begin, data[_CLEAR:], bound)

    def _finish(self) -> None:
        reader, number = self._reader, self._reader.position.number
        if self.content.state == "refused":
            reason = "the cluster refused what the node sent from here on; what came before is good"
            raise RecordingError("F12", number, reason)
        reader.finish()
        if reader.seal is None or not reader.has_ended:
            raise RecordingError("F12", number, "it is missing: the recording has no last seal")
        self.length = max(self.length, reader.seal.at)
        self.note = _NOTES.get(reader.seal.reason, "")


class CastFile:
    """An asciicast v2 file, as `tctl recordings export` and asciinema write it."""

    def __init__(self, content: Content) -> None:
        """Begin."""
        self.content = content
        self.note, self.length = "", 0

    def blocks(self, pause: Pause) -> Iterator[Block | None]:
        """Yield lines, several at a time."""
        number, offset, rest = 1, 0, b""
        for piece in self.content.pieces(pause):
            rest += piece
            while len(rest) > _LINES and (end := rest.rfind(b"\n", 0, _LINES) + 1 or rest.find(b"\n") + 1):
                yield from self._block(number, offset, rest[:end])
                number, offset, rest = number + rest.count(b"\n", 0, end), offset + end, rest[end:]
            if len(rest) > _LINE_MAX:
                raise _broken(number, f"more than {_LINE_MAX} bytes in one line")
        yield from self._block(number, offset, rest)

    def lines(self, block: Block) -> bytes:
        """Return some lines."""
        return self.content.at(block.offset, block.size)

    def open(self, block: Block) -> list[CastHeader | Event]:
        """Return the events of some lines."""
        lines = self.lines(block).split(b"\n")
        return [item for place, line in enumerate(lines) if (item := _parse_line(line, block.number + place))]

    def _block(self, number: int, offset: int, lines: bytes) -> Iterator[Block]:
        """Yield the good lines as a block. Raises `TshError` at the first that is not."""
        begin, size = self.length, 0
        fault: TshError | None = None
        for place, line in enumerate(lines.split(b"\n")):
            try:
                item = _parse_line(line, number + place)
            except TshError as err:
                fault = err
                break
            size += len(line) + 1
            if isinstance(item, Event):
                self.length = max(self.length, item.time)
        if size:
            yield Block(number, begin, offset, min(size, len(lines)), b"")
        if fault:
            raise fault


def _parse_line(line: bytes, number: int) -> CastHeader | Event | None:
    """Return what a line says; None for nothing that matters here. Raises `TshError`."""
    if not line.strip() and number > 1:
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise _broken(number, "no JSON") from None
    if number == 1:
        return _parse_header(value)
    match value:
        case [int() | float() as time, str(code), str(data), *_] if 0 <= time < _TIME_MAX:
            return Event(round(time * 1000), code, data) if code in _CODES else None  # type: ignore[arg-type]  # is one
        case _:
            raise _broken(number, "no event")


def _parse_header(value: object) -> CastHeader:
    match value:
        case {"version": 2, "width": int(width), "height": int(height), **rest}:
            said = rest.get("skerry")
            return CastHeader(width, height, 0, said=said if isinstance(said, dict) else {})
        case {"version": int(version)} if version != 2:
            raise TshError(f"it is asciicast of version {version}, and only version 2 can be played here")
        case _:
            raise _broken(1, "no asciicast header")


def _broken(number: int, reason: str) -> TshError:
    return TshError(f"the recording is broken at line {number}: {reason}")


def read_header(content: Content) -> Header:
    """Return the header of our own container. Raises `RecordingError`."""
    reader = Reader()
    for piece in content.pieces(lambda _: None):
        for record in reader.feed(piece):
            if isinstance(record, HeaderRecord):
                content.held = 0
                return record.header
    reader.finish()
    raise RecordingError("F12", 0, "it is missing")


def looks_sealed(content: Content) -> bool:
    """Tell whether a file is of our own container, and not asciicast. Raises `TshError` where it is neither."""
    start = content.at(0, len(framing.MAGIC))
    if start == framing.MAGIC:
        return True
    if start[:1] == b"{":
        return False
    raise TshError("it is no recording: neither of Skerry's own (.skr) nor asciicast v2 (.cast)")
