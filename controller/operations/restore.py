"""`controller restore`: a backup becomes a controller again, here or on another host."""

from __future__ import annotations

import contextlib
import grp
import io
import os
import pwd
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from controller.audit import AuditLog
from controller.authority import Authority, Vault
from controller.authority.master_key import KeyPlace, find_master_key
from controller.cluster import utc_now
from controller.config import MASTER_KEY, ControllerConfig, load_config, parse_config
from controller.control import COLLECTION as CONTROL
from controller.control import POLICY
from controller.enrolment.nodes import renew_label_versions
from controller.operations.backup import first_of, members
from controller.operations.error import OperationError
from controller.operations.placing import (
    Outside,
    content_of,
    give,
    guarded,
    nobody_runs,
    owner_for,
    put_in_place,
    staging_for,
)
from controller.operations.sealing import opened
from controller.operations.snapshot import named_by
from controller.policy import backup as form
from controller.policy.backup import CONFIG, HEADING_MAX, BackupFormatError, KeptFile, Manifest, with_data_dir
from controller.store.durable import open_private, write_all
from controller.store.tiny import TinyStore
from protocol import events
from protocol.instants import format_instant
from protocol.secret import Secret
from protocol.version import __version__
from protocol.versions import is_older

_BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted.

    Attributes:
        data_dir: where the data are to be; None for where the configuration says.
        config: the configuration of this host; taken from the backup where there is none.
        force: whether what is in the data directory may be moved aside.
        actor: who wants it.
        takes_config: whether the backup's configuration takes the place of this host's, which is moved aside.
        puts_files: whether files may be put wherever the backup's configuration says; else beside it alone.
    """

    data_dir: Path | None
    config: Path
    force: bool
    actor: str
    takes_config: bool = False
    puts_files: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done.

    Attributes:
        aside: where the former content of the data directory is; None where it was empty.
        key: where the master key is.
        remarks: what somebody should look at, a sentence each.
    """

    manifest: Manifest
    data_dir: Path
    key: Path
    aside: Path | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Heading:
    """What comes before the data, and the settings that will hold; `text` is None where this host has its own."""

    manifest: Manifest
    small: dict[str, bytes]
    config: ControllerConfig
    text: str | None

    @property
    def place(self) -> Path:
        """The data directory itself, where the settings name a link that leads to it."""
        return self.config.data_dir.resolve()

    @property
    def named_files(self) -> list[KeptFile]:
        """The files that the settings name, too. What the backup alone would have put somewhere is not among them."""
        named = {(key, str(path.absolute())) for key, path in named_by(self.config)}
        return [file for file in self.manifest.files if (file.key, file.path) in named]

    @property
    def key_in_data(self) -> bool:
        """Whether the master key lies in the data directory."""
        return self.config.master_key_file.is_relative_to(self.config.data_dir)


def restore(file: Path, passphrase: Secret[str], order: Order, advance: Callable[[int, int], object]) -> Restored:
    """Make a backup a controller's data again. Everything is read and proven before anything takes its place.

    Args:
        file: the backup.
        passphrase: that it was made with.
        order: what is wanted.
        advance: is told how many bytes are done, of how many.

    Raises:
        BackupFormatError, OperationError, ConfigError, StoreError, AuthorityError, AuditError, OSError: it could not
            be done; nothing is there that was not before.
    """
    with file.open("rb") as raw, opened(raw, passphrase) as stream:
        parts = iter(members(stream))
        heading, first = _read_heading(parts, order)
        _require_expected(heading, order)
        data_dir = heading.place
        with nobody_runs(data_dir):
            _require_empty(data_dir, force=order.force)
            owner = owner_for(data_dir)
            with staging_for(data_dir) as staging:
                with guarded(staging.parent):
                    _unpack(first, parts, staging, lambda done: advance(done, heading.manifest.size))
                    _prove(heading, staging, order)
                    _stage_files(heading, staging)
                    give(staging, owner)
                return _place(heading, staging, order, owner)


def _read_heading(
    parts: Iterator[tuple[str, IO[bytes]]], order: Order
) -> tuple[_Heading, tuple[str, IO[bytes]] | None]:
    """Return what comes first, and the first part after it."""
    small: dict[str, bytes] = {}
    for name, content in parts:
        if name not in {form.MANIFEST, CONFIG, form.MASTER_KEY} and not name.startswith("files/"):
            return _heading(small, order), (name, content)
        small[name] = content.read(HEADING_MAX)
        if content.read(1) or sum(map(len, small.values())) > HEADING_MAX:
            raise BackupFormatError("what comes first in it is larger than it can be")
    return _heading(small, order), None


