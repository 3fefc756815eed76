"""The master key: where it lies, and how it is read or made.

systemd may hand it to the service as the credential ``master-key`` (systemd.exec(5), LoadCredential=): then it lies in
no directory that the service can write, and need not be the service's own. Otherwise it is a file.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from controller.authority.vault import MASTER_KEY_BYTES, VaultError
from controller.store.durable import (
    locked,
    make_private_directory,
    open_private,
    replace_file,
    sync_directory,
    write_all,
)
from protocol.secret import Secret
from protocol.service_manager import CREDENTIALS

CREDENTIAL = "master-key"
_KEY_VERSION = "skerry-master-key-v1 "
_KEY_FILE_MAX = 1024


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where the master key is looked for: the credential, where there is one; then the file.

    Attributes:
        credential: None where the service was handed none.
    """

    file: Path
    credential: Path | None = None

    @classmethod
    def of(cls, file: Path, environment: Mapping[str, str]) -> KeyPlace:
        """Return the place for a process with this environment, whose configuration names `file`."""
        directory = environment.get(CREDENTIALS, "")
        return cls(file, Path(directory) / CREDENTIAL if directory.startswith("/") else None)


def find_master_key(place: KeyPlace) -> Secret[bytes] | None:
    """Return the master key; None where it is in neither place.

    A blank credential is none: in a unit, ``SetCredential=master-key:`` with a blank stands in for a missing file.

    Raises:
        VaultError: it cannot be read, is no master key, or its file may be read by others.
    """
    handed = key_from_credential(place)
    if handed is not None:
        return handed
    data = _read(place.file, _check_private)
    return None if data is None else _parse(place.file, data)


def key_from_credential(place: KeyPlace) -> Secret[bytes] | None:
    """Return the master key that is the credential; None where there is none, or a blank. Raises `VaultError`."""
    if place.credential is None:
        return None
    # A credential's mode is systemd's business: readable for the service's user and root alone, by an ACL.
    data = _read(place.credential, _unchecked)
    return _parse(place.credential, data) if data and data.strip() else None


def make_master_key(place: KeyPlace) -> Secret[bytes]:
    """Return the master key, made with fresh random bytes, in the file, where there is none.

    Of several processes that start at once, one makes it and all get that one.

    Raises:
        VaultError: it cannot be read or made, is no master key, or its file may be read by others.
    """
    key = find_master_key(place)
    return key if key is not None else load_or_create_master_key(place.file)


def load_or_create_master_key(path: Path) -> Secret[bytes]:
    """Return the master key in the file `path`, made where there is none; as `make_master_key`. Raises `VaultError`."""
    alone = KeyPlace(path)
    key = find_master_key(alone)
    if key is not None:
        return key
    try:
        if not path.parent.is_dir():  # one that exists may be shared, such as /etc, and keeps its mode
            make_private_directory(path.parent)
        with locked(path.with_name(path.name + ".lock")):
            return find_master_key(alone) or _create(path)
    except OSError as err:
        raise VaultError(
            f"cannot read or make the master key file {path}: {err.strerror or err}; where this user may not, root "
            f"makes one (controller master-key {path}), and systemd hands it to the service "
            f"(LoadCredential={CREDENTIAL}:{path})"
        ) from err


def write_master_key(path: Path) -> None:
    """Make a master key in the file `path`, for a cluster that is to come. Raises `VaultError`, also where one is."""
    try:
        fd = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            write_all(fd, _encoded(os.urandom(MASTER_KEY_BYTES)))
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_directory(path.parent)
    except FileExistsError:
        raise VaultError(f"{path} is there: a cluster may depend on it, and it is left as it is") from None
    except OSError as err:
        raise VaultError(f"cannot make the master key file {path}: {err.strerror or err}") from err


def missing(place: KeyPlace, data_dir: Path) -> VaultError:
    """Return what to say where a cluster is there and its master key is not."""
    credential = ", nor was the credential master-key handed in" if place.credential else ""
    return VaultError(
        f"the cluster in {data_dir} has lost its master key: {place.file} is not there{credential}. Put it back from a "
        "backup; if it lies elsewhere, name that file in auth_service.master_key_file. No other key opens what this "
        "cluster has sealed"
    )


def _create(path: Path) -> Secret[bytes]:
    key = os.urandom(MASTER_KEY_BYTES)
    os.close(replace_file(path, _encoded(key)))
    return Secret(key)


def encode_master_key(key: Secret[bytes]) -> bytes:
    """Return what stands in the file of a master key."""
    return _encoded(key.reveal())


def _encoded(key: bytes) -> bytes:
    return f"{_KEY_VERSION}{base64.b64encode(key).decode('ascii')}\n".encode("ascii")


def _read(path: Path, check: Callable[[Path, os.stat_result], None]) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except PermissionError as err:
        raise VaultError(
            f"cannot read the master key file {path}: {err.strerror}; run this as root, or as the user that runs the "
            f"controller, or have systemd hand it to the service (LoadCredential={CREDENTIAL}:{path})"
        ) from None
    except OSError as err:
        raise VaultError(f"cannot read or make the master key file {path}: {err.strerror or err}") from err
    with os.fdopen(fd, "rb") as file:
        check(path, os.fstat(fd))
        return _content(path, file)


def _content(path: Path, file: BinaryIO) -> bytes:
    try:
        return file.read(_KEY_FILE_MAX)
    except OSError as err:
        raise VaultError(f"cannot read or make the master key file {path}: {err.strerror or err}") from err


def _unchecked(_path: Path, _stat: os.stat_result) -> None:
    """Take it as it is."""


def _check_private(path: Path, stat: os.stat_result) -> None:
    if stat.st_mode & 0o077:
        raise VaultError(
            f"the master key file {path} may be read by others (mode {stat.st_mode & 0o777:04o}); "
            f"whoever could read it may hold every key of this cluster. Close it with: chmod 600 {path}"
        )
    if os.geteuid() not in {0, stat.st_uid} and stat.st_uid != 0:
        raise VaultError(f"the master key file {path} belongs to user {stat.st_uid}, not to the one running this")


def _parse(path: Path, data: bytes) -> Secret[bytes]:
    try:
        version, text = data[: len(_KEY_VERSION)], data[len(_KEY_VERSION) :]
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        version, key = b"", b""
    if version != _KEY_VERSION.encode("ascii") or len(key) != MASTER_KEY_BYTES:
        raise VaultError(
            f"the master key file {path} is damaged; put it back from a backup. "
            "Without it the authorities and all one-time-code secrets of this cluster cannot be opened"
        )
    return Secret(key)
