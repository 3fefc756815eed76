"""What there is to know of this device before it is changed."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from edge_agent.policy.layout import Layout, parse_version
from edge_agent.policy.preflight import Device, Installed, Room
from edge_agent.policy.status import AgentStatus, Link, describe
from edge_agent.policy.upgrade import Seen
from edge_agent.rollout.placing import find_left
from edge_agent.rollout.record import now
from edge_agent.rollout.systemd import Service
from edge_agent.status import read_status

_FAILED = "failed"
_BLOCK = 512  # stat(2)
_LOOK = 0.5
# For how long it is looked which connections there are, in seconds; and how long ago one may have been lost.
_LINKS = 5.0
_MOMENT = timedelta(minutes=1)


def read_device(layout: Layout, *, trees: Iterable[str] = (), data: Iterable[str] = ()) -> Device:
    """Return what this device is; `trees` and `data` are where a tree and what the agent keeps are to be written."""
    with_systemd = Path(layout.booted).is_dir()
    return Device(
        euid=os.geteuid(),
        system=platform.system(),
        machine=platform.machine(),
        bits=64 if sys.maxsize > 2**32 else 32,
        libc=_libc(),
        python=sys.version_info[:2],
        has_systemd=with_systemd,
        rooms=(
            *(Room(place, _free(Path(place)) + _left(Path(place)), takes_tree=True) for place in trees),
            *(Room(place, _free(Path(place)), takes_tree=False) for place in data),
        ),
    )


def _libc() -> str:
    with suppress(ValueError, OSError):
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    return ""


def _free(place: Path) -> int:
    """Return how much is free where `place` is, or will be."""
    there = next(path for path in (place, *place.parents) if path.exists())
    return shutil.disk_usage(there).free


def _left(trees: Path) -> int:
    """Return how much will be free as well: what is left of installations that were cut off is removed first."""
    sizes = 0
    for left in find_left(trees):
        with suppress(OSError):  # it is just being removed
            sizes += sum(path.lstat().st_blocks * _BLOCK for path in left.rglob("*"))
    return sizes


def find_installed(layout: Layout) -> Installed | None:
    """Return which version is installed; None where none is, or half of one."""
    with suppress(OSError, ValueError):
        if Path(layout.package_tree, "VERSION").exists():
            return Installed("package", parse_version(Path(layout.package_tree, "VERSION").read_text().strip()))
    with suppress(OSError, ValueError):
        version = parse_version(Path(os.readlink(layout.current)).name)  # noqa: PTH115 - the name alone counts
        if Path(layout.tree(version), "bin/edge-agent").exists():
            return Installed("tree", version)
    return None


def status_of(layout: Layout) -> AgentStatus | None:
    """Return how the running agent says it is doing; None where none runs."""
    with suppress(OSError):
        found = read_status(Path(layout.runtime), Path(layout.data))
        return found[0] if found else None
    return None


def look(layout: Layout, service: Service) -> Seen:
    """Return how the service is doing. Raises `RolloutError` where systemd does not say."""
    unit, status = service.look(), status_of(layout)
    if status is None or status.pid != unit.pid:
        text = unit.text or f"the service is {unit.active}"
        return Seen(pid=unit.pid, restarts=unit.restarts, has_failed=unit.active == _FAILED, text=text)
    return Seen(
        sessions=status.sessions,
        version=status.version,
        pid=status.pid,
        has_tunnel=status.tunnel.is_up,
        has_broker=bool(status.broker and status.broker.is_up),
        restarts=unit.restarts,
        has_failed=unit.active == _FAILED,
        text=describe(status),
    )


def look_at_links(layout: Layout, service: Service) -> tuple[bool, bool]:
    """Return whether the running version has the tunnel, and the broker, within a few seconds or had it a moment ago.

    One look may fall into the moment in which a connection is made anew. Raises `RolloutError`.
    """
    until, tunnel, broker = time.monotonic() + _LINKS, False, False
    while True:
        status = status_of(layout) if service.look().is_running else None
        if status:
            tunnel = tunnel or _was_up(layout, status, status.tunnel)
            broker = broker or bool(status.broker and _was_up(layout, status, status.broker))
        has_all = tunnel and (broker or bool(status and status.broker is None))
        if has_all or status is None or time.monotonic() >= until:
            return tunnel, broker
        time.sleep(_LOOK)


def _was_up(layout: Layout, status: AgentStatus, link: Link) -> bool:
    """Tell whether a connection stands, or did until a moment ago: one that is down since the agent began never did."""
    if link.is_up or link.since <= status.began:
        return link.is_up
    return timedelta() <= now(layout) - link.since < _MOMENT


def own_session() -> str:
    """Return the id of the Skerry session that this program is run from, also behind sudo; empty outside of one."""
    if session := os.environ.get("SSH_SESSION_ID"):
        return session
    pid = os.getppid()
    while pid > 1:
        with suppress(OSError):
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                name, _, value = variable.partition(b"=")
                if name == b"SSH_SESSION_ID" and value:
                    return value.decode("ascii", "replace")
        pid = _parent(pid)
    return ""


def _parent(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return 0
