"""The agent's archives, as they lie in a directory of the admin's: found, weighed, and their hashes kept."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from controller.agent_archives import archive_names
from controller.policy.archives import ArchiveName, newest
from controller.web.downloads import Downloads


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive.

    Attributes:
        size: in bytes.
        sha256: of all of it, in hexadecimal.
    """

    name: ArchiveName
    path: Path
    size: int
    sha256: str


class Depot:
    """The archives of one directory. It is looked at anew each time; a file is read whole when it has changed.

    Attributes:
        downloads: who fetches one just now.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.downloads = Downloads()
        self._weighed: dict[str, tuple[tuple[int, int, int], Archive]] = {}
        self._weighing = threading.Lock()

    def newest(self) -> dict[str, Archive]:
        """Return the newest archive of each architecture; none where there is no directory, or nothing in it."""
        return {architecture: self._weigh(name) for architecture, name in newest(self._names()).items()}

    def version(self) -> str:
        """Return the version of the newest archives; empty where there are none."""
        return next((name.version for _, name in sorted(newest(self._names()).items())), "")

    def find(self, file: str) -> Archive | None:
        """Return the archive of that file name; None where there is none."""
        wanted = next((name for name in self._names() if name.file == file), None)
        return self._weigh(wanted) if wanted else None

    def _names(self) -> list[ArchiveName]:
        return archive_names(self.directory)

    def _weigh(self, name: ArchiveName) -> Archive:
        """Return an archive with its size and hash. Raises `OSError`."""
        with self._weighing, (self.directory / name.file).open("rb") as file:
            stat = os.fstat(file.fileno())
            mark = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            known = self._weighed.get(name.file)
            if known is None or known[0] != mark:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                known = mark, Archive(name, self.directory / name.file, stat.st_size, digest)
                self._weighed[name.file] = known
            return known[1]
