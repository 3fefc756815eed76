"""Putting things on the disk so that a cut leaves the old or the new, and so that all can be taken back."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from edge_agent.directory import sync_directory


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put `data` in a file: to a temporary name, synced, renamed. Raises `OSError`."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        with open(temporary, "xb", opener=_private) as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def make_link(path: Path, target: str) -> None:
    """Have `path` be a link to `target`, in one step also where it is one to elsewhere. Raises `OSError`."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    try:
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree, with its links, as root's. Byte code stays behind. Raises `OSError`."""
    try:
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    except shutil.Error as err:  # a list of what went wrong, as texts: the first speaks for all
        raise OSError(0, re.sub(r"^\[Errno \d+\] (.*?): '.*$", r"\1", str(err.args[0][0][2]))) from None


def sync_disks() -> None:
    """Have the disks hold all that was written."""
    os.sync()


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it, where it is there. Raises `OSError`."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def find_left(trees: Path) -> list[Path]:
    """Return what installations that were cut off have left where the versions lie: copies that are not whole."""
    return [path for path in sorted(trees.glob(".*.new")) if path.is_dir() and not path.is_symlink()]


def remove_empty(path: Path) -> None:
    """Remove a directory, where it is there and nothing is in it."""
    with suppress(OSError):
        path.rmdir()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


class Placing:
    """Places things, and knows how to take them all back."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def then(self, undo: Callable[[], object]) -> None:
        """Take note of how to undo what was done."""
        self._undo.append(undo)

    def directory(self, path: Path, mode: int = 0o755) -> None:
        """Make a directory and those above it, where they are missing. Raises `OSError`."""
        missing = [parent for parent in (path, *path.parents) if not parent.exists()]
        for each in reversed(missing):
            each.mkdir()
            each.chmod(mode if each == path else 0o755)
            self.then(partial(remove_empty, each))

    def file(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        """Write a file. Raises `OSError`."""
        before = path.read_bytes() if path.exists() else None
        if before == data:
            return
        self.then(lambda: path.unlink(missing_ok=True) if before is None else write_file(path, before, mode))
        write_file(path, data, mode)

    def link(self, path: Path, target: str) -> None:
        """Make a link. Raises `OSError`."""
        before = os.readlink(path) if path.is_symlink() else None  # noqa: PTH115 - the text itself is kept
        if before == target:
            return
        self.then(lambda: path.unlink(missing_ok=True) if before is None else make_link(path, before))
        make_link(path, target)

    def tree(self, path: Path) -> None:
        """Take note of a tree that is about to be made at `path`."""
        self.then(lambda: remove_tree(path))

    def undo(self) -> None:
        """Take everything back, the last first. What cannot be taken back stays."""
        while self._undo:
            with suppress(OSError):
                self._undo.pop()()

    def keep(self) -> None:
        """Let everything stay."""
        self._undo.clear()
