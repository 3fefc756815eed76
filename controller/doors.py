"""The doors of a controller: the sockets that it listens at, and its claim on the data directory."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from controller.addresses import BoundAddresses
from controller.broker.error import BrokerError
from controller.broker.mosquitto import find_mosquitto, find_owner
from controller.config import Address, ControllerConfig
from controller.store.durable import open_private
from protocol.addresses import join_address

LOCK = "controller.lock"
_PID_MAX = 20


class StartError(Exception):
    """The controller cannot start; the message is one line with what failed and what to do."""


@dataclass(frozen=True, slots=True)
class Doors:
    """The listening sockets; `mqtt` only keeps its port for the broker, and is None where none is ours to run.

    `diag` is None where diagnostics are off.
    """

    web: socket.socket
    ssh: socket.socket
    tunnel: socket.socket
    api: socket.socket
    mqtt: socket.socket | None = None
    diag: socket.socket | None = None

    def addresses(self) -> BoundAddresses:
        """Return where they listen, with the ports the system chose."""
        mqtt, diag = (None if door is None else _name_of(door) for door in (self.mqtt, self.diag))
        people, devices = (_name_of(self.web), _name_of(self.ssh)), (_name_of(self.tunnel), _name_of(self.api))
        return BoundAddresses(*people, *devices, mqtt, diag)


def bind_doors(config: ControllerConfig, *, is_listening: bool = True) -> Doors:
    """Bind every door. Raises `StartError` for an address that cannot be had.

    Where it is only to be seen whether they can be had, they need not listen: nobody who dials meanwhile is answered.
    """

    def bind(address: Address, key: str) -> socket.socket:
        return _bound(address, key, is_listening=is_listening)

    with ExitStack() as bound:
        doors = Doors(
            web=bound.enter_context(bind(config.web_listen, "proxy_service.web_listen_addr")),
            ssh=bound.enter_context(bind(config.ssh_listen, "proxy_service.listen_addr")),
            tunnel=bound.enter_context(bind(config.tunnel_listen, "proxy_service.tunnel_listen_addr")),
            api=bound.enter_context(bind(config.api_listen, "auth_service.listen_addr")),
            mqtt=bound.enter_context(_berth(config)) if config.broker == "mosquitto" else None,
            diag=bound.enter_context(bind(config.diag_listen, "teleport.diag_addr")) if config.diag_listen else None,
        )
        bound.pop_all()  # all of them are there: nothing is closed
    return doors


def _berth(config: ControllerConfig) -> socket.socket:
    """Return a socket that keeps the broker's port; mosquitto cannot be handed one, and binds its own beside it.

    Both say SO_REUSEADDR, and no two such sockets can listen (socket(7)): where somebody else does, it is seen here.
    """
    try:
        find_mosquitto()
        find_owner()
    except BrokerError as err:
        raise StartError(str(err)) from None
    return _bound(config.mqtt_listen, "mqtt.listen_addr", is_listening=False)


def _bound(address: Address, key: str, *, is_listening: bool) -> socket.socket:
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with ExitStack() as opened:
            door = opened.enter_context(socket.socket(*found[:3]))
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(found[4])
            if is_listening:
                door.listen(1024)
            opened.pop_all()
    except (OSError, UnicodeError) as err:
        reason = getattr(err, "strerror", None) or err
        where = f"{key}: cannot listen on {join_address(*address)}: {reason}"
        raise StartError(f"{where}: end what listens there, or give another address") from None
    return door


def _name_of(door: socket.socket) -> Address:
    host, port = door.getsockname()[:2]
    return str(host), int(port)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this controller alone.

    Raises `StartError` where another one holds it, or where it is somebody else's: root would leave files there that
    its owner could not use.
    """
    owner = data_dir.stat().st_uid
    if owner != os.geteuid():
        raise StartError(
            f"{data_dir} belongs to user {_user_name(owner)}, not to {_user_name(os.geteuid())}: start the controller "
            "as that user (as a service: systemctl start skerry-controller)"
        )
    # For its owner alone: whoever may read a file may lock it, and where the directory is open, keep us from starting.
    with os.fdopen(open_private(data_dir / LOCK, os.O_RDWR | os.O_CREAT), "rb+", buffering=0) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(describe_running(data_dir, lock)) from None
        os.ftruncate(lock.fileno(), 0)
        os.pwrite(lock.fileno(), f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(lock.fileno(), 0)


def require_nobody(data_dir: Path) -> None:
    """Raise `StartError` where a controller runs on the data directory. Whatever else is wrong there is found later."""
    try:
        fd = os.open(data_dir / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    with os.fdopen(fd, "rb", buffering=0) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(describe_running(data_dir, lock)) from None


def describe_running(data_dir: Path, lock: FileIO) -> str:
    """Return what is said to whom a controller is in the way that holds `lock`, with its pid where that is known."""
    told = os.pread(lock.fileno(), _PID_MAX, 0).strip()
    is_there = told.isdigit() and Path("/proc", told.decode()).exists()
    which = f" (process {told.decode()})" if is_there else ""
    return f"a controller runs on {data_dir}{which}: end it first (systemctl stop skerry-controller)"
