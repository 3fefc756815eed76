"""Files that survive a crash: replaced whole, locked among processes, private to their owner.

A reader of such a file takes no lock and still never sees half of it: what is written goes to a temporary
file in the same directory, is flushed to the disk, and only then takes the name. A crash before that
leaves the old file; a crash after it leaves the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

LOCK_TIMEOUT = timedelta(seconds=10)
_LOCK_POLL_FIRST = 0.0002
_LOCK_POLL_MAX = 0.01
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_TEMPORARY = ".tmp"


class LockTimeoutError(OSError):
    """Another process held the lock all the while."""


def make_private_directory(directory: Path) -> None:
    """Make `directory` where it is missing, and let nobody but its owner in.

    Made by root inside somebody else's directory, it is given to that owner.

    Raises:
        OSError: it cannot be made, or something else stands there.
    """
    if not directory.is_dir():
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        _give(directory, directory.parent)
    mine = directory.stat().st_uid == os.geteuid() or os.geteuid() == 0
    if mine and directory.stat().st_mode & 0o077:
        directory.chmod(_DIRECTORY_MODE)


def _give(made: Path | int, owner_of: Path) -> None:
    """Root's new file belongs to whoever owns the directory: the service must be able to use it."""
    owner = owner_of.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(made, owner.st_uid, owner.st_gid)


def open_private(path: Path, flags: int) -> int:
    """Open `path` as 0600 and the directory's owner's, made if `flags` say so; return the descriptor.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, _FILE_MODE)
    try:
        if flags & os.O_CREAT:
            os.fchmod(fd, _FILE_MODE)
            _give(fd, path.parent)
    except OSError:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def locked(path: Path, timeout: timedelta = LOCK_TIMEOUT) -> Iterator[None]:
    """Hold the lock file `path` alone, among all threads and processes.

    The lock lives in the kernel and dies with its holder: a crash leaves none behind.

    Raises:
        LockTimeoutError: somebody else held it for `timeout`.
        OSError: the lock file cannot be opened.
    """
    fd = _acquire(path, time.monotonic() + timeout.total_seconds())
    try:
        yield
    finally:
        # Said aloud, because a child being forked in another thread may hold a copy of the descriptor for a moment.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _acquire(path: Path, deadline: float) -> int:
    pause = _LOCK_POLL_FIRST
    while True:
        fd = open_shared(path)
        try:
            if _try_lock(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        if time.monotonic() >= deadline:
            raise LockTimeoutError(f"another process keeps {path} locked")
        time.sleep(pause)
        pause = min(pause * 2, _LOCK_POLL_MAX)


def open_shared(path: Path, flags: int = 0) -> int:
    """Open `path` for reading and writing, made empty where it is missing; return the descriptor.

    Raises:
        OSError: it cannot be opened.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags)
        # It takes its name only when it has its owner: a crash in between must not shut that owner out.
        unnamed = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}{_TEMPORARY}")
        unnamed.unlink(missing_ok=True)
        os.close(open_private(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(unnamed, path)
        unnamed.unlink(missing_ok=True)


def _try_lock(fd: int, path: Path) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # Somebody may have removed the file in between; a lock on a file without a name excludes nobody.
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def replace_file(path: Path, data: bytes) -> int:
    """Put `data` in the place of whatever `path` was; return an open descriptor of the new file.

    The caller holds the file's lock, for there is one temporary name a file. What a crash left under that
    name is overwritten. When this returns, the data and the name are on the disk.

    Raises:
        OSError: nothing was changed, unless only the last step failed, flushing the directory; then the new
            file stands there but might not survive a power cut.
    """
    temporary = temporary_name(path)
    temporary.unlink(missing_ok=True)
    fd = open_private(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        write_all(fd, data)
        os.fsync(fd)
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException:
        os.close(fd)
        temporary.unlink(missing_ok=True)
        raise
    return fd


def temporary_name(path: Path) -> Path:
    """Return where `replace_file` gathers what will become `path`."""
    return path.with_name(path.name + _TEMPORARY)


def leftovers(directory: Path) -> list[Path]:
    """Return the temporary files in `directory`: what a crash left, or what is being written now. Raises `OSError`."""
    return sorted(directory.glob(f"*{_TEMPORARY}"))


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`: the kernel may take it in pieces. Raises `OSError`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_directory(directory: Path) -> None:
    """Flush the names in `directory` to the disk. Raises `OSError`."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
