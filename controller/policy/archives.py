"""The agent's archives that the controller hands out: which file is which, and which of them a device is given."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from protocol.versions import is_older, weigh

# What a machine calls itself (uname -m), by the architecture that an archive is for.
MACHINES = {"amd64": ("x86_64", "amd64"), "arm64": ("aarch64", "arm64")}
_NAME = re.compile(r"skerry-agent-([0-9][0-9A-Za-z.+~-]{0,63})-linux-(amd64|arm64)\.tar\.gz", re.ASCII)


@dataclass(frozen=True, slots=True)
class ArchiveName:
    """What an archive's file name says: ``skerry-agent-VERSION-linux-ARCH.tar.gz``."""

    file: str
    version: str
    architecture: str


def parse_archive_name(file: str) -> ArchiveName:
    """Return what a file name says. Raises `ValueError` where it is no archive's."""
    found = _NAME.fullmatch(file)
    if found is None:
        raise ValueError("not named skerry-agent-VERSION-linux-ARCH.tar.gz")
    return ArchiveName(file, found[1], found[2])


def newest(archives: Iterable[ArchiveName]) -> dict[str, ArchiveName]:
    """Return the newest archive for each architecture."""
    found: dict[str, ArchiveName] = {}
    for archive in archives:
        other = found.get(archive.architecture)
        if other is None or is_older(other.version, archive.version):
            found[archive.architecture] = archive
    return found


def in_order(archives: Iterable[ArchiveName]) -> list[ArchiveName]:
    """Return archives with the newest first."""
    return sorted(archives, key=lambda archive: (weigh(archive.version), archive.file), reverse=True)
