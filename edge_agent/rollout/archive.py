"""Unpacking an archive of the agent: nothing of it lands outside, and nothing but files, directories and links does.

This judges every entry itself. `tarfile`'s own filters are not there in Debian 12's Python 3.11.2, and would refuse the
one link that a tree has to elsewhere, to the device's Python.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edge_agent.rollout.fault import RolloutError, reason

_ENTRIES_MAX = 50_000
_SIZE_MAX = 1024 * 2**20
_PACKED_MAX = 512 * 2**20
_PIECE = 2**20
# What stands before an entry: its long name, and what else pax(1) says of it; how many, and how long.
_MORE = {
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
}
_MORE_MAX, _MORE_SIZE_MAX = 4, 64 * 2**10
_KINDS = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE}
# By these an entry has another length than its header has.
_MISLEADING = re.compile(rb" size=|GNU\.sparse")
# Where alone a link may lead out of the tree.
_PYTHON_LINK = "bin/python3"


def take(source: Path, target: Path, sha256: str) -> None:
    """Copy a file to `target`, where nobody else can change it, and see whether the copy is what was announced.

    Args:
        source: an archive or a package. Whoever owns it may put another in its place at any time.
        target: the copy, which is to be used from here on.
        sha256: what its SHA-256 is to be; empty for anything.

    Raises:
        OSError: there is no room for it.
        RolloutError: it cannot be read, or is another.
    """
    try:
        held = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise RolloutError(f"{source} cannot be read: {reason(err)}") from None
    if not stat.S_ISREG(os.fstat(held).st_mode):
        os.close(held)
        raise RolloutError(f"{source} cannot be read: it is no file")
    digest = hashlib.sha256()
    with os.fdopen(held, "rb") as file, open(target, "xb", opener=_private) as copy:
        while piece := file.read(_PIECE):
            digest.update(piece)
            copy.write(piece)
            if copy.tell() > _PACKED_MAX:
                raise RolloutError(f"{source} is no version of the agent: it is too large")
    if sha256 and digest.hexdigest() != sha256.lower().removeprefix("sha256:"):
        raise RolloutError(
            f"{source} is not what was announced: its SHA-256 is {digest.hexdigest()}, and not {sha256[:80]}"
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def measure(archive: Path, name: Path) -> int:
    """Return how many bytes an archive's files take when they are unpacked.

    Entry by entry, and in little memory: `tarfile` reads whole what stands before an entry, such as a long name,
    however long that is. What is measured here is safe to be given to it.

    Args:
        archive: what nobody else can change.
        name: what the person calls it.

    Raises:
        RolloutError: it is damaged, or holds what an archive of the agent does not.
    """
    try:
        with gzip.open(archive, "rb") as stream:
            total = sum(member.size for member in _headers(stream, name) if member.isreg())
            while stream.read(_PIECE):  # to its check sum
                _bound(stream.tell(), name)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as err:
        raise RolloutError(f"{name} is damaged, or no archive of the agent: {reason(err)}") from None
    return total


def _headers(stream: gzip.GzipFile, name: Path) -> Iterator[tarfile.TarInfo]:
    """Walk over the entries of an archive as pax(1) has them, up to the empty one at its end."""
    before = 0
    for _ in range(_ENTRIES_MAX):
        block = stream.read(tarfile.BLOCKSIZE)
        if block == bytes(tarfile.BLOCKSIZE):
            return
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        is_more = member.type in _MORE
        before = before + 1 if is_more else 0
        if before > _MORE_MAX or (is_more and member.size > _MORE_SIZE_MAX) or member.size < 0:
            raise RolloutError(f"{name} is not to be trusted: what stands before an entry is too much")
        if not (is_more or member.type in _KINDS):
            raise RolloutError(
                f"{name} is not to be trusted: {member.name[:200]!r}: it is neither file, directory nor link"
            )
        length = member.size if is_more or member.isreg() else 0
        padded = -(-length // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        _bound(stream.tell() + padded, name)
        if is_more and _MISLEADING.search(stream.read(padded)):
            raise RolloutError(f"{name} is not to be trusted: an entry is longer or shorter than it says")
        if not is_more:
            stream.seek(padded, io.SEEK_CUR)
        yield member
    _bound(_SIZE_MAX + 1, name)


def _bound(size: int, name: Path) -> None:
    if size > _SIZE_MAX:
        raise RolloutError(f"{name} is no archive of the agent: it holds too much")


def unpack(archive: Path, into: Path, name: Path) -> Path:
    """Unpack an archive that was measured into the directory `into`, and return the one directory that it holds.

    Args:
        archive: what nobody else can change.
        into: where.
        name: what the person calls it.

    Raises:
        RolloutError: it is damaged, or holds what an archive of the agent does not.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tops = {_unpack_member(tar, member, into, name) for member in tar}
    except (tarfile.TarError, OSError, EOFError, zlib.error) as err:
        raise RolloutError(f"{name} cannot be unpacked: {reason(err)}") from None
    if len(tops) != 1:
        raise RolloutError(f"{name} is no archive of the agent: it holds {len(tops)} directories instead of one")
    return into / tops.pop()


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path, archive: Path) -> str:
    name = PurePosixPath(member.name)
    problem = _judge(member, name)
    target = into.joinpath(*name.parts)
    # A link that was unpacked before must not lead further, nor be taken for what this entry is.
    depths = range(1, len(name.parts) + 1)
    if not problem and any((into.joinpath(*name.parts[:depth])).is_symlink() for depth in depths):
        problem = "it lies behind a link"
    if problem:
        raise RolloutError(f"{archive} is not to be trusted: {member.name[:200]!r}: {problem}")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        target.chmod(0o755)
        return name.parts[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        target.symlink_to(member.linkname)
        return name.parts[0]
    content = tar.extractfile(member)
    if content is not None:
        with content, target.open("xb") as file:
            shutil.copyfileobj(content, file)
        target.chmod(0o755 if member.mode & 0o100 else 0o644)
    return name.parts[0]


def _judge(member: tarfile.TarInfo, name: PurePosixPath) -> str:
    """Return what is wrong with an entry; nothing where it may be unpacked."""
    if name.is_absolute() or ".." in name.parts or not name.parts:
        return "it would land outside"
    if member.issym():
        inner = PurePosixPath(*name.parts[1:])
        is_within = not member.linkname.startswith("/") and ".." not in PurePosixPath(member.linkname).parts
        return "" if is_within or str(inner) == _PYTHON_LINK else "it is a link that leads elsewhere"
    return "" if member.isfile() or member.isdir() else "it is neither file, directory nor link"
