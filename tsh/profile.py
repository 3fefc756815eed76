"""The files under ``~/.tsh``: who is signed in where, laid out as Teleport lays them.

::

    ~/.tsh/                     0700
      current-profile           the host of the active profile
      HOST.json                 one profile: addresses, trust, session token
      known_hosts               the active cluster's host CA, for a stock OpenSSH
      keys/HOST/USER            OpenSSH private key; USER.pub and USER-cert.pub beside it
      keys/HOST/known_hosts     that cluster's host CA alone
      keys/HOST/USER-refused    the certificate again, where it was turned away

Every file is 0600, written under a temporary name, synced and renamed.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from protocol import names
from protocol.addresses import join_address, split_address
from protocol.instants import show_instant
from protocol.names import ClusterName, UserName
from tsh.certificate import CertificateFacts, UnreadableCertificateError, read_certificate
from tsh.error import NotSignedInError, TshError, not_signed_in

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_FILE_MAX = 1024 * 1024
_CURRENT = "current-profile"


def parse_host(text: str) -> str:
    """Return `text` as a host: a DNS name in small letters or an IP address. It may become a file's name.

    Raises:
        ValueError: it is neither.
    """
    if _HOST.fullmatch(text):
        return text.lower()
    return str(ipaddress.IPv6Address(text))


@dataclass(frozen=True, slots=True)
class Profile:
    """One sign-in, as it lies on disk beside its keys.

    Attributes:
        host: the proxy's host, as the person names it.
        port: the proxy's web door.
        ssh_host: the client door's host.
        host_authorities: the host CA's public keys, one line each.
        anchors: the certificates the web door is checked against, PEM; none for the system's own.
        insecure: the web door is not checked at all.
        session_token: bearer token for the web door.
    """

    host: str
    port: int
    user: UserName
    cluster: ClusterName
    ssh_host: str
    ssh_port: int
    host_authorities: tuple[str, ...]
    anchors: tuple[str, ...] = ()
    insecure: bool = False
    session_token: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """The address of the web door, as shown to people."""
        return f"https://{join_address(self.host, self.port)}"

    @property
    def login_command(self) -> str:
        """What to type to sign in again."""
        return f"tsh login --proxy={join_address(self.host, self.port)} --user={self.user}"


def _read_profile(data: Any) -> Profile:  # noqa: ANN401 - what JSON holds is checked here
    return Profile(
        host=parse_host(data["host"]),
        port=split_address(f"x:{data['port']}")[1],
        user=names.parse_user_name(data["user"]),
        cluster=names.parse_cluster_name(data["cluster"]),
        ssh_host=parse_host(data["ssh_host"]),
        ssh_port=split_address(f"x:{data['ssh_port']}")[1],
        host_authorities=tuple(str(line) for line in data["host_authorities"]),
        anchors=tuple(str(pem) for pem in data["anchors"]),
        insecure=data["insecure"] is True,
        session_token=names.parse_token(data["session_token"]),
    )


@dataclass(frozen=True, slots=True)
class UserKeys:
    """Where one user's key, public key and certificate lie."""

    private: Path

    @property
    def public(self) -> Path:
        """The public key."""
        return self.private.with_name(self.private.name + ".pub")

    @property
    def certificate(self) -> Path:
        """The certificate, where OpenSSH looks for it."""
        return self.private.with_name(self.private.name + "-cert.pub")

    @property
    def refused(self) -> Path:
        """The mark that this sign-in is of no use any more, whatever its dates say."""
        return self.private.with_name(self.private.name + "-refused")

    def note_refusal(self) -> None:
        """Have the next `tsh login` sign in anew, unless that has been done meanwhile. Never raises `OSError`."""
        with suppress(OSError):  # a convenience: what went wrong is said in any case
            _write(self.refused, self.certificate.read_bytes())

    def is_refused(self) -> bool:
        """Tell whether this very certificate was turned away, or found the wrong host."""
        try:
            return self.refused.read_bytes() == self.certificate.read_bytes()
        except OSError:
            return False


