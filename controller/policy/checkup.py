"""What a look at a controller and its host means: how it stands, what was seen, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

from protocol.events import Json
from protocol.instants import show_instant
from protocol.sizes import format_size

State = Literal["ok", "warn", "fail"]

SERVICE = "skerry-controller"
# What the package brings of docs/.
RUNBOOK = "/usr/share/doc/skerry-controller/operations.md"
_BROKER_SERVICE = "mosquitto"
_FREE_FAIL = 64 * 1024 * 1024
_FREE_WARN = 1024 * 1024 * 1024
_INODES_WARN = 10_000
# No clock that is right shows less: this was written later.
_YEAR_MIN = 2026
# Processes write one after the other, each by the same clock.
_LEEWAY = timedelta(minutes=2)
_EXPIRES_SOON = timedelta(days=14)
# A replacement takes a month where devices sleep (docs/rotation.md).
_AUTHORITY_SOON = timedelta(days=90)
_ROTATION_LONG = timedelta(days=30)
_BACKUP_OLD = timedelta(days=7)
_BACKLOG_LARGE = 1024 * 1024 * 1024
_NAMED_MAX = 5
# A tunnel and a broker's connection are a file each; beside them what people open.
_FILES_A_NODE = 4
_FILES_MIN = 4096
NOTHING_HUNG: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found at one check.

    Attributes:
        check: what was looked at.
        found: what was seen.
        mend: what to do about it; empty where nothing is to be done.
    """

    check: str
    state: State
    found: str
    mend: str = ""

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"check": self.check, "state": self.state, "found": self.found, "mend": self.mend}


def summarise(findings: Sequence[Finding]) -> str:
    """Return how many of them are to be mended, and how many to be known of, as `edge-agent doctor` ends, too."""
    failed = sum(finding.state == "fail" for finding in findings)
    warned = sum(finding.state == "warn" for finding in findings)
    return f"{failed} to mend, {warned} to know of" if failed or warned else "nothing is wrong"


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 1 where something fails, else 0."""
    return int(any(finding.state == "fail" for finding in findings))


@dataclass(frozen=True, slots=True)
class Directory:
    """The data directory.

    Attributes:
        owner: name of its owner; empty where there is none of it.
        mode: its permission bits.
        strangers: what in it belongs to somebody else, or may be read by others: some of it.
        wanted: whom the service runs as; empty where there is no such user here.
    """

    path: str
    owner: str
    mode: int = 0o700
    strangers: Sequence[str] = ()
    wanted: str = ""


def judge_directory(found: Directory) -> Finding:
    """Judge who can read and who can write what."""
    check = "data directory"
    if not found.owner:
        return Finding(check, "warn", f"{found.path} is not there", "the first start makes it, or `controller restore`")
    if found.mode & 0o077:
        return Finding(
            check, "fail", f"{found.path} has mode {found.mode:04o}: others can look into it", f"chmod 700 {found.path}"
        )
    if found.strangers:
        named = _some(found.strangers)
        mend = f"chown -R {found.owner}: {found.path} (but for its directory broker), and find out who made them"
        return Finding(check, "fail", f"not {found.owner}'s in {found.path}: {named}", mend)
    if found.wanted and found.owner != found.wanted:
        text = f"{found.path} belongs to {found.owner}, and there is a user {found.wanted}"
        mend = f"where the service is to run on it: chown -R {found.wanted}: {found.path}"
        return Finding(check, "warn", text, mend)
    return Finding(check, "ok", f"{found.path}, {found.owner}'s alone")


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system: bytes, and files that can still be made (None where it does not count them)."""

    path: str
    free: int
    total: int
    inodes: int | None = None


