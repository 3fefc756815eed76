"""The controller's own host: where its data is, who may touch it, and the cluster in it, opened.

What `tctl` writes must belong to the user that runs the controller, or the controller could not use it. So
root becomes that user, the owner of the data directory, before anything is opened, and nobody else is let in.
"""

from __future__ import annotations

import encodings.ascii
import encodings.idna  # noqa: F401 - Python imports a codec when it is first used: then it may be too late, see below
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

# All that a command may need is imported before root becomes the owner, who perhaps cannot read the program.
from controller.accounts import Origin, UserError
from controller.addresses import BoundAddresses, public_web
from controller.agent_archives import archive_names
from controller.audit import AuditError
from controller.authority import AuthorityError
from controller.authority.master_key import KeyPlace, find_master_key, key_from_credential
from controller.cluster import Cluster, ClusterError, open_cluster
from controller.config import ConfigError, ControllerConfig, load_config
from controller.enrolment.nodes import NodeError
from controller.enrolment.tokens import TokenError
from controller.locks import LockError
from controller.log import set_up_log
from controller.recordings import RecordingsError
from controller.store.interface import StoreError
from controller.tctl.error import MISUSED, TctlError
from controller.tctl.setting import Settings
from controller.tls_files import TlsFileError, web_pins, web_public_key
from protocol.secret import Secret

# What the first start writes once it has made everything else.
_FOUNDED = Path("store") / "cluster.json"
_ACTOR_MAX_CHARS = 64
# What ends a command with its own words.
_SAID = (
    *(UserError, TokenError, NodeError, LockError, ClusterError, RecordingsError),
    *(StoreError, AuthorityError, AuditError, TlsFileError),
)


@dataclass(frozen=True, slots=True)
class Desk:
    """The admin's place at the cluster: `origin` tells the audit log who sits there."""

    cluster: Cluster
    origin: Origin

    def now(self) -> datetime:
        """Return the controller's time, UTC."""
        return self.cluster.clock()

    def web_address(self) -> str:
        """Return the web door's ``HOST:PORT`` as people dial it. Raises `TctlError` where nobody knows it yet."""
        config = self.cluster.config
        bound = BoundAddresses.load(config)
        if config.public.web is None and bound.web[1] == 0:
            raise TctlError(
                "the web door's port is chosen by the system (proxy_service.web_listen_addr has port 0), and the "
                "controller has not run yet; do `controller start` first"
            )
        return public_web(config, bound)

    def has_archives(self) -> bool:
        """Tell whether there is an agent to install from here."""
        return bool(archive_names(self.cluster.config.agent_archives))

    def pins(self) -> tuple[str, ...]:
        """Return the CA pins to give to devices and people."""
        return web_pins(self.cluster)

    def web_public_key(self) -> str:
        """Return the SHA-256 of the web door's public key, in base64; empty where nobody needs to be told."""
        return web_public_key(self.cluster)


@contextmanager
def at_desk(settings: Settings, *, returning: bool = False) -> Iterator[Desk]:
    """Open the cluster for one command.

    Args:
        settings: the flags.
        returning: whether root is root again at the end, to put a file where only root may.

    Raises:
        TctlError: it cannot be opened, or what the command asked of it was refused or failed.
    """
    set_up_log("DEBUG" if settings.debug else "WARN")
    config = _load(settings.config)
    acting = actor()
    key = key_of_root(config)
    with as_owner(config.data_dir, returning=returning):
        _require_cluster(config)
        try:
            yield Desk(open_cluster(config, master_key=key), Origin(via="tctl", actor=acting))
        except _SAID as err:
            raise TctlError(str(err)) from err


def key_of_root(config: ControllerConfig) -> Secret[bytes] | None:
    """Return the master key where root alone may read it; None where the owner of the data directory is to find it.

    systemd reads the file as root for the service, which is handed it as a credential: that is its user's to read, and
    in another unit, such as that of a timer, root's alone. Raises `TctlError`.
    """
    if os.geteuid() != 0:
        return None
    place = KeyPlace.of(config.master_key_file, os.environ)
    try:
        if not place.file.is_relative_to(config.data_dir):
            return find_master_key(place)
        if place.credential is None:
            return None
        handed = key_from_credential(place)
        if handed is not None:
            return handed
        with as_owner(config.data_dir, returning=True):
            return find_master_key(KeyPlace(place.file))
    except AuthorityError as err:
        raise TctlError(str(err)) from err


@contextmanager
def as_owner(data_dir: Path, *, returning: bool) -> Iterator[None]:
    """Be the owner of the data directory: whatever lies there leads root nowhere that its owner may not go.

    Args:
        data_dir: the directory.
        returning: whether root is root again at the end.

    Raises:
        TctlError: this is neither root nor the owner.
    """
    was_root, gids, groups = os.geteuid() == 0, os.getresgid(), os.getgroups()
    _become_owner(data_dir, for_good=not returning)
    try:
        yield
    finally:
        if was_root and returning:
            os.setresuid(0, 0, 0)
            os.setresgid(*gids)
            os.setgroups(groups)


def _load(path: Path) -> ControllerConfig:
    try:
        return load_config(path)
    except ConfigError as err:
        raise TctlError(str(err), MISUSED) from err


def actor() -> str:
    """Return who acts, as the audit log names them: the person behind sudo, or this process's user."""
    # Only root's word on who became root counts: anyone else could set the variable.
    name = (os.environ.get("SUDO_USER") if os.getuid() == 0 else None) or _user_name(os.getuid())
    return f"{name[:_ACTOR_MAX_CHARS]}@{socket.gethostname()}"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _become_owner(data_dir: Path, *, for_good: bool = True) -> None:
    owner = _owner_of(data_dir)
    if owner.st_uid == os.geteuid():
        return
    if os.geteuid() != 0:
        raise TctlError(
            f"the data directory {data_dir} belongs to user {_user_name(owner.st_uid)}, not to "
            f"{_user_name(os.geteuid())}: run tctl as that user, or as root"
        )
    try:
        os.setgroups(_groups_of(owner))
        os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid if for_good else 0)
        os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid if for_good else 0)
    except OSError as err:
        raise TctlError(f"cannot become user {_user_name(owner.st_uid)}, who owns {data_dir}: {err.strerror}") from err


def _owner_of(data_dir: Path) -> os.stat_result:
    try:
        return data_dir.stat()
    except FileNotFoundError:
        raise TctlError(_no_cluster(data_dir)) from None
    except OSError as err:
        raise TctlError(
            f"the data directory {data_dir} cannot be looked at: {err.strerror}; run tctl as root or as the user "
            "that runs the controller"
        ) from None


def _groups_of(owner: os.stat_result) -> list[int]:
    """Return the owner's groups: one of them may be what lets the controller read its TLS key."""
    try:
        return os.getgrouplist(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:
        return [owner.st_gid]


def _require_cluster(config: ControllerConfig) -> None:
    """Refuse where no controller ever ran: opening the cluster would make keys that nobody meant to make."""
    try:
        (config.data_dir / _FOUNDED).stat()
    except OSError as err:
        if isinstance(err, FileNotFoundError | NotADirectoryError):
            raise TctlError(_no_cluster(config.data_dir)) from None
        raise TctlError(f"{err.filename}: {err.strerror}") from err


def _no_cluster(data_dir: Path) -> str:
    return (
        f"there is no cluster in {data_dir} yet: `controller start` makes it "
        "(or -c names another controller's configuration)"
    )
