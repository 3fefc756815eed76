"""Recordings of a benchmark's own cluster: waited for, opened, and compressed once more as others would have done."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.program import BenchError
from controller.cluster import open_cluster
from controller.config import load_config
from protocol import names
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, Reader

_POLL = 0.05
_PATIENCE = 600.0
_PIECE = 512 * 1024
_GZIP = 16 + zlib.MAX_WBITS


def spool(road: Contender) -> Path:
    """Return the folder of the device's recordings."""
    return road.directory / "agent" / "spool"


def wait_until_uploaded(road: Contender) -> None:
    """Wait until the device has none any more. Raises `BenchError` where that never is."""
    deadline = time.monotonic() + _PATIENCE
    while any(spool(road).glob("*.skr")):
        if time.monotonic() > deadline:
            raise BenchError(f"{road.name}: recordings were not uploaded within {_PATIENCE:.0f} s")
        time.sleep(_POLL)


def stored(road: Contender, session: str) -> tuple[int, list[bytes]]:
    """Return the size of a recording as the controller keeps it, and its event lines, flush by flush."""
    recordings = open_cluster(load_config(road.directory / "controller.yaml")).recordings
    name = names.parse_session_id(session)
    key = recordings.key(name)
    reader, size, data = Reader(key.signer), 0, list[DataRecord]()
    while piece := recordings.read(name, size, _PIECE):
        size += len(piece)
        data += [record for record in reader.feed(piece) if isinstance(record, DataRecord)]
    reader.finish()
    if reader.header is None:
        raise BenchError(f"the recording of session {session} is empty")
    opener = Opener(reader.header, key.key)
    return size, [opener.lines(record) for record in data]


def gzip_size(pieces: Sequence[bytes], flush: int) -> int:
    """Return what gzip -6 makes of `pieces`, flushed after each in the way `flush` says (RFC 1950 calls it a flush)."""
    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    return sum(len(packer.compress(piece)) + len(packer.flush(flush)) for piece in pieces) + len(packer.flush())
