"""`controller backup`: everything that a controller needs to go on elsewhere, in one file that a passphrase opens."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from controller.audit import AuditError, AuditLog
from controller.authority.master_key import KeyPlace, encode_master_key, find_master_key, key_from_credential, missing
from controller.cluster import utc_now
from controller.config import ControllerConfig
from controller.operations.error import OperationError
from controller.operations.placing import guarded
from controller.operations.sealing import opened, sealed
from controller.operations.snapshot import Part, named_files, open_plain, own_certificate, recordings, still
from controller.policy.backup import (
    CONFIG,
    EXTENDED_MAX,
    HEADING_MAX,
    MANIFEST,
    MASTER_KEY,
    BackupFormatError,
    KeptFile,
    Manifest,
    check_member,
)
from controller.role import raise_file_limit
from controller.store.durable import locked, replace_file, sync_directory
from controller.tctl.host import as_owner
from controller.tctl.output import opened_output
from protocol import events
from protocol.events import Json
from protocol.instants import format_instant, parse_instant
from protocol.secret import Secret
from protocol.version import __version__

LAST = "last-backup.json"
_BLOCK = 256 * 1024
# What a backup's archive is made of. Links and devices are let through to be named in the refusal.
_LONG = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE}
_PLAIN = frozenset(tarfile.SUPPORTED_TYPES) - _LONG
_EXTENDED = frozenset({tarfile.XHDTYPE})


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be backed up.

    Attributes:
        config: the settings, and `text` what stands in the file `path`.
        actor: who asks for it.
    """

    config: ControllerConfig
    text: str
    path: Path
    actor: str


@dataclass(frozen=True, slots=True)
class Made:
    """What was made: bytes of the file, how many files are in it, and when they were as they are in it.

    Attributes:
        remarks: what somebody should know, a sentence each.
    """

    size: int
    files: int
    made: datetime
    remarks: tuple[str, ...] = ()


def back_up(
    source: Source,
    output: Path,
    passphrase: Secret[str],
    *,
    with_recordings: bool,
    force: bool,
    advance: Callable[[int, int], object],
) -> Made:
    """Write the backup; the file takes its name when it is whole, and the audit log knows of it then.

    Args:
        source: what.
        output: the file, made 0600.
        passphrase: opens it.
        with_recordings: whether the recordings are to be in it.
        force: whether `output` may take the place of another file.
        advance: is told how many bytes are done, of how many.

    Raises:
        OperationError, TctlError, AuthorityError, OSError: it could not be made; there is no new file.
    """
    data_dir = source.config.data_dir
    if not (data_dir / "store" / "cluster.json").exists():
        raise OperationError(f"there is no cluster in {data_dir}: there is nothing to back up")
    raise_file_limit()
    outside = _outside(source.config)
    with ExitStack() as held, opened_output(output, force=force) as file:
        with as_owner(data_dir, returning=True):
            manifest, parts = _gather(source, outside, held, with_recordings=with_recordings)
            with sealed(file, passphrase) as stream:
                count = _write(stream, parts, manifest.made, lambda done: advance(done, manifest.size))
        size = file.tell()
    remarks = list(_flush(output))
    with as_owner(data_dir, returning=True):
        remarks += _note(source, manifest, output)
    return Made(size, count, manifest.made, tuple(remarks))


@dataclass(frozen=True, slots=True)
class _Outside:
    """What root alone may be able to read: the key and where it is from, and the files that the configuration names."""

    key: Secret[bytes]
    key_from: str
    named: list[tuple[KeptFile, Part]]


def _outside(config: ControllerConfig) -> _Outside:
    place = KeyPlace.of(config.master_key_file, os.environ)
    handed = key_from_credential(place)
    if handed is not None:
        return _Outside(handed, "credential", named_files(config))
    with guarded(place.file.parent):  # whose owner may read no credential of this process, blank as it is
        key = find_master_key(KeyPlace(place.file))
    if key is None:
        raise missing(place, config.data_dir)
    return _Outside(key, "file", named_files(config))


def _gather(
    source: Source, outside: _Outside, held: ExitStack, *, with_recordings: bool
) -> tuple[Manifest, list[Part]]:
    """Return what the backup says of itself, and all that is in it. What is opened is closed with `held`."""
    config = source.config
    made, parts = utc_now(), still(config, held)
    parts += own_certificate(config.data_dir)
    parts += recordings(config.data_dir) if with_recordings else []
    manifest = Manifest(
        cluster=config.cluster_name,
        made=made,
        version=__version__,
        data_dir=str(config.data_dir.absolute()),
        key_from=outside.key_from,
        recordings=with_recordings,
        size=sum(part.size for part in parts),
        files=tuple(kept for kept, _ in outside.named),
    )
    heading = [
        Part.of(MANIFEST, manifest.encode()),
        Part.of(CONFIG, source.text.encode()),
        Part.of(MASTER_KEY, encode_master_key(outside.key)),
        *(part for _, part in outside.named),
    ]
    return manifest, [*heading, *parts]


