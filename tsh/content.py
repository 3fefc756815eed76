"""The bytes of a recording, from the web door or from a file: fetched in order, and read again by whoever goes back."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from protocol import limits
from protocol.fields import MessageError, whole
from protocol.names import SessionId
from protocol.recordings import State, parse_state
from protocol.sizes import format_size
from tsh.archive import Archive
from tsh.error import TshError
from tsh.web_door import Answer, DoorRefusedError, UnreachableError

# How often a recording that is still arriving is asked for more: a viewer is at most 3 s behind, of which the device
# gathers output for one, and the upload takes its share.
POLL = 0.5
# A link may be away for so long while something is fetched, in seconds.
PATIENCE = 60.0
_DELAY_MAX = 5.0
# Too many requests, and what a door in front of another says while that one is restarted.
_FOR_A_WHILE = {429, 502, 503, 504}
# One request takes about so long, in seconds: the piece grows and shrinks with the link.
_TOO_SLOW, _QUICK = 2.0, 0.5
_FIRST_PIECE, _SMALLEST_PIECE = 8 * 1024, 4 * 1024
# What is held for going back stays in memory up to this; beyond, in a file without a name, as the door sent it.
_HELD_IN_MEMORY = 8 * 1024 * 1024
Pause = Callable[[float], object]


class Content(Protocol):
    """A recording's bytes.

    Attributes:
        held: how many have come.
        total: how many there are, as far as anybody knows.
        state: what the recording was, when last heard of.
    """

    held: int
    total: int
    state: State

    def pieces(self, pause: Pause) -> Iterator[bytes]:
        """Yield the bytes in order; none where that was all there is so far. `pause` waits some seconds.

        Raises:
            TshError: they cannot be had.
        """

    def at(self, offset: int, size: int) -> bytes:
        """Return bytes that `pieces` has yielded."""

    def close(self) -> None:
        """Let go of what is held."""


class FileContent:
    """A file."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises `OSError`."""
        self._file = path.open("rb")
        self.held, self.total = 0, os.fstat(self._file.fileno()).st_size
        self.state: State = "complete"

    def pieces(self, pause: Pause) -> Iterator[bytes]:  # noqa: ARG002 - a file is all there
        """Yield the bytes in order."""
        while piece := os.pread(self._file.fileno(), limits.RECORDING_PIECE_MAX, self.held):
            self.held += len(piece)
            yield piece

    def at(self, offset: int, size: int) -> bytes:
        """Return some of the bytes."""
        return os.pread(self._file.fileno(), size, offset)

    def close(self) -> None:
        """Close it."""
        self._file.close()


class DoorContent:
    """A recording at the web door."""

    def __init__(
        self,
        archive: Archive,
        session: SessionId,
        *,
        total: int,
        keep: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin. Without `keep`, nothing can be read again."""
        self._archive, self._session, self._clock = archive, session, clock
        self._keep = keep
        self._kept = tempfile.SpooledTemporaryFile(_HELD_IN_MEMORY, prefix="tsh-")  # noqa: SIM115 - closed in close
        self._lock = threading.Lock()
        self._size = _FIRST_PIECE
        self.held, self.total = 0, total
        self.state: State = "arriving"

    def pieces(self, pause: Pause) -> Iterator[bytes]:
        """Yield the bytes as they come."""
        while True:
            piece = self._fetch_patiently(pause)
            self._hold(piece)
            if piece:
                yield piece
            elif self.state != "arriving":
                return
            else:
                yield b""
                pause(POLL)

    def at(self, offset: int, size: int) -> bytes:
        """Return bytes that are kept."""
        with self._lock:
            self._kept.seek(offset)
            return self._kept.read(size)

    def close(self) -> None:
        """Let go of what is held."""
        with self._lock:
            self._kept.close()

    def _hold(self, piece: bytes) -> None:
        if self._keep:
            try:
                with self._lock:
                    self._kept.seek(self.held)
                    self._kept.write(piece)
            except OSError as err:
                raise TshError(
                    f"playing {self._session}: cannot keep it in {tempfile.gettempdir()} ({err.strerror}); make room "
                    "there, or name another folder in TMPDIR"
                ) from err
        self.held += len(piece)
        self.total = max(self.total, self.held)

    def _fetch_patiently(self, pause: Pause) -> bytes:
        since, delay = self._clock(), POLL
        while True:
            try:
                return self._fetch()
            except (UnreachableError, DoorRefusedError) as err:
                if isinstance(err, DoorRefusedError) and err.code not in _FOR_A_WHILE:
                    raise
                self._size = _SMALLEST_PIECE
                if self._clock() - since > PATIENCE:
                    raise TshError(self._describe_loss(err)) from err
            pause(delay)
            delay = min(2 * delay, _DELAY_MAX)

    def _describe_loss(self, err: TshError) -> str:
        return (
            f"playing {self._session}: after {format_size(self.held)} of {format_size(self.total)} no more came for "
            f"{PATIENCE:.0f} seconds: {err}. When the link is back, play it again"
        )

    def _fetch(self) -> bytes:
        began = self._clock()
        answer = self._archive.content(self._session, self.held, self._size)
        self._read_state(answer)
        taken = self._clock() - began
        if taken > _TOO_SLOW:
            self._size = max(_SMALLEST_PIECE, self._size // 2)
        elif taken < _QUICK:
            self._size = min(limits.RECORDING_PIECE_MAX, self._size * 2)
        return answer.body

    def _read_state(self, answer: Answer) -> None:
        try:
            if len(answer.body) > limits.RECORDING_PIECE_MAX:
                raise MessageError("more than was asked for")
            self.state = parse_state(answer.headers.get("Skerry-Recording-State"))
            self.total = whole(int(answer.headers.get("Skerry-Recording-Size", "")))
        except ValueError as err:
            raise TshError(f"playing {self._session}: {self._archive.url} sent something else ({err})") from None
