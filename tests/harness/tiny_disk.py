"""A file system that is soon full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def tiny_disk(place: Path, size: int) -> Iterator[Path]:
    """Mount one of `size` bytes at `place`."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "skerry-test", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    """Leave no byte free."""
    with (place / "ballast").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def empty(place: Path) -> None:
    """Undo `fill`."""
    (place / "ballast").unlink(missing_ok=True)


def remount(place: Path, how: str) -> None:
    """Make it read-only (``ro``) or writable again (``rw``)."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)