def _heading(small: dict[str, bytes], order: Order) -> _Heading:
    if not {form.MANIFEST, CONFIG, form.MASTER_KEY} <= small.keys():
        raise BackupFormatError("it lacks the configuration or the master key")
    manifest = first_of(next(iter(small)), small[form.MANIFEST])
    if not {file.member for file in manifest.files} <= small.keys():
        raise BackupFormatError("it lacks a file that the configuration names")
    if is_older(__version__, manifest.version):
        raise OperationError(
            f"the backup is of version {manifest.version}, and this is {__version__}, which may not be able to read "
            "what that wrote: install that version first, or a later one"
        )
    if order.config.exists() and not order.takes_config:
        config = load_config(order.config)
        if config.cluster_name != manifest.cluster:
            raise OperationError(
                f"{order.config} is for the cluster {config.cluster_name}, and the backup is of {manifest.cluster}: "
                "--take-config has the backup's take its place"
            )
        return _Heading(manifest, small, _moved(config, order.data_dir), None)
    text = small[CONFIG].decode()
    config = parse_config(text, f"{order.config}, as it is in the backup")
    wanted = _moved(config, order.data_dir)
    if wanted.data_dir != config.data_dir:
        text = with_data_dir(text, str(wanted.data_dir))
        if parse_config(text, str(order.config)).data_dir != wanted.data_dir:
            raise OperationError(
                f"the backup's configuration does not name teleport.data_dir: write {order.config} with it first, "
                "and restore then"
            )
    return _Heading(manifest, small, wanted, text)


def _require_expected(heading: _Heading, order: Order) -> None:
    """Refuse files anywhere on this host that the backup alone asks for: whoever made it may not be its root."""
    if heading.text is None or order.puts_files:
        return
    config = heading.config
    wanted = [(file.key, Path(file.path)) for file in heading.named_files]
    wanted += [] if heading.key_in_data else [("auth_service.master_key_file", config.master_key_file.absolute())]
    known = (order.config.absolute().parent, config.data_dir.absolute())
    strange = [(key, path) for key, path in wanted if not any(map(path.is_relative_to, known)) and not path.exists()]
    if strange:
        listed = ", ".join(f"{str(path)!r} ({key})" for key, path in strange)
        raise OperationError(
            f"the configuration in the backup asks for files outside of {known[0]}: {listed}; if that is as it should "
            "be, --put-files puts them there"
        )


def _moved(config: ControllerConfig, data_dir: Path | None) -> ControllerConfig:
    """Return the settings with another data directory, and the master key in it if it was."""
    if data_dir is None:
        return config
    there = data_dir.absolute()
    is_default = config.master_key_file == config.data_dir / MASTER_KEY
    return replace(config, data_dir=there, master_key_file=there / MASTER_KEY if is_default else config.master_key_file)


def _require_empty(data_dir: Path, *, force: bool) -> None:
    if content_of(data_dir) and not force:
        raise OperationError(
            f"{data_dir} is not empty: name another directory with --data-dir, or move what is there aside with --force"
        )


def _unpack(
    first: tuple[str, IO[bytes]] | None,
    parts: Iterator[tuple[str, IO[bytes]]],
    staging: Path,
    advance: Callable[[int], object],
) -> None:
    done = 0
    for name, content in [first] if first else []:
        done = _write(staging / name, content, done, advance)
    for name, content in parts:
        if "/" not in name:
            raise BackupFormatError(f"it holds {name} among the data")
        done = _write(staging / name, content, done, advance)


def _write(path: Path, content: IO[bytes], done: int, advance: Callable[[int], object]) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        while block := content.read(_BLOCK):
            write_all(fd, block)
            done += len(block)
            advance(done)
        os.fsync(fd)
    finally:
        os.close(fd)
    return done


