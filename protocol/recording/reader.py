"""Bytes in, records or a precise fault out. Judges everything that can be judged without the recording's key.

The checks: F1 it begins as a recording does; F2 the kind of record is known; F3 its length is within bounds; F4 its
number is the next; F5 it is as it was written, in this place; F6 the header is the first record and the only one; F7
the header can be read; F8 a data record has content and begins no earlier than the one before; F9 a seal can be read;
F10 it is signed by the header's signer, and by the expected one; F11 nothing follows the last seal; F12 the bytes end
where a record does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from protocol.fields import MessageError
from protocol.recording import framing, seal
from protocol.recording.fault import RecordingError
from protocol.recording.framing import Kind, Position
from protocol.recording.header import Header
from protocol.recording.seal import Seal


@dataclass(frozen=True, slots=True)
class HeaderRecord:
    """The first record."""

    header: Header
    position: Position


@dataclass(frozen=True, slots=True)
class DataRecord:
    """A data record, still closed.

    Attributes:
        position: where the recording stood before it.
        begin: time of its first event, milliseconds since the session's start.
        sealed: the frame, encrypted unless the cipher is ``none``.
        bound: what the encryption is bound to.
    """

    position: Position
    begin: int
    sealed: bytes
    bound: bytes


@dataclass(frozen=True, slots=True)
class SealRecord:
    """A seal whose signature is good."""

    seal: Seal
    position: Position


Record = HeaderRecord | DataRecord | SealRecord


class Reader:
    """Reads one recording as it arrives, in pieces of any size. Holds at most one record and one piece.

    Attributes:
        position: where the recording stands after the last whole record that was good.
        header: what the header said; None before it has come.
        seal: the last seal; None before the first.
        sealed: the number of records that are under that seal, itself included.
    """

    def __init__(self, signer: bytes | None = None) -> None:
        """Begin. `signer` is the Ed25519 public key that must have signed; None takes the header's word."""
        self._expected = signer
        self._buffer = bytearray()
        self._broken: RecordingError | None = None
        self._started = False
        self._begin = 0
        self.position = framing.START
        self.header: Header | None = None
        self.seal: Seal | None = None
        self.sealed = 0

    @classmethod
    def resume(
        cls, header: Header, position: Position, *, begin: int, sealed: int, last: Seal | None, signer: bytes | None
    ) -> Reader:
        """Go on where another reader of the same recording stood: each value as that one had it.

        That one had read the header, and the bytes that come next are those from `position.offset`. Raises
        `RecordingError` (F10) where `signer` is not the header's.
        """
        reader = cls(signer)
        reader._judge_signer(header)
        reader._started, reader.header, reader.position = True, header, position
        reader._begin, reader.sealed, reader.seal = begin, sealed, last
        return reader

    @property
    def begin(self) -> int:
        """The time at which the last data record began, milliseconds since the session's start."""
        return self._begin

    @property
    def pending(self) -> int:
        """How many bytes have come of a record that is not whole yet."""
        return len(self._buffer)

    @property
    def taken(self) -> int:
        """How many bytes have come, all in all."""
        return len(self._buffer) + (self.position.offset if self._started else 0)

    @property
    def has_ended(self) -> bool:
        """Whether the last seal has come."""
        return self.seal is not None and self.seal.ends

    def feed(self, data: bytes) -> Iterator[Record]:
        """Yield the records that `data` completes. Raises `RecordingError` at the first that is not good.

        `data` is taken at once; records that are not asked for come with the next call. After an error there is
        nothing more to read: each further call raises the same one.
        """
        if self._broken is None:
            self._buffer += data
        return self._records()

    def finish(self) -> None:
        """Say that no more bytes come. Raises `RecordingError` where that is in the middle of a record (F12).

        Records that nobody asked for are judged first.
        """
        for _ in self._records():
            pass
        if self._buffer or self.header is None:
            raise self._fault("F12", f"cut off after {len(self._buffer)} bytes of it")

    def _records(self) -> Iterator[Record]:
        while (record := self._next()) is not None:
            yield record

    def _take_magic(self) -> bool:
        size = len(framing.MAGIC)
        if not framing.MAGIC.startswith(self._buffer[:size]):
            raise self._fault("F1", "this is no recording, or one of another version")
        if len(self._buffer) < size:
            return False
        del self._buffer[:size]
        self._started = True
        return True

    def _next(self) -> Record | None:
        if self._broken is not None:
            raise self._broken
        if not self._started and not self._take_magic():
            return None
        if self.has_ended and self._buffer:
            raise self._fault("F11", "it follows the last seal")
        if len(self._buffer) < framing.PREFIX.size:
            return None
        kind, size = self._judge_prefix()
        whole = framing.PREFIX.size + size
        if len(self._buffer) < whole:
            return None
        with memoryview(self._buffer) as view:
            data = bytes(view[:whole])
        after = framing.advance(self.position, data)
        if data[framing.STEM : framing.PREFIX.size] != framing.link(after):
            raise self._fault("F5", "it was changed, or belongs to another place or recording")
        record = self._judge(kind, data[: framing.STEM], data[framing.PREFIX.size :])
        del self._buffer[:whole]
        self.position = after
        if isinstance(record, SealRecord):
            self.sealed = self.position.number
        return record

    def _judge_prefix(self) -> tuple[Kind, int]:
        code, size, number, _ = framing.PREFIX.unpack_from(self._buffer)
        kind = framing.KINDS.get(code)
        if kind is None:
            raise self._fault("F2", f"of the unknown kind {code}")
        if size > framing.BODY_MAX[kind]:
            raise self._fault("F3", f"of {size} bytes, which is too many")
        if number != self.position.number:
            raise self._fault("F4", f"it says that it is record {number}")
        if (kind == "H") != (number == 0):
            raise self._fault("F6", "a second header" if kind == "H" else "no header before it")
        return kind, size

    def _judge(self, kind: Kind, stem: bytes, body: bytes) -> Record:
        if kind == "H":
            return self._judge_header(body)
        if kind == "D":
            return self._judge_data(stem, body)
        return self._judge_seal(stem, body)

    def _judge_header(self, body: bytes) -> HeaderRecord:
        try:
            header = Header.decode(body)
        except MessageError as err:
            raise self._fault("F7", f"the header cannot be read: {err}") from None
        self._judge_signer(header)
        self.header = header
        return HeaderRecord(header, self.position)

    def _judge_signer(self, header: Header) -> None:
        if self._expected is not None and header.signer != self._expected:
            raise self._fault("F10", "the recording was signed with another key")

    def _judge_data(self, stem: bytes, body: bytes) -> DataRecord:
        clear, sealed = body[: framing.BEGIN_SIZE], body[framing.BEGIN_SIZE :]
        begin = int.from_bytes(clear, "big")
        if not sealed:
            raise self._fault("F8", f"of {len(body)} bytes, which is too few")
        if begin < self._begin:
            raise self._fault("F8", "it begins before the record before it")
        self._begin = begin
        return DataRecord(self.position, begin, sealed, framing.bound(self.position.chain, stem, clear))

    def _judge_seal(self, stem: bytes, body: bytes) -> SealRecord:
        try:
            found, signature = seal.decode(body)
        except ValueError as err:
            raise self._fault("F9", str(err)) from None
        said = seal.statement(self.position.chain, stem, found.encode())
        if self.header is None or not seal.is_signed(self.header.signer, signature, said):
            raise self._fault("F10", "the seal's signature is not the node's, or something before it was changed")
        self.seal = found
        return SealRecord(found, self.position)

    def _fault(self, check: str, reason: str) -> RecordingError:
        self._broken = RecordingError(check, self.position.number, reason)
        self._buffer.clear()
        return self._broken
