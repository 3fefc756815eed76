"""What a doctor looks at on a device, as values. What could not be found out is None or empty."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

# What came of trying a port: it does as it should; nobody answers; who answers is not who it should be; we are not
# let in.
PortState = Literal["ok", "closed", "untrusted", "refused"]
# Whether the device has joined: not at all, waiting for approval, yes; or nobody can tell, as its files make no sense
# or are not for us to read.
Standing = Literal["none", "pending", "joined", "broken", "hidden"]


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """What time it is.

    Attributes:
        device: by the device's own clock.
        ahead: by how much that is ahead of the controller's.
        is_measured: whether the controller was asked just now; else it is what the agent remembers.
    """

    device: datetime
    ahead: timedelta | None = None
    is_measured: bool = False


@dataclass(frozen=True, slots=True)
class NameFacts:
    """What a controller's name resolves to, or the problem with that."""

    host: str
    addresses: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PortFacts:
    """One port of the controller's.

    Attributes:
        door: what it is for: web, tunnel, api or mqtt.
        address: HOST:PORT.
        text: what was seen, or what went wrong.
    """

    door: str
    address: str
    state: PortState
    text: str


@dataclass(frozen=True, slots=True)
class IdentityFacts:
    """Who the device is.

    Attributes:
        text: what is wrong with its files.
        valid_before: first instant after the sooner of its two certificates.
        due: when they are to be renewed.
        lock: the lock on it that it knows of, in words.
    """

    standing: Standing
    text: str = ""
    name: str = ""
    node_id: str = ""
    cluster: str = ""
    generation: int = 0
    valid_before: datetime | None = None
    due: datetime | None = None
    lock: str = ""


@dataclass(frozen=True, slots=True)
class DirectoryFacts:
    """The data directory.

    Attributes:
        owner: its user's number; None where it is not there.
        wanted_owner: the user's that the agent runs as.
        mode: its permissions.
        loose: files of its keys that others can read, with their permissions.
    """

    path: str
    owner: int | None
    wanted_owner: int
    mode: int = 0
    loose: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """The disk under the data directory; bytes, and inodes.

    Attributes:
        min_free: what the settings want to stay free.
        inodes: how many there are; 0 where the file system does not count them.
        problem: why nothing can be said.
    """

    path: str
    free: int = 0
    size: int = 0
    min_free: int = 0
    free_inodes: int = 0
    inodes: int = 0
    is_read_only: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SpoolFacts:
    """What waits to be sent: recordings, their bytes, those that the controller refused, and bytes of events."""

    files: int = 0
    size: int = 0
    quota: int = 0
    refused: int = 0
    events: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """systemd's word on the agent's unit, as systemctl(1) has it.

    Attributes:
        has_systemd: whether systemd runs the device.
        restarts: how often it was begun anew by systemd.
        watchdog: seconds within which the agent has to give a sign of life; 0 for no watchdog.
        exit_status: of its last end.
    """

    has_systemd: bool
    load: str = ""
    active: str = ""
    enabled: str = ""
    result: str = ""
    restarts: int = 0
    watchdog: float = 0.0
    exit_status: int = 0


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """How the running agent says it is doing; `version` is empty where none runs."""

    version: str = ""
    is_online: bool = False
    text: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """Versions: of this program, of what is installed, of the controller; empty for unknown. And of Python.

    Attributes:
        package: what dpkg says is installed, with its state where that is not whole; empty where no package is.
    """

    own: str
    installed: str
    controller: str
    python: tuple[int, int, int]
    package: str = ""


@dataclass(frozen=True, slots=True)
class UpgradeFacts:
    """The last upgrade.

    Attributes:
        state: as `edge_agent.policy.upgrade_record.Record.state` has it; ``none`` for none.
        is_carried: whether somebody carries it through, and does not fail at it.
        has_unit: whether the unit is there that is to.
    """

    state: str = "none"
    old: str = ""
    new: str = ""
    reason: str = ""
    is_carried: bool = False
    has_unit: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it.

    Attributes:
        now: the controller's time, as far as it is known.
        is_root: whether the doctor may see everything.
        controller: its web address; empty where nobody has named one.
        settings: the problem with the settings; empty where there is none.
        settings_file: where they are.
    """

    now: datetime
    is_root: bool
    controller: str
    settings: str
    clock: ClockFacts
    name: NameFacts | None
    ports: tuple[PortFacts, ...]
    identity: IdentityFacts
    directory: DirectoryFacts
    disk: DiskFacts
    spool: SpoolFacts
    service: ServiceFacts
    agent: AgentFacts
    version: VersionFacts
    upgrade: UpgradeFacts
    settings_file: str = "/etc/skerry/edge_agent.yaml"
