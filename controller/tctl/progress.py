"""How far a long transfer has come, on standard error: one line that is written over, and gone at the end."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator

from protocol.sizes import format_size

# What is done in a moment needs no progress.
_LARGE = 4 * 1024 * 1024
_EVERY = 0.2
_CLEAR = "\r\x1b[K"


@contextlib.contextmanager
def watched(pieces: Iterable[bytes], verb: str, total: int) -> Iterator[Iterator[bytes]]:
    """Yield `pieces`, and show how many of `total` bytes they are so far, until left: not all of them may be taken."""
    progress = Progress(verb, total)
    try:
        yield _counted(pieces, progress)
    finally:
        progress.end()


def _counted(pieces: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        progress.advance(len(piece))


class Progress:
    """Shows how much of something large is done. Says nothing where standard error is no terminal.

    Args:
        verb: what is being done, such as ``Exporting``.
        total: bytes, all in all.
    """

    def __init__(self, verb: str, total: int) -> None:
        self._verb = verb
        self._total = total
        self._done = 0
        self._shown = 0.0
        self._is_seen = total >= _LARGE and _is_terminal(sys.stderr)

    def advance(self, size: int) -> None:
        """Say that another `size` bytes are done."""
        self._done += size
        now = time.monotonic()
        if self._is_seen and now - self._shown >= _EVERY:
            self._shown = now
            percent = min(100, 100 * self._done // self._total)
            done, total = format_size(self._done), format_size(self._total)
            self._write(f"{_CLEAR}{self._verb}: {percent} % ({done} of {total})")

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            self._write(_CLEAR)

    @staticmethod
    def _write(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a terminal that went away does not stop the work
            sys.stderr.write(text)
            sys.stderr.flush()


def _is_terminal(stream: object) -> bool:
    try:
        return os.isatty(stream.fileno())  # type: ignore[attr-defined]  # what has no descriptor is no terminal
    except (AttributeError, OSError, ValueError):
        return False
