"""From data records to events, for who holds the recording's key.

The checks: O1 the record opens; O2 the frame is one, and no larger than it may be; O3 its lines are events.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.recording import cast, cipher, frame
from protocol.recording.cast import CastHeader, Event
from protocol.recording.cipher import CipherError
from protocol.recording.fault import RecordingError
from protocol.recording.frame import FrameError
from protocol.recording.header import Header
from protocol.recording.reader import DataRecord
from protocol.secret import Secret


class Opener:
    """Opens the data records of one recording, in any order."""

    def __init__(self, header: Header, key: Secret[bytes] | None) -> None:
        """Begin. `key` is the recording's own; None where the cipher is ``none``. Raises `RecordingError` (O1)."""
        if header.cipher == "none" and key is not None:
            raise RecordingError("O1", 0, "the recording is not encrypted, and there is a key for it")
        if header.cipher != "none" and key is None:
            raise RecordingError("O1", 0, "the recording is encrypted, and its key is needed")
        if key is not None and len(key.reveal()) != cipher.KEY_SIZE:
            raise RecordingError("O1", 0, f"a recording's key is {cipher.KEY_SIZE} bytes, and this one is not")
        self._key = AESGCM(key.reveal()) if key is not None else None
        self._dictionary = header.dictionary

    def content(self, record: DataRecord) -> bytes:
        """Return a record's event lines, raw output among them. Raises `RecordingError` (O1, O2)."""
        number = record.position.number
        try:
            packed = cipher.decrypt(self._key, number, record.sealed, record.bound) if self._key else record.sealed
        except CipherError as err:
            raise RecordingError("O1", number, str(err)) from None
        try:
            return frame.decompress(packed, self._dictionary)
        except FrameError as err:
            raise RecordingError("O2", number, str(err)) from None

    def lines(self, record: DataRecord) -> bytes:
        """Return a record's event lines as asciicast has them. Raises `RecordingError` (O1, O2, O3)."""
        try:
            return cast.plain_lines(self.content(record))
        except cast.CastError as err:
            raise RecordingError("O3", record.position.number, str(err)) from None

    def events(self, record: DataRecord) -> list[CastHeader | Event]:
        """Return a record's events; the first of all is the `CastHeader`. Raises `RecordingError` (O1, O2, O3)."""
        try:
            return cast.parse_lines(self.content(record))
        except cast.CastError as err:
            raise RecordingError("O3", record.position.number, str(err)) from None
