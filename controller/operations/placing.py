"""Where a restored controller's files are put: beside what is there until all is whole, and then in its place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.doors import LOCK, describe_running
from controller.operations.error import OperationError
from controller.store.durable import sync_directory
from controller.tctl.host import as_owner

USER = "skerry"
# What an empty data directory may hold: a file system's own.
_OVERLOOKED = frozenset({"lost+found"})
_STAGING = ".skerry-restore-"
# Seconds: a directory that is younger may be about to be locked.
_YOUNG = 60


@contextmanager
def nobody_runs(data_dir: Path) -> Iterator[None]:
    """Keep every controller from starting on `data_dir` meanwhile. Raises `OperationError` where one runs there."""
    try:
        fd = os.open(data_dir / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        yield  # none ever ran
        return
    with os.fdopen(fd, "rb", buffering=0) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperationError(describe_running(data_dir, lock)) from None
        yield


def content_of(data_dir: Path) -> list[Path]:
    """Return what lies in the data directory; nothing where there is none. Raises `OperationError`, `OSError`."""
    try:
        found = [path for path in data_dir.iterdir() if path.name not in _OVERLOOKED]
        return sorted(path for path in found if not path.name.startswith(_STAGING))
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise OperationError(f"{data_dir} is no directory: name another with --data-dir") from None


@contextmanager
def staging_for(data_dir: Path) -> Iterator[Path]:
    """Yield an empty directory on the file system of `data_dir`, 0700; what is left of it in the end is removed.

    It lies beside `data_dir`, or in it where that is a file system of its own or the place beside it is not ours.

    Raises `OSError`.
    """
    parent = data_dir.parent
    made = make_parents(data_dir)
    inside = data_dir.exists() and (os.path.ismount(data_dir) or not os.access(parent, os.W_OK))
    place = data_dir if inside else parent
    for each in {place, data_dir}:
        with guarded(each):
            _sweep(each)
    with guarded(place):
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=place))
        held = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield staging
    finally:
        os.close(held)
        with guarded(place):
            shutil.rmtree(staging, ignore_errors=True)
        remove_empty(made)


def make_parents(path: Path) -> list[Path]:
    """Make the directories above `path` that are missing, and return them, outermost first.

    They are open to be passed, whatever the umask: somebody else is to reach what will lie there. Raises `OSError`.
    """
    missing = [each for each in path.parents if not each.exists()][::-1]
    for directory in missing:
        directory.mkdir()
        directory.chmod(0o755)
    return missing


def remove_empty(directories: list[Path]) -> None:
    """Take away again what `make_parents` made, where nothing lies in it."""
    for directory in reversed(directories):
        with contextlib.suppress(OSError):
            directory.rmdir()


def _sweep(directory: Path) -> None:
    """Remove what a restore that was killed, or lost power, has left in `directory`: keys. Nobody holds its lock."""
    leftover: list[Path] = []
    with contextlib.suppress(OSError):  # its owner may not come there
        leftover = list(directory.glob(f"{_STAGING}*"))
    for left in leftover:
        with contextlib.suppress(OSError):  # somebody restores there just now, or it is somebody else's
            held = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                found = os.fstat(held)
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if found.st_uid == os.geteuid() and time.time() - found.st_mtime > _YOUNG:
                    shutil.rmtree(left)
            finally:
                os.close(held)


def owner_for(data_dir: Path) -> tuple[int, int]:
    """Return the numbers of the user and the group whom the data are for: root may give them away, others may not.

    Raises `OperationError` where yet others could change them.
    """
    me = os.geteuid(), os.getegid()
    if me[0] != 0:
        return me
    guard = _foreign(data_dir.parent)
    above = guard.stat() if guard else None
    if data_dir.exists():
        found = data_dir.stat()
        if above is not None and above.st_uid != found.st_uid:
            raise OperationError(f"{guard} belongs to another user than {data_dir}, who could change what is put there")
        return found.st_uid, found.st_gid
    if above is not None:
        return above.st_uid, above.st_gid
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        return me
    return entry.pw_uid, entry.pw_gid


def give(directory: Path, owner: tuple[int, int]) -> None:
    """Give all of `directory` to `owner`, and flush the names in it to the disk. Raises `OSError`."""
    # By descriptors: somebody else may be able to put a link where a directory was, and root would follow a path.
    for _, _, files, place in os.fwalk(directory, topdown=False):
        if os.geteuid() == 0:
            for name in files:
                os.chown(name, *owner, dir_fd=place, follow_symlinks=False)
            os.fchown(place, *owner)
        os.fsync(place)


def put_in_place(staging: Path, data_dir: Path, aside: str) -> Path | None:
    """Make what was staged the data directory; return where what was there is now, None where there was nothing.

    Raises `OSError`; then what was there is there again.
    """
    old = content_of(data_dir)
    if staging.parent == data_dir:
        return _exchange(staging, data_dir, aside, [path for path in old if path != staging])
    kept = data_dir.with_name(f"{data_dir.name}.{aside}") if old else None
    if kept is not None:
        data_dir.rename(kept)
    try:
        staging.rename(data_dir)  # rename(2): an empty directory is replaced in one step
    except OSError:
        if kept is not None:
            kept.rename(data_dir)
        raise
    sync_directory(data_dir.parent)
    return kept


def _exchange(staging: Path, data_dir: Path, aside: str, old: list[Path]) -> Path | None:
    """Move everything up, the store last: without it there is no cluster."""
    kept = data_dir / aside if old else None
    if kept is not None:
        kept.mkdir(mode=0o700)
        os.chown(kept, data_dir.stat().st_uid, data_dir.stat().st_gid, follow_symlinks=False)
    undo: list[Callable[[], object]] = []
    try:
        for path in sorted(old, key=lambda path: path.name != "store"):
            _move(path, (kept or data_dir) / path.name, undo)
        for path in sorted(staging.iterdir(), key=lambda path: path.name == "store"):
            _move(path, data_dir / path.name, undo)
    except OSError:
        for step in reversed(undo):
            with contextlib.suppress(OSError):
                step()
        raise
    sync_directory(data_dir)
    return kept


def _move(path: Path, to: Path, undo: list[Callable[[], object]]) -> None:
    path.rename(to)
    undo.append(lambda: to.rename(path))


@contextmanager
def guarded(directory: Path) -> Iterator[None]:
    """Be whoever could turn the way to `directory` elsewhere: the owner of the first directory on it not of root's.

    Root would follow a link that was put there meanwhile; its owner comes no further than before. Where all of the way
    is root's, and for everybody else, nothing is different. Raises `TctlError`.
    """
    foreign = _foreign(directory) if os.geteuid() == 0 else None
    if foreign is None:
        yield
        return
    with as_owner(foreign, returning=True):
        yield


def _foreign(directory: Path) -> Path | None:
    way = [*reversed(directory.absolute().parents), directory.absolute()]
    return next((each for each in way if each.exists() and each.stat().st_uid != 0), None)


class Outside:
    """Files outside the data directory: put where there is none, and taken away again where the rest fails."""

    def __init__(self) -> None:
        self._made: list[Path] = []
        self._directories: list[Path] = []
        self._moved: list[tuple[Path, Path]] = []

    def put(self, path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> bool:
        """Put a file where there is none; tell whether what is there now is `data`. Raises `OperationError`."""
        with guarded(path.parent):
            return self._put(path, data, mode, owner)

    def _put(self, path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> bool:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return _is(path, data)
        except FileNotFoundError:
            self._directories += make_parents(path)
            return self._put(path, data, mode, owner)
        except OSError as err:
            raise _cannot(path, err) from None
        self._made.append(path)
        try:
            with os.fdopen(fd, "wb") as file:
                if owner is not None and os.geteuid() == 0:
                    os.fchown(fd, *owner)
                os.fchmod(fd, mode)
                file.write(data)
                file.flush()
                os.fsync(fd)
            sync_directory(path.parent)
        except OSError as err:
            raise _cannot(path, err) from None
        return True

    def move(self, path: Path, aside: Path) -> None:
        """Move a file away, to make room. Raises `OperationError`."""
        try:
            path.rename(aside)
        except OSError as err:
            raise _cannot(aside, err) from None
        self._moved.append((path, aside))

    def undo(self) -> None:
        """Take away what was put, and put back what was moved."""
        for path in self._made:
            path.unlink(missing_ok=True)
        remove_empty(self._directories)
        for path, aside in self._moved:
            aside.rename(path)


def _is(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _cannot(path: Path, err: OSError) -> OperationError:
    hint = "; run this as root" if err.errno in {errno.EACCES, errno.EPERM} else ""
    return OperationError(f"cannot write {path}: {err.strerror or err}{hint}; nothing was changed")
