"""Putting one recording in order that an agent left behind: cut at the last good record, sealed as interrupted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from protocol.names import SessionId

if TYPE_CHECKING:
    from protocol.recording.framing import Position
    from protocol.recording.header import Header

_PIECE = 256 * 1024
# whole: it had ended, and is untouched; sealed: it had not, and has now; damaged: so, and more was lost than a torn
# tail; removed: not even its header was there; strange: it is not this node's own, or not that session's; failed: the
# disk would not have it.
Outcome = Literal["whole", "sealed", "damaged", "removed", "strange", "failed"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was done to one recording.

    Attributes:
        lost: bytes that were cut off.
        reason: what was wrong; empty where nothing was.
    """

    session: SessionId
    outcome: Outcome
    lost: int = 0
    reason: str = ""

    def describe(self) -> str:
        """Return what was done, in words for a person."""
        done = {
            "whole": "it had ended, and is as it was",
            "sealed": "it goes as far as it had reached the disk, and is sealed as interrupted",
            "damaged": "it is good up to where it was damaged, and is sealed there as interrupted",
            "removed": "removed",
            "strange": "not this device's own, and put aside",
            "failed": "it could not be put in order",
        }[self.outcome]
        cut = f" ({self.lost} bytes at its end were cut off)" if self.lost and self.outcome != "removed" else ""
        return f"{done}{cut}{f': {self.reason}' if self.reason else ''}"


@dataclass(frozen=True, slots=True)
class Hand:
    """Who puts recordings in order, and what they need for it.

    Attributes:
        sign: returns the node's Ed25519 signature.
        signer: the public key to it, 32 bytes.
        times: returns the time by the device's clock and by the controller's, milliseconds since 1970.
        stop: set where the work is to end early.
    """

    sign: Callable[[bytes], bytes]
    signer: bytes
    times: Callable[[], tuple[int, int]]
    stop: threading.Event


@dataclass(frozen=True, slots=True)
class Found:
    """What is good of a recording.

    Attributes:
        header: None where not even that is good.
        position: after the last good record.
        at: up to which moment something is on record, milliseconds since the session's start.
        has_ended: whether the last good record is the last seal.
        fault: what is wrong with what follows; empty where nothing is, or it merely ends too soon.
    """

    header: Header | None
    position: Position
    at: int
    has_ended: bool
    fault: str


def recover_file(path: Path, session: SessionId, hand: Hand) -> Recovered:
    """Put the recording at `path` in order; where it is to stop on the way, nothing is done. Raises `OSError`."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Recovered(session, "whole")
    try:
        found = _read(file, hand.stop)
        if hand.stop.is_set():
            return Recovered(session, "whole")
        if found.header is None and found.fault and not _is_blank(file, 0):
            return Recovered(session, "strange", 0, found.fault)
        if found.header is None:
            path.unlink(missing_ok=True)
            return Recovered(session, "removed", os.fstat(file).st_size, "not even its beginning had reached the disk")
        if found.header.signer != hand.signer or found.header.session != session:
            return Recovered(session, "strange", 0, "it was not made by this node for this session")
        return _mend(file, found, session, hand)
    finally:
        os.close(file)


def _read(file: int, stop: threading.Event) -> Found:
    """Read all there is, or up to the first fault. What is good shows by itself, whatever follows it."""
    from protocol.recording.fault import RecordingError
    from protocol.recording.reader import Reader

    reader = Reader()
    fault, offset = "", 0
    try:
        while not stop.is_set() and (piece := os.pread(file, _PIECE, offset)):
            offset += len(piece)
            for _ in reader.feed(piece):
                pass
    except RecordingError as err:
        fault = str(err)
    at = max(reader.begin, reader.seal.at if reader.seal else 0)
    return Found(reader.header, reader.position, at, reader.has_ended, fault)


def _mend(file: int, found: Found, session: SessionId, hand: Hand) -> Recovered:
    """Cut off what is not good, and seal what had not ended. What is cut blank, or in one record, is a torn tail."""
    end = found.position.offset
    lost = os.fstat(file).st_size - end
    if found.has_ended and not lost:
        return Recovered(session, "whole")
    damage = found.fault if not _is_blank(file, end) else ""
    os.ftruncate(file, end)
    if not found.has_ended:
        os.pwrite(file, _seal(found, hand), end)
    os.fsync(file)
    return Recovered(session, "damaged" if damage else "sealed", lost, damage)


def _seal(found: Found, hand: Hand) -> bytes:
    from protocol.recording import seal

    return seal.add(seal.Seal("interrupted", *hand.times(), found.at), found.position, hand.sign)[0]


def _is_blank(file: int, offset: int) -> bool:
    """Tell whether nothing but zeros follows: a file that had its length, but not its content, when the power went."""
    while piece := os.pread(file, _PIECE, offset):
        if piece.count(0) != len(piece):
            return False
        offset += len(piece)
    return True
