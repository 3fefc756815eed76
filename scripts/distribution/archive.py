"""Archives: the same bytes for the same tree."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path


def pack(tree: Path, archive: Path, top: str) -> None:
    """Write `tree` to `archive` (tar, gzip) as one folder `top`: sorted, root's, without times."""
    part = archive.with_name(f"{archive.name}.part")
    with (
        part.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in (tree, *sorted(tree.rglob("*"))):
            name = f"{top}/{path.relative_to(tree)}" if path != tree else top
            tar.add(path, name, recursive=False, filter=_plain)
    part.rename(archive)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    return entry