def judge_disk(found: Disk) -> Finding:
    """Judge whether there is room."""
    check, text = "disk", f"{format_size(found.free)} of {format_size(found.total)} free at {found.path}"
    mend = f"{RUNBOOK}, “The controller's disk is full”: recordings take most; auth_service.recording_retention"
    if found.free < _FREE_FAIL:
        return Finding(check, "fail", text, mend)
    if found.free < min(_FREE_WARN, found.total // 10):
        return Finding(check, "warn", text, mend)
    if found.inodes is not None and found.inodes < _INODES_WARN:
        return Finding(check, "warn", f"{text}, but for {found.inodes} files only", mend)
    return Finding(check, "ok", text)


@dataclass(frozen=True, slots=True)
class Clock:
    """The time.

    Attributes:
        now: as the clock shows it.
        newest: when the audit log was last written to; None for never.
        is_synchronised: whether the kernel knows of somebody who keeps it right; None where it does not say.
    """

    now: datetime
    newest: datetime | None
    is_synchronised: bool | None


def judge_clock(found: Clock) -> Finding:
    """Judge whether the clock can be right. Certificates are good by it, and for nobody where it is wrong."""
    check, now = "clock", _whole_year(found.now)
    mend = "set it, and keep it right: apt-get install systemd-timesyncd (or chrony), timedatectl set-ntp true"
    if found.now.year < _YEAR_MIN:
        return Finding(check, "fail", f"it shows {now}", mend)
    if found.newest is not None and found.newest - found.now > _LEEWAY:
        newest = _whole_year(found.newest)
        return Finding(check, "fail", f"it shows {now}, and the audit log has an event of {newest}", mend)
    if found.is_synchronised is False:
        return Finding(check, "warn", f"{now}, and nobody keeps it right", mend)
    return Finding(check, "ok", f"{now}{', kept right' if found.is_synchronised else ''}")


def _whole_year(instant: datetime) -> str:
    """Return an instant as people read it who look for a clock that may be wrong by decades."""
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class Door:
    """A door of a controller that runs; `problem` is empty where it answers as it should."""

    name: str
    address: str
    problem: str = ""


def judge_doors(doors: Sequence[Door]) -> Iterator[Finding]:
    """Judge each door."""
    for door in doors:
        if door.problem:
            mend = f"journalctl -u {SERVICE}; `controller debug processes`; systemctl restart {SERVICE}"
            yield Finding(f"{door.name} door", "fail", f"{door.address}: {door.problem}", mend)
        else:
            yield Finding(f"{door.name} door", "ok", f"{door.address} answers")


def judge_running(
    *,
    runs: bool,
    ports: str,
    processes: Sequence[tuple[str, bool]],
    hung: Mapping[str, int] = NOTHING_HUNG,
    low: Sequence[str] = (),
    is_told: bool = False,
) -> Iterator[Finding]:
    """Judge whether a controller runs on the data directory, and whether one could.

    Args:
        runs: whether one does.
        ports: where none does: why its doors cannot be opened; empty where they can.
        low: which of them are at a port that root alone may listen at.
        processes: where one does: the name of each, and whether it serves.
        hung: how often which of them was ended because it did not answer, since it was started.
        is_told: whether `judge_units` tells of the same fault, that the service does not run.
    """
    if not runs:
        if not is_told:
            yield Finding("controller", "warn", "none runs here", f"systemctl start {SERVICE}")
        if ports:
            yield Finding("ports", "fail", ports, "`ss -ltnp` shows what listens")
        elif low:
            mend = "name a port from 1024 on, or have a drop-in of the unit grant CAP_NET_BIND_SERVICE"
            yield Finding("ports", "warn", f"root alone may listen at {_some(low)}, and the service is not root", mend)
        else:
            yield Finding("ports", "ok", "all can be listened at")
        return
    down = [name for name, is_ready in processes if not is_ready]
    if down:
        mend = f"journalctl -u {SERVICE} says why it falls"
        yield Finding("controller", "fail", f"it runs, but not {', '.join(down)}", mend)
    else:
        yield Finding("controller", "ok", f"it runs, all {len(processes)} processes")
    if hung:
        told = ", ".join(f"{name} ({count}x)" for name, count in sorted(hung.items()))
        mend = "tctl audit ls --type controller.hung; a machine without memory or processors to spare does that"
        yield Finding("hung", "warn", f"these did not answer, and were started anew: {told}", mend)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate: whose, when it ends, and for which names it is not good though people dial them."""

    of: str
    expires: datetime
    lacking: Sequence[str] = ()
    is_own: bool = True
    is_authority: bool = False


def judge_certificate(found: Certificate, now: datetime) -> Finding:
    """Judge how long it lasts and whom it convinces."""
    check, left = f"certificate of {found.of}", found.expires - now
    text = f"good until {show_instant(found.expires)}"
    if found.is_authority:
        mend = f"{RUNBOOK}, “An authority expires, or has expired”: tctl auth rotate --type tls --phase init"
        soon = _AUTHORITY_SOON
    elif found.is_own:
        mend, soon = f"the controller renews it by itself: systemctl restart {SERVICE}, and see the log", _EXPIRES_SOON
    else:
        mend, soon = "renew the files that proxy_service.https_keypairs names", _EXPIRES_SOON
    if left <= timedelta():
        return Finding(check, "fail", f"it expired at {show_instant(found.expires)}", mend)
    if found.lacking:
        again = f"systemctl restart {SERVICE} makes it anew" if found.is_own else mend
        return Finding(check, "fail", f"it is not good for {', '.join(found.lacking)}", again)
    return Finding(check, "warn" if left < soon else "ok", text, mend if left < soon else "")


@dataclass(frozen=True, slots=True)
class Name:
    """A public name: which setting has it, and the addresses it leads to; `problem` where it leads nowhere."""

    name: str
    key: str
    addresses: Sequence[str] = ()
    problem: str = ""


def judge_names(names: Sequence[Name]) -> Iterator[Finding]:
    """Judge whether what devices and people dial leads anywhere."""
    for found in names:
        if found.problem:
            mend = f"mend the name service, or {found.key}"
            yield Finding(f"name {found.name}", "fail", f"it does not resolve: {found.problem}", mend)
        else:
            yield Finding(f"name {found.name}", "ok", ", ".join(found.addresses))
    if not names:
        mend = "give proxy_service.public_addr a name of its own: then the controller can move to another host"
        yield Finding("public address", "warn", "none is configured: devices keep the address they joined by", mend)


def judge_rotation(kind: str, phase: str, changed: datetime | None, now: datetime) -> Finding:
    """Judge whether an authority's rotation stands still."""
    check = f"{kind} authority"
    if phase == "standby":
        return Finding(check, "ok", "no rotation is under way")
    since = f" since {show_instant(changed)}" if changed else ""
    is_stuck = changed is not None and now - changed > _ROTATION_LONG
    mend = f"`tctl auth rotate --type {kind}` says what it waits for and what comes next"
    return Finding(check, "warn" if is_stuck else "ok", f"its rotation is in {phase}{since}", mend if is_stuck else "")


def judge_broker(kind: str, problem: str, *, runs: bool) -> Finding:
    """Judge the broker: `problem` says what is wrong, with it while the controller runs, else with its program."""
    if problem:
        mend = f"journalctl -u {SERVICE} | grep BROKER" if runs else "apt-get install mosquitto"
        if kind == "external":
            mend = "see the broker that mqtt.url names, and `controller configure --broker mosquitto`"
        return Finding("broker", "fail", problem, mend)
    if kind == "none":
        return Finding("broker", "ok", "done without: nodes are known by their tunnels alone")
    return Finding("broker", "ok", f"{kind}, {'up' if runs else 'is there'}")


def judge_key(path: str, problem: str) -> Finding:
    """Judge the master key: `problem` says why it is none, or opens nothing."""
    if not problem:
        return Finding("master key", "ok", f"{path} opens the authorities")
    return Finding("master key", "fail", problem, f"{RUNBOOK}, “The master key is lost”")


def judge_audit(lines: int, problem: str) -> Finding:
    """Judge the audit log's chain."""
    if problem:
        mend = "somebody changed it, or the disk did: keep a copy as it is, and compare it with the last backup's"
        return Finding("audit log", "fail", problem, mend)
    return Finding("audit log", "ok", f"intact, {lines} events")


@dataclass(frozen=True, slots=True)
class Fleet:
    """The nodes, as a controller that runs knows them; `files` and `bytes` of recordings wait on them."""

    total: int
    offline: Sequence[str] = ()
    stale: int = 0
    waiting: int = 0
    files: int = 0
    bytes: int = 0


def judge_fleet(found: Fleet) -> Iterator[Finding]:
    """Judge who is there, and what waits."""
    away = len(found.offline)
    nodes = "1 node" if found.total == 1 else f"{found.total} nodes"
    text = f"{nodes}, {away} offline{': ' + _some(found.offline) if away else ''}"
    if found.waiting:
        text += f", {found.waiting} waiting for approval"
    is_grave = found.total > 0 and away * 2 > found.total
    mend = f"{RUNBOOK}, “A device does not come back”"
    if is_grave:
        mend = "more than half of the fleet: look at this host first, its network, its names and its clock"
    yield Finding("nodes", "warn" if away else "ok", text, mend if away else "")
    wait = "1 recording waits" if found.files == 1 else f"{found.files} recordings wait"
    text = f"{wait} on nodes, {format_size(found.bytes)}" if found.files else "none waits on nodes"
    is_large = found.bytes >= _BACKLOG_LARGE
    mend = "`tctl nodes ls --format json` shows on which; they come over each node's link to the machine API door"
    yield Finding("recordings", "warn" if is_large else "ok", text, mend if is_large else "")


def judge_backup(last: datetime | None, now: datetime) -> Finding:
    """Judge how much would be lost with this host."""
    mend = f"controller backup FILE, daily, and keep it on another host ({RUNBOOK})"
    if last is None:
        return Finding("backup", "warn", "none was ever made here", mend)
    age = now - last
    state: State = "warn" if age > _BACKUP_OLD else "ok"
    return Finding("backup", state, f"the last was made at {show_instant(last)}", mend if state == "warn" else "")


def judge_files(limit: int | None, nodes: int) -> Finding:
    """Judge how many files may be open; None is without a limit."""
    wanted = max(_FILES_MIN, _FILES_A_NODE * nodes)
    text = "as many open files as there are" if limit is None else f"{limit} open files at most"
    if limit is None or limit >= wanted:
        return Finding("file limit", "ok", text)
    mend = f"LimitNOFILE={wanted} or more in the unit (`ulimit -Hn` where it is started by hand)"
    return Finding("file limit", "warn", f"{text}; {nodes} nodes want {wanted}", mend)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of systemd: whether it is known, runs, and is started with the machine."""

    is_known: bool
    is_active: bool = False
    is_enabled: bool = False


def judge_units(service: Unit | None, broker: Unit | None, *, runs: bool, has_own_broker: bool) -> Iterator[Finding]:
    """Judge what systemd is to run and what not; None where there is no systemd."""
    if service is None or broker is None:
        yield Finding("service", "ok", "this host has no systemd")
        return
    yield _judge_service(service, runs=runs)
    if broker.is_active and has_own_broker:
        mend = f"systemctl disable --now {_BROKER_SERVICE}: the controller runs a broker of its own"
        yield Finding("mosquitto's own service", "warn", "it runs, and nobody here needs it", mend)


def _judge_service(service: Unit, *, runs: bool) -> Finding:
    if not service.is_known:
        return Finding("service", "ok", f"{SERVICE} is not installed: it is started by hand")
    if not service.is_active:
        beside = ", though a controller was started by hand" if runs else ""
        mend = f"systemctl enable --now {SERVICE}; systemctl status {SERVICE} says why it ended"
        return Finding("service", "warn" if runs else "fail", f"{SERVICE} does not run{beside}", mend)
    if not service.is_enabled:
        return Finding("service", "warn", f"{SERVICE} will not come back at a boot", f"systemctl enable {SERVICE}")
    return Finding("service", "ok", f"{SERVICE} runs")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
