"""Where a recording's bytes come from: what this cluster keeps, or a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controller.recordings import Recordings, Stored
from controller.tctl.error import TctlError
from controller.tctl.host import Desk
from protocol import limits, names
from protocol.names import SessionId
from protocol.recording.fault import RecordingError
from protocol.recording.header import Header
from protocol.recording.reader import Reader
from protocol.recording.signer import SignerError, parse_signer

_HEAD = limits.RECORDING_HEADER_MAX + 1024
_KEY_FILE_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reel:
    """One recording's bytes, to be read once from the beginning.

    Attributes:
        size: bytes, as far as that is known now.
    """

    size: int
    pieces: Iterator[bytes]


def session_named(name: str) -> SessionId | None:
    """Return the session's id that `name` is; None where it is none, and so a file's name."""
    return names.parse_session_id(name) if names.is_uuid(name) else None


class FileReel:
    """A recording in a file, open from the start: who opens the cluster later may be nobody who could open it."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises `OSError`."""
        self._path = path
        self._file = path.open("rb")

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def header(self) -> Header | None:
        """Return what its header says, unchecked; None where it has none. Raises `OSError`."""
        reader = Reader()
        with contextlib.suppress(RecordingError):
            for _ in reader.feed(os.pread(self._file.fileno(), _HEAD, 0)):
                break
        return reader.header

    def reel(self) -> Reel:
        """Return its bytes. Raises `OSError`."""
        return Reel(os.fstat(self._file.fileno()).st_size, self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        while piece := self._file.read(limits.RECORDING_PIECE_MAX):
            yield piece


def stored_reel(recordings: Recordings, stored: Stored) -> Reel:
    """Return the bytes of what the cluster keeps: so much of it as is there now."""
    return Reel(stored.entry.size, _stored_pieces(recordings, stored))


def _stored_pieces(recordings: Recordings, stored: Stored) -> Iterator[bytes]:
    offset = 0
    while offset < stored.entry.size:
        size = min(limits.RECORDING_PIECE_MAX, stored.entry.size - offset)
        piece = recordings.read(stored.entry.session, offset, size)
        if not piece:
            return
        offset += len(piece)
        yield piece


def find_stored(desk: Desk, session: SessionId) -> Stored:
    """Return what the cluster keeps of a session. Raises `TctlError`."""
    stored = desk.cluster.recordings.find(session)
    if stored is None:
        raise TctlError(
            f"there is no recording of session {session}: `tctl recordings ls` lists them; of a session of late, it "
            "may still wait on its device"
        )
    return stored


def parse_public_key(text: str) -> bytes:
    """Return the key in `text`, one line as OpenSSH writes it, or in the file of that name. Raises `ValueError`."""
    if text.startswith("ssh-"):
        return parse_signer(text)
    try:
        with Path(text).open("rb") as file:
            lines = file.read(_KEY_FILE_MAX).decode(errors="replace").splitlines()
    except (OSError, ValueError) as err:
        raise SignerError(f"{text}: {err.strerror if isinstance(err, OSError) else 'no name of a file'}") from None
    keys = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if len(keys) != 1:
        raise SignerError(f"{text} holds {len(keys)} lines and not one public key")
    return parse_signer(keys[0])
