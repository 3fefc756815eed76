"""Who this device is: its keys and what the controller certified, in the data directory.

`identity.json` is written by renaming and holds all that was granted, so that an identity is whole or is not there. The
keys are there before anything is asked with them: a join or a renewal that is cut off anywhere is asked again with the
same ones. The TLS certificate has a file of its own as well, which is mended where it is not what was granted, or gone.
The join token is never stored.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from edge_agent.directory import sync_directory
from protocol.addresses import join_address, split_address
from protocol.messages import JoinReply, MessageError
from protocol.secret import Secret
from protocol.ssh.certificate import BadCertificateError, key_blob, parse_certificate_line

_log = logging.getLogger("skerry.agent")
_IDENTITY_MAX = 4 * 1024 * 1024
_VERSION = 1
HOST_KEY = "host_key"
TLS_KEY = "tls_key.pem"
TLS_CERTIFICATE = "tls_certificate.pem"
IDENTITY = "identity.json"


class IdentityError(Exception):
    """The data directory cannot be used. The message names the file and the mend."""


@dataclass(frozen=True, slots=True)
class Keys:
    """A node's two private keys: Ed25519 for SSH, ECDSA P-256 for TLS."""

    host: Ed25519PrivateKey
    tls: EllipticCurvePrivateKey

    @property
    def host_public(self) -> str:
        """The host key's public half in OpenSSH's one-line form."""
        return self.host.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def host_private(self) -> Secret[bytes]:
        """Return the host key in OpenSSH's own file form, unencrypted."""
        return Secret(self.host.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))

    def tls_private(self) -> Secret[bytes]:
        """Return the TLS key in PEM (PKCS #8), unencrypted."""
        return Secret(self.tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's identity as it lies in the data directory.

    Attributes:
        granted: what the controller said when the node joined.
        host_private: the SSH host key in OpenSSH's file form.
        controller: the controller's web address; None where an older agent wrote this, which did not keep it.
        directory: where the TLS key and certificate lie, for `ssl`, which reads files only.
    """

    granted: JoinReply
    host_private: Secret[bytes]
    controller: tuple[str, int] | None
    directory: Path

    @property
    def tls_files(self) -> tuple[Path, Path]:
        """The TLS certificate's file and its key's."""
        return self.directory / TLS_CERTIFICATE, self.directory / TLS_KEY

    def signing_key(self) -> Ed25519PrivateKey:
        """Return the SSH host key itself, which also seals recordings. Raises `IdentityError`."""
        key = load_ssh_private_key(self.host_private.reveal(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise IdentityError(f"{self.directory / HOST_KEY}: not an Ed25519 key")
        return key


def generate_keys() -> Keys:
    """Return new keys."""
    return Keys(host=Ed25519PrivateKey.generate(), tls=generate_private_key(SECP256R1()))


class DataDirectory:
    """The agent's data directory, held by one agent at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def claim(self) -> None:
        """Make the directory where it is missing, and keep other agents out of it while this process lives.

        Raises:
            IdentityError: it cannot be made or written, or another agent runs on it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IdentityError(f"{self.path}: another agent runs on this data directory") from None
        except OSError as err:
            raise IdentityError(f"{self.path}: cannot be used as data directory: {err.strerror}") from None

    def release(self) -> None:
        """Let others have the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read_keys(self) -> Keys | None:
        """Return the keys in the directory; None where they are not both there, or are none. Raises `OSError`."""
        try:
            host = load_ssh_private_key(self.read(HOST_KEY), None)
            tls = load_pem_private_key(self.read(TLS_KEY), None)
        except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm):
            return None
        if isinstance(host, Ed25519PrivateKey) and isinstance(tls, EllipticCurvePrivateKey):
            return Keys(host, tls)
        return None

    def prepare_keys(self) -> Keys:
        """Return the keys to join with: those of before, by which the controller knows the device, or new ones.

        Raises:
            IdentityError: they cannot be read, or the disk would not have them.
        """
        try:
            keys = self.read_keys()
            if keys is None:
                keys = generate_keys()
                self._keep_keys(keys)
        except OSError as err:
            raise IdentityError(f"{self.path}: cannot read or write the node's keys: {err.strerror}") from err
        return keys

    def save(self, keys: Keys, granted: JoinReply, controller: tuple[str, int]) -> Identity:
        """Write an identity, whole or not at all, and return it. What was there before is kept until then.

        Args:
            keys: the node's.
            granted: what the controller said.
            controller: its web address.

        Raises:
            IdentityError: the disk would not have it.
        """
        try:
            if not _are_same(keys, self.read_keys()):
                self._keep_keys(keys)
            self._keep_granted(granted, controller)
            host_private = Secret(self.read(HOST_KEY))
        except OSError as err:
            raise IdentityError(f"{self.path}: cannot write the identity: {err.strerror}") from err
        return Identity(granted, host_private, controller, self.path)

    def renew(self, identity: Identity, granted: JoinReply) -> Identity:
        """Write new certificates for the same keys over the old ones, whole or not at all. Raises `OSError`."""
        controller = identity.controller
        self._keep_granted(granted, controller)
        return Identity(granted, identity.host_private, controller, self.path)

    def _keep_keys(self, keys: Keys) -> None:
        (self.path / IDENTITY).unlink(missing_ok=True)  # it is of other keys
        self.write(HOST_KEY, keys.host_private().reveal())
        self.write(TLS_KEY, keys.tls_private().reveal())

    def _keep_granted(self, granted: JoinReply, controller: tuple[str, int] | None) -> None:
        self.write(IDENTITY, _record(granted, controller))
        self._mend_certificate(granted)

    def _mend_certificate(self, granted: JoinReply) -> None:
        """Have the certificate's own file hold what was granted: a crash between the two files leaves an older one."""
        certificate = granted.tls_certificate.encode()
        with suppress(FileNotFoundError, ValueError):
            if self.read(TLS_CERTIFICATE) == certificate:
                return
        self.write(TLS_CERTIFICATE, certificate)

    def _try_to_mend(self, granted: JoinReply) -> None:
        """Do that, where the disk will: a node whose disk is full or may not be written still serves."""
        try:
            self._mend_certificate(granted)
        except OSError as err:
            _log.warning("cannot mend %s: %s", self.path / TLS_CERTIFICATE, err.strerror)

    def keep_controller(self, identity: Identity, controller: tuple[str, int]) -> None:
        """Note that the controller of `identity` is at another web address now. Raises `OSError`."""
        self.write(IDENTITY, _record(identity.granted, controller))

    def load(self) -> Identity | None:
        """Return the identity in the directory; None where there is no whole one.

        Raises:
            IdentityError: a file is there and cannot be read, or is not ours.
        """
        try:
            record = self.read(IDENTITY)
            host_private = self.read(HOST_KEY)
            granted, controller = _parse_record(record)
            if not ((self.path / TLS_KEY).exists() and _fits(granted, host_private)):
                return None
            if self._lock is not None:
                self._try_to_mend(granted)
            return Identity(granted, Secret(host_private), controller, self.path)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise IdentityError(f"{self.path}: cannot read the identity: {err.strerror}") from None
        except (ValueError, MessageError) as err:
            mend = "move it away and join again with a new token"
            raise IdentityError(f"{self.path / IDENTITY}: not an identity ({err}); {mend}") from None

    def write(self, name: str, data: bytes) -> None:
        """Put `data` in file `name`: to a temporary name, synced, renamed. Raises `OSError`."""
        temporary = self.path / f".{name}.new"
        temporary.unlink(missing_ok=True)
        with open(temporary, "xb", opener=_private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.path / name)
        sync_directory(self.path)

    def read(self, name: str, most: int = _IDENTITY_MAX) -> bytes:
        """Return what file `name` holds. Raises `OSError`, and `ValueError` where that is more than `most` bytes."""
        with (self.path / name).open("rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise ValueError(f"{name} is larger than {most} bytes")
        return data


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _record(granted: JoinReply, controller: tuple[str, int] | None) -> bytes:
    address = join_address(*controller) if controller else None
    record = {"version": _VERSION, "controller": address, "granted": granted.to_dict()}
    return json.dumps(record, indent=1).encode()


def _parse_record(record: bytes) -> tuple[JoinReply, tuple[str, int] | None]:
    try:
        data = json.loads(record)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(data, dict) or data.get("version") != _VERSION:
        raise ValueError(f"not of version {_VERSION}")
    controller = data.get("controller")
    address = None if controller is None else split_address(str(controller))
    return JoinReply.from_dict(data.get("granted")), address


def _are_same(keys: Keys, others: Keys | None) -> bool:
    return others is not None and (keys.host_public, _tls_public(keys)) == (others.host_public, _tls_public(others))


def _tls_public(keys: Keys) -> bytes:
    return keys.tls.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _fits(granted: JoinReply, host_private: bytes) -> bool:
    """Tell whether the certificate is for the key: not so where a join was cut off between the two.

    A node that waits for approval has no certificate yet.
    """
    try:
        key = load_ssh_private_key(host_private, None)
        if granted.pending:
            return True
        certified = parse_certificate_line(granted.host_certificate).public_key
    except (ValueError, UnsupportedAlgorithm, BadCertificateError):
        return False
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return key_blob(public) == certified
