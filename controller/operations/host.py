"""What the host of a controller is like: its disk, its clock, its names, its services."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import socket
import stat
import subprocess
import threading
from pathlib import Path

from controller.config import ControllerConfig
from controller.operations.placing import USER
from controller.policy.checkup import Directory, Disk, Name, Unit
from protocol.addresses import join_address

_STRANGERS_MAX = 50
_RESOLVE_SECONDS = 10.0
_SYSTEMCTL_SECONDS = 20
# The broker's own directory belongs to its own user.
_OTHERS_OWN = frozenset({"broker"})
# adjtimex(2): what is returned while nobody keeps the clock right, and how large its structure is at most.
_TIME_ERROR = 5
_TIMEX_BYTES = 512
_FIRST_FREE_PORT, _FIRST_FREE = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start"), 1024
_RUNNING_SYSTEMD = Path("/run/systemd/system")


def look_at_directory(path: Path) -> Directory:
    """Return what the data directory is like. Raises `OSError`."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return Directory(str(path), "")
    os.scandir(path).close()  # os.walk says nothing where it is not let in
    strangers: list[str] = []
    for place, directories, files in os.walk(path):
        if Path(place) == path:
            directories[:] = [name for name in directories if name not in _OTHERS_OWN]
        for name in (*directories, *files):
            if len(strangers) < _STRANGERS_MAX and _is_strange(Path(place) / name, found.st_uid):
                strangers.append(str((Path(place) / name).relative_to(path)))
    return Directory(
        str(path), _user(found.st_uid), stat.S_IMODE(found.st_mode), strangers, USER if _has_user(USER) else ""
    )


def _is_strange(path: Path, owner: int) -> bool:
    try:
        return path.lstat().st_uid != owner
    except OSError:
        return False  # it is gone by now


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def look_at_disk(path: Path) -> Disk:
    """Return what room there is at `path`, or where it will be made. Raises `OSError`."""
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    inodes = found.f_favail if found.f_files else None
    return Disk(str(path), found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, inodes)


def is_synchronised() -> bool | None:
    """Tell whether the kernel says that somebody keeps the clock right; None where it does not say (adjtimex(2))."""
    asked = ctypes.create_string_buffer(_TIMEX_BYTES)  # all zero: nothing is to be changed
    state: int = ctypes.CDLL(None).adjtimex(asked)
    return None if state < 0 else state != _TIME_ERROR


def resolve(name: str, key: str) -> Name:
    """Return where a name leads. It takes `_RESOLVE_SECONDS` at most."""
    found: list[Name] = []

    def ask() -> None:
        try:
            addresses = dict.fromkeys(str(each[4][0]) for each in socket.getaddrinfo(name, None))
            found.append(Name(name, key, tuple(addresses)))
        except (OSError, UnicodeError) as err:
            found.append(Name(name, key, problem=getattr(err, "strerror", None) or str(err)))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_RESOLVE_SECONDS)
    return found[0] if found else Name(name, key, problem="no name server answers")


def look_at_unit(name: str) -> Unit | None:
    """Return what systemd says of a unit; None where there is no systemd."""
    if not _RUNNING_SYSTEMD.is_dir():
        return None
    command = ["systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", f"{name}.service"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_SYSTEMCTL_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    told = dict(line.partition("=")[::2] for line in asked.stdout.splitlines())
    return Unit(
        told.get("LoadState") == "loaded",
        told.get("ActiveState") in {"active", "reloading", "activating"},
        told.get("UnitFileState") in {"enabled", "enabled-runtime"},
    )


def low_ports(config: ControllerConfig) -> list[str]:
    """Return which doors are at a port that the service's user may not have without more (ip(7)), by their settings."""
    try:
        first = int(_FIRST_FREE_PORT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        first = _FIRST_FREE
    doors = {
        "proxy_service.web_listen_addr": config.web_listen,
        "proxy_service.listen_addr": config.ssh_listen,
        "proxy_service.tunnel_listen_addr": config.tunnel_listen,
        "auth_service.listen_addr": config.api_listen,
        "mqtt.listen_addr": config.mqtt_listen if config.broker == "mosquitto" else None,
        "teleport.diag_addr": config.diag_listen,
    }
    return [f"{join_address(*at)} ({key})" for key, at in doors.items() if at is not None and 0 < at[1] < first]


def file_limit(pid: int | None) -> int | None:
    """Return how many files a process may open at most, ourselves for None; None where there is no limit."""
    if pid is not None:
        try:
            limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
            words = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()
            return None if words[4] == "unlimited" else int(words[4])
        except (OSError, StopIteration, ValueError, IndexError):
            pass
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard
