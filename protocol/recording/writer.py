"""Events in, bytes out: the writer of one recording. What it returns must be kept in the order it was returned."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.recording import cipher, frame, framing, seal
from protocol.recording.framing import Kind, Position
from protocol.recording.header import Header
from protocol.recording.seal import Seal, Sign
from protocol.secret import Secret


class Writer:
    """Makes the records of one recording, one after the other.

    What it is asked for and cannot be written, or could not be read again, raises `ValueError` and changes nothing.

    Attributes:
        position: where the recording stands.
    """

    def __init__(self, sign: Sign, position: Position = framing.START) -> None:
        """Begin, or go on at `position`, where all that can be added is a seal.

        Args:
            sign: returns the node's Ed25519 signature, 64 bytes.
            position: where the recording stands.
        """
        self._sign = sign
        self._key: AESGCM | None = None
        self._dictionary = 0
        self._takes_data = False
        self._has_ended = False
        self._begin = 0
        self.position = position

    def begin(self, header: Header, key: Secret[bytes] | None) -> bytes:
        """Return magic and header. `key` is the recording's own, 32 bytes, or None for cipher ``none``.

        The key must be new: each record's number is used once as a nonce under it.
        """
        if self.position != framing.START:
            raise ValueError("the recording has a header")
        if (header.cipher == "none") != (key is None) or (key and len(key.reveal()) != cipher.KEY_SIZE):
            raise ValueError("the header's cipher and the key do not fit")
        self._key = AESGCM(key.reveal()) if key else None
        self._dictionary = header.dictionary
        record = framing.MAGIC + self._add("H", header.encode())
        self._takes_data = True
        return record

    def data(self, content: bytes, begin: int) -> bytes:
        """Return a data record; nothing where there is no content.

        Args:
            content: event lines, see `protocol.recording.cast`; at most `limits.RECORDING_FRAME_MAX` bytes.
            begin: the time of the first of them, milliseconds since the session's start. Where that is earlier than
                the record before began, the record says the same as that one.
        """
        if not self._takes_data:
            raise ValueError("data can be added by who began the recording, and before it is sealed for good")
        if not content:
            return b""
        begin = max(begin, self._begin)
        if begin >= framing.BEGIN_END:
            raise ValueError(f"{begin} ms is more than a record can say")
        record = self._lock(frame.compress(content, self._dictionary), begin.to_bytes(framing.BEGIN_SIZE, "big"))
        self._begin = begin
        return record

    def seal(self, what: Seal) -> bytes:
        """Return a seal over everything so far."""
        if self.position.number == 0 or self._has_ended:
            raise ValueError("a seal comes after the header, and nothing after the last seal")
        record, self.position = seal.add(what, self.position, self._sign)
        if what.ends:
            self._takes_data, self._has_ended = False, True
        return record

    def _lock(self, packed: bytes, clear: bytes) -> bytes:
        if self._key is None:
            return self._add("D", clear + packed)
        size = len(clear) + len(packed) + cipher.TAG_SIZE
        stem = framing.stem("D", size, self.position)
        bound = framing.bound(self.position.chain, stem, clear)
        return self._add("D", clear + cipher.encrypt(self._key, self.position.number, packed, bound))

    def _add(self, kind: Kind, body: bytes) -> bytes:
        record, self.position = framing.add(kind, body, self.position)
        return record