def _prove(heading: _Heading, staging: Path, order: Order) -> None:
    """See that the master key opens what is in the store; write it where it lies, and tell the audit log."""
    manifest = heading.manifest
    if not (staging / "store" / "cluster.json").exists():
        raise BackupFormatError("there is no cluster in it")
    key = staging / MASTER_KEY
    fd = open_private(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_all(fd, heading.small[form.MASTER_KEY])
        os.fsync(fd)
    finally:
        os.close(fd)
    found = find_master_key(KeyPlace(key))
    assert found is not None  # noqa: S101 - it was just written
    store = TinyStore(staging / "store")
    Authority(store, Vault(found), heading.config.cluster_name).require_openable()
    # Devices take no document for newer than one that was given out since the backup: the next is made anew, and its
    # version is the time. Those that know other authorities by now would hear of nothing else.
    store.collection(CONTROL).delete(POLICY, now=utc_now())
    renew_label_versions(store, utc_now())
    log = AuditLog(staging / "log", heading.config.cluster_name, utc_now)
    log.write(events.CONTROLLER_RESTORE, {"user": order.actor, "made": format_instant(manifest.made)})
    if not heading.key_in_data:
        key.unlink()
    elif heading.config.master_key_file != heading.config.data_dir / MASTER_KEY:
        to = staging / heading.config.master_key_file.relative_to(heading.config.data_dir)
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key.rename(to)


def _stage_files(heading: _Heading, staging: Path) -> None:
    """Put the files that the settings name in the data directory beside what will lie there with them."""
    for file in heading.named_files:
        if Path(file.path).is_relative_to(heading.config.data_dir):
            to = staging / Path(file.path).relative_to(heading.config.data_dir)
            if not to.exists():
                _write(to, io.BytesIO(heading.small[file.member]), 0, lambda _: None)


def _place(heading: _Heading, staging: Path, order: Order, owner: tuple[int, int]) -> Restored:
    outside, remarks = Outside(), []
    config = heading.config
    aside_name = f"before-restore-{utc_now():%Y%m%dT%H%M%SZ}"
    try:
        if not heading.key_in_data:
            _put_key(config.master_key_file, heading.small[form.MASTER_KEY], outside)
        for file in heading.named_files:
            path = Path(file.path)
            if path.is_relative_to(config.data_dir):
                continue  # it was staged
            if not outside.put(path, heading.small[file.member], file.mode, _owner(file.owner, file.group)):
                remarks.append(f"{path} ({file.key}) was there and was left: it is not what the backup has")
        if heading.text is not None:
            if order.config.exists():
                outside.move(order.config, order.config.with_name(f"{order.config.name}.{aside_name}"))
            outside.put(order.config, heading.text.encode(), 0o640 if os.geteuid() == 0 else 0o600, (0, owner[1]))
        with guarded(staging.parent):
            aside = put_in_place(staging, heading.place, aside_name)
    except BaseException:
        outside.undo()
        raise
    remarks += _remarks(heading, order)
    return Restored(heading.manifest, config.data_dir, config.master_key_file, aside, tuple(remarks))


def _put_key(path: Path, data: bytes, outside: Outside) -> None:
    if not outside.put(path, data, 0o600, None):
        raise OperationError(f"{path} is there and holds another key than the backup: move it away first")


def _remarks(heading: _Heading, order: Order) -> Iterator[str]:
    if heading.text is None and load_config(order.config).data_dir != heading.config.data_dir:
        yield f"{order.config} names another data directory: set teleport.data_dir to {heading.config.data_dir}"
    if heading.text is None and _differ(heading):
        yield (
            f"{order.config} is as it was, and does not say all that the backup's does (public addresses, say, or TLS "
            "files): --take-config would have taken that"
        )
    for file in heading.manifest.files:
        if file not in heading.named_files:
            yield f"{file.path!r} ({file.key}) was not put there: the settings that hold do not name it"
    if heading.manifest.key_from == "credential" and heading.key_in_data:
        yield (
            "the key was handed to the controller by systemd before; here it lies in the data directory: "
            "docs/controller-service.md says how to keep it apart"
        )


def _differ(heading: _Heading) -> bool:
    """Tell whether this host's settings are others than the backup's, but for where the data lie."""
    was = parse_config(heading.small[CONFIG].decode(), "controller.yaml in the backup")
    now = heading.config
    return replace(was, data_dir=now.data_dir, master_key_file=now.master_key_file) != now


def _owner(user: str, group: str) -> tuple[int, int] | None:
    """Return the numbers that a user and a group of those names have here; None where there is one of them missing."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    return None