class ProfileFolder:
    """``~/.tsh``, or what SKERRY_HOME names."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keys(self, profile: Profile) -> UserKeys:
        """Return where the profile's keys lie."""
        return UserKeys(self.root / "keys" / profile.host / profile.user)

    def known_hosts(self, profile: Profile) -> Path:
        """Return the file with the cluster's host CA."""
        return self.root / "keys" / profile.host / "known_hosts"

    def current_host(self) -> str | None:
        """Return the active profile's host, or None where nobody is signed in."""
        try:
            return parse_host(_read_text(self.root / _CURRENT).strip())
        except FileNotFoundError:
            return None
        except ValueError:
            raise TshError(
                f"{self.root / _CURRENT} is damaged; choose a cluster again with: tsh login --proxy=HOST"
            ) from None

    def hosts(self) -> list[str]:
        """Return the hosts of all profiles, the active one first."""
        current = self.current_host()
        found = sorted(path.stem for path in self.root.glob("*.json"))
        return sorted(found, key=lambda host: host != current)

    def load(self, host: str | None = None) -> Profile:
        """Return the profile of `host`, or the active one.

        Raises:
            NotSignedInError: there is none.
            TshError: it is damaged.
        """
        host = host or self.current_host()
        if host is None:
            raise not_signed_in()
        path = self.root / f"{host}.json"
        try:
            return _read_profile(json.loads(_read_text(path)))
        except FileNotFoundError:
            raise not_signed_in(host) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise TshError(
                f"the profile {path} is damaged; remove it with: tsh logout --proxy={host}, then log in again"
            ) from None

    def certificate(self, profile: Profile) -> str:
        """Return the profile's certificate line. Raises `NotSignedInError` where it is gone."""
        try:
            return _read_text(self.keys(profile).certificate)
        except (FileNotFoundError, ValueError):
            text = f"the certificate of {profile.user} at {profile.host} is gone; log in: {profile.login_command}"
            raise NotSignedInError(text) from None

    def facts(self, profile: Profile) -> CertificateFacts:
        """Return what the profile's certificate says. Raises `NotSignedInError` where it is gone or damaged."""
        try:
            return read_certificate(self.certificate(profile))
        except UnreadableCertificateError:
            path = self.keys(profile).certificate
            raise NotSignedInError(f"the certificate {path} is damaged; log in: {profile.login_command}") from None

    def valid_facts(self, profile: Profile, now: datetime) -> CertificateFacts:
        """Return what the certificate says. Raises `NotSignedInError` also where its life is over."""
        facts = self.facts(profile)
        if facts.valid_before <= now:
            raise NotSignedInError(
                f"your certificate for {profile.host} expired at {show_instant(facts.valid_before, seconds=True)}; "
                f"log in: {profile.login_command}"
            )
        return facts

    def save(self, profile: Profile, *, private_key: bytes, public_key: str, certificate: str) -> None:
        """Write a sign-in and make it the active one. The profile's own file comes last."""
        keys = self.keys(profile)
        for folder in (self.root, self.root / "keys", keys.private.parent):
            _make_private_folder(folder)
        _write(keys.private, private_key)
        _write(keys.public, public_key.strip().encode() + b"\n")
        _write(keys.certificate, certificate.strip().encode() + b"\n")
        keys.refused.unlink(missing_ok=True)
        _write(self.known_hosts(profile), _known_hosts(profile))
        _write(self.root / f"{profile.host}.json", json.dumps(asdict(profile), indent=1).encode() + b"\n")
        self.activate(profile)

    def activate(self, profile: Profile) -> None:
        """Make `profile` the one that commands mean when they name none."""
        _write(self.root / "known_hosts", _known_hosts(profile))
        _write(self.root / _CURRENT, profile.host.encode() + b"\n")

    def remove(self, host: str) -> None:
        """Remove everything held for `host`; where it was the active profile, there is none afterwards."""
        folder = self.root / "keys" / host
        for path in (self.root / f"{host}.json", *(folder.iterdir() if folder.is_dir() else ())):
            path.unlink(missing_ok=True)
        if folder.is_dir():
            folder.rmdir()
        try:
            active = self.current_host()
        except TshError:
            active = host  # damaged: it names nobody
        if active == host:
            (self.root / _CURRENT).unlink(missing_ok=True)
            (self.root / "known_hosts").unlink(missing_ok=True)


def _known_hosts(profile: Profile) -> bytes:
    return "".join(f"@cert-authority * {line.strip()}\n" for line in profile.host_authorities).encode()


def _make_private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_FILE_MAX + 1)
    if len(data) > _FILE_MAX:
        raise ValueError(f"{path} is too large")
    return data.decode()


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
