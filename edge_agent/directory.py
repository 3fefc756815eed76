"""Files in directories: made where nobody has laid a link, and kept by the disk."""

from __future__ import annotations

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Have the disk keep the names in the directory `path`, as fsync(2) of a file alone does not. Raises `OSError`."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def open_anew(path: Path) -> int:
    """Open a file to be written, its owner's alone, in place of what is there: a link is not followed.

    Returns its descriptor. Raises `OSError`, also where somebody else puts something there meanwhile.
    """
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
