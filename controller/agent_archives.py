"""The agent's archives, as they lie in a directory of the admin's: which there are by their names."""

from __future__ import annotations

import os
from pathlib import Path

from controller.policy.archives import ArchiveName, in_order, parse_archive_name

_FILES_MAX = 1000


def archive_names(directory: Path) -> list[ArchiveName]:
    """Return what `directory` has, the newest first; nothing where it is not there, or nobody may look."""
    try:
        files = os.listdir(directory)  # noqa: PTH208 - names alone are wanted
    except OSError:
        return []
    found = []
    for file in files:
        try:
            found.append(parse_archive_name(file))
        except ValueError:
            continue  # checksums and whatever else lies there
    return in_order(found)[:_FILES_MAX]
