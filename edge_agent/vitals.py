"""How the device and its agent are: what a heartbeat says. A reading costs a system call or a small file each."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.papers import Papers
from edge_agent.spool import Spool
from protocol.presences import Beat, NodeState
from protocol.version import __version__

_MEMORY = Path("/proc/meminfo")
_MIB = 1024 * 1024
_FILE_MAX = 4096
# Thermal zones are what the board's maker calls its temperatures; where there are none, what sensor chips there are.
_SENSORS = (("sys/class/thermal", "thermal_zone*/temp"), ("sys/class/hwmon", "hwmon*/temp*_input"))
_SENSORS_MAX = 16
# Millidegrees that are no temperature of a device that runs: sensors which are not connected say such things.
_COLDEST, _HOTTEST = -60_000, 150_000


@dataclass(frozen=True, slots=True)
class Link:
    """How the link to the broker is: a round trip in tenths of a millisecond, and how often it was made anew."""

    round_trip: int | None
    reconnects: int


class Vitals:
    """Reads how things are.

    Attributes:
        papers: what the agent goes by.
        offset: by how much the device's clock is ahead of the controller's, in milliseconds; None where not known.
        has_tunnel: whether the tunnel is up.
        sessions: how many people's sessions are open.
    """

    def __init__(
        self,
        papers: Papers,
        spool: Spool,
        *,
        offset: Callable[[], int | None],
        has_tunnel: Callable[[], bool],
        sessions: Callable[[], int],
        root: Path = Path("/"),
    ) -> None:
        self._papers = papers
        self._spool = spool
        self._offset = offset
        self._has_tunnel = has_tunnel
        self._sessions = sessions
        self._sensors = find_sensors(root)

    def state(self, instance: str, interval: int) -> NodeState:
        """Return what is said once a connection."""
        total, _ = read_memory()
        size, _ = self._disk()
        return NodeState(
            instance=instance,
            version=__version__,
            interval=interval,
            memory=total,
            disk=size,
            platform=f"{platform.system()} {platform.machine()}",
        )

    def beat(self, link: Link) -> Beat:
        """Return what is said again and again."""
        files, size = self._spool.backlog
        policy = self._papers.policy
        return Beat(
            uptime=int(time.clock_gettime(time.CLOCK_BOOTTIME)),
            load=_load(),
            memory=read_memory()[1],
            disk=self._disk()[1],
            temperature=read_temperature(self._sensors),
            round_trip=link.round_trip,
            reconnects=link.reconnects,
            spool_files=files,
            spool_bytes=size,
            clock_offset=self._offset(),
            tunnel=self._has_tunnel(),
            sessions=self._sessions(),
            policy=policy.version if policy else 0,
            generation=self._papers.identity.granted.generation,
        )

    def _disk(self) -> tuple[int, int]:
        """Return the size of the file system with our data, and what is free of it for us; MiB."""
        with suppress(OSError):
            found = os.statvfs(self._papers.identity.directory)
            return found.f_blocks * found.f_frsize // _MIB, found.f_bavail * found.f_frsize // _MIB
        return 0, 0


def _load() -> int:
    with suppress(OSError):
        return round(os.getloadavg()[0] * 100)
    return 0


def read_memory(path: Path = _MEMORY) -> tuple[int, int]:
    """Return how much memory there is and how much is available, KiB; zeros where the system does not say."""
    text = _read(path)
    found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return _number(found.get("MemTotal", "")), _number(found.get("MemAvailable", ""))


def _number(text: str) -> int:
    first = text.split()[:1]
    return int(first[0]) if first and first[0].isdecimal() else 0


def find_sensors(root: Path = Path("/")) -> tuple[Path, ...]:
    """Return the files that tell temperatures: of the first kind that there is."""
    for folder, pattern in _SENSORS:
        with suppress(OSError):
            found = [path for path in sorted((root / folder).glob(pattern)) if _degrees(path) is not None]
            if found:
                return tuple(found[:_SENSORS_MAX])
    return ()


def read_temperature(sensors: tuple[Path, ...]) -> int | None:
    """Return the highest temperature, tenths of a degree Celsius; None where none is told."""
    found = [degrees for degrees in map(_degrees, sensors) if degrees is not None]
    return max(found) // 100 if found else None


def _degrees(path: Path) -> int | None:
    with suppress(ValueError):
        degrees = int(_read(path))
        return degrees if _COLDEST < degrees < _HOTTEST else None
    return None


def _read(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError), path.open("rb") as file:
        return file.read(_FILE_MAX).decode("ascii")
    return ""
