"""A device's disk: an image, and what the device has changed of it, which lies in memory."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tests.harness.device_bed.apart import PLACE, Apart

_LAYERS = """
mount -t tmpfs -o "size=$2,mode=755" "$3" /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" "$3" /mnt/root
"""


class Disk:
    """An overlay on `image` that takes up to `size` (as in mount(8): ``2g``); its mounts are called `name`."""

    def __init__(self, image: Path, size: str, name: str) -> None:
        self._image = image
        self._apart = Apart(_LAYERS, str(image), size, name)
        self.root = PLACE / "root"

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands in front of a command that is to see it."""
        return self._apart.prefix

    @property
    def seen(self) -> Path:
        """Where its root is seen from here; for a device that is off."""
        return self._apart.seen(self.root)

    def changes(self) -> Iterator[tuple[str, str]]:
        """Yield path and kind of all that was made, changed or deleted.

        (What was only touched lies in the upper layer as well, as it is in the image.)
        """
        upper = self._apart.seen(PLACE / "upper")
        for folder, folders, files in os.walk(upper):
            for name in sorted(folders + files):
                path = Path(folder) / name
                inside, what = path.relative_to(upper), _describe(path)
                if what != _describe(self._image / inside):
                    yield f"/{inside}", what

    def close(self) -> None:
        self._apart.close()


def _describe(path: Path) -> str:
    try:
        facts = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return "none"
    owner = f"{stat.filemode(facts.st_mode)} {facts.st_uid}:{facts.st_gid}"
    if stat.S_ISLNK(facts.st_mode):
        return f"-> {path.readlink()}"
    if stat.S_ISREG(facts.st_mode):
        return f"{owner} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    if stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0:
        return "deleted"
    return owner
