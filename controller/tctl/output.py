"""Where an export goes: a file that takes its name when it is whole, or standard output."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from controller.tctl.error import TctlError

STANDARD = Path("-")
_PREFIX, _SUFFIX = ".skerry-export-", ".part"
# Seconds: a file that is younger may be about to be locked.
_YOUNG = 60


@contextmanager
def opened_output(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Yield what to write to; the file takes its name at the end, and only where that comes without an error.

    Args:
        path: the file, or `STANDARD`.
        force: whether it may take the place of another.

    Raises:
        TctlError: there is a file of that name, or something that is none, or none can be made.
        OSError: it cannot be written.
    """
    if path == STANDARD:
        yield from _standard()
        return
    _require_room(path, force=force)
    fd, unnamed = _create(path)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _require_room(path, force=force)  # it took a while: somebody else may have been quicker
        unnamed.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unnamed.unlink()
        raise


def _standard() -> Iterator[IO[bytes]]:
    """Yield standard output. Ends the program where nobody reads it any more (``tctl … | head``)."""
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise SystemExit(128 + signal.SIGPIPE) from None  # by itself, click would end it with 1


def _create(path: Path) -> tuple[int, Path]:
    """Return a new file beside `path`, which is locked while it is written. Raises `TctlError`."""
    _sweep(path.parent)
    try:
        fd, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=path.parent)
    except OSError as err:
        raise TctlError(f"cannot write {path}: {err.strerror}") from err
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd, Path(name)


def _sweep(directory: Path) -> None:
    """Remove what programs that were killed, or lost power, have left in `directory`: nobody holds its lock."""
    for left in directory.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):  # it is written just now, or is somebody else's
            fd = os.open(left, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                found = os.fstat(fd)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if found.st_uid == os.geteuid() and time.time() - found.st_mtime > _YOUNG:
                    left.unlink()
            finally:
                os.close(fd)


def _require_room(path: Path, *, force: bool) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise TctlError(f"{path} is there and is no plain file: name another, or leave -o away for standard output")
    if not force:
        raise TctlError(f"{path} is there already: name another file, or overwrite it with --force")