def _write(stream: IO[bytes], parts: Iterable[Part], made: datetime, advance: Callable[[int], object]) -> int:
    done = count = 0
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for part in parts:
            entry = tarfile.TarInfo(part.name)
            entry.size, entry.mode, entry.mtime = part.size, part.mode, int(made.timestamp())
            try:
                content = part.file or _reopened(part)
            except FileNotFoundError:
                if not part.name.startswith("recordings/"):
                    raise
                continue  # its time is over: it has just been removed
            with content:
                tar.addfile(entry, content)  # what is large is told of in one step: a day's log, one recording
            done, count = done + part.size, count + 1
            advance(done)
    return count


def _reopened(part: Part) -> IO[bytes]:
    assert part.path is not None  # noqa: S101 - it says so to the reader: what is not open has a path
    return open_plain(part.path)


def verify(file: Path, passphrase: Secret[str], advance: Callable[[int, int], object]) -> tuple[Manifest, int]:
    """Read all of a backup, and return what it says of itself and how many files are in it.

    Raises `BackupFormatError` where it is not whole, and `OSError`.
    """
    done = count = 0
    with file.open("rb") as raw, opened(raw, passphrase) as stream:
        manifest = None
        for entry, content in members(stream):
            count += 1
            data = b""
            while block := content.read(_BLOCK):
                data = data + block if manifest is None and len(data) < HEADING_MAX else b""
                done += len(block)
                if manifest is not None:
                    advance(done, manifest.size)
            if manifest is None:
                manifest = first_of(entry, data)
    if manifest is None:
        raise BackupFormatError("there is nothing in it")
    return manifest, count


def first_of(entry: str, data: bytes) -> Manifest:
    """Return what a backup says of itself, which comes first in it. Raises `BackupFormatError`."""
    if entry != MANIFEST:
        raise BackupFormatError("it does not begin with what it says of itself")
    return Manifest.parse(data)


class _Member(tarfile.TarInfo):
    """A member whose headers are looked at before any of what they announce is read into memory."""

    # The hook that tarfile has for this; typeshed does not know it.
    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in _PLAIN and (self.type not in _EXTENDED or self.size > EXTENDED_MAX):
            raise BackupFormatError("it holds what belongs in no backup, or tells too much of it")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]  # see above

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise BackupFormatError("it holds a file with holes, which belongs in no backup")


def members(stream: IO[bytes]) -> Iterable[tuple[str, IO[bytes]]]:
    """Yield name and content of each file in a backup, in their order. At the end it is proven that this was all.

    Raises `BackupFormatError`, and `OSError` where the backup cannot be read.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|", errorlevel=2, tarinfo=_Member) as tar:
            while (entry := tar.next()) is not None:
                # Else it would keep each, and nobody knows how many follow.
                tar.members.clear()  # type: ignore[attr-defined]  # typeshed does not know it
                name = check_member(
                    entry.name, is_file=entry.isreg() and not entry.issparse(), is_directory=entry.isdir()
                )
                content = tar.extractfile(entry) if entry.isreg() else None
                if content is not None:
                    yield name, content
        while stream.read(_BLOCK):
            pass  # what fills up the archive's last block
    except (tarfile.TarError, ValueError, RecursionError) as err:
        if isinstance(err, BackupFormatError):
            raise
        raise BackupFormatError("what is in it is no archive that a backup holds") from None


def _flush(output: Path) -> Iterator[str]:
    try:
        sync_directory(output.absolute().parent)
    except OSError as err:
        yield f"{output} may not survive a power cut: {err.strerror or err}"


def _note(source: Source, manifest: Manifest, output: Path) -> Iterator[str]:
    """Tell the audit log and, for `controller doctor`, the data directory; yield what could not be told.

    The backup is made by then: that the disk is full is a reason to have it, and none to call it a failure.
    """
    data_dir = source.config.data_dir
    fields: dict[str, Json] = {"user": source.actor, "path": str(output), "recordings": manifest.recordings}
    try:
        AuditLog(data_dir / "log", source.config.cluster_name, utc_now).write(events.CONTROLLER_BACKUP, fields)
    except (AuditError, OSError) as err:
        yield f"the audit log was not told of it: {err}"
    note = {"made": format_instant(manifest.made), "file": str(output.absolute())}
    try:
        with locked(data_dir / f"{LAST}.lock"):
            os.close(replace_file(data_dir / LAST, json.dumps(note).encode()))
    except OSError as err:
        yield f"`controller doctor` will not know of it: {data_dir / LAST}: {err.strerror or err}"


def last_backup(data_dir: Path) -> datetime | None:
    """Return when the last backup was made; None where none is known of."""
    try:
        return parse_instant(json.loads((data_dir / LAST).read_text(encoding="ascii"))["made"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
