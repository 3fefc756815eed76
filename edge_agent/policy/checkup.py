"""What a doctor makes of what it found on a device: each finding with its mend. Nothing here looks at anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from shlex import quote
from typing import Literal

from edge_agent.policy.checkup_facts import Facts, PortFacts, ServiceFacts, VersionFacts
from protocol import limits
from protocol.durations import describe_duration
from protocol.events import Json
from protocol.instants import show_instant
from protocol.sizes import format_size
from protocol.versions import is_older

State = Literal["ok", "warn", "fail"]
PYTHON = (3, 11)
# A clock before this was never set.
_FIRST_YEAR = 2025
# Renewal is tried for hours before anybody need look.
_OVERDUE = timedelta(days=1)
_FEW_INODES = 1000
_MANY_RESTARTS = 3
_SPOOL_SHARE = 0.8
# With this the agent ends where its settings cannot be used.
_UNUSABLE = 2
_LOG = "journalctl -u skerry-agent -n 50"
_WORDS = "--controller HOST:3080 --token TOKEN --ca-pin sha256:PIN"
# What joins; and what does on a device without systemd.
_JOIN, _JOIN_BY_HAND = f"edge-agent install {_WORDS}", f"edge-agent start {_WORDS}"
_DOCUMENTS = "/usr/share/doc/skerry-agent"
_ON_ITS_WAY = frozenset({"active", "activating", "reloading"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what.
        found: what there was.
        mend: what to do, in words; empty where nothing is to be done.
        command: the command that does it, where there is one.
    """

    check: str
    state: State
    found: str
    mend: str = ""
    command: str = ""

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "check": self.check,
            "state": self.state,
            "found": self.found,
            "mend": self.mend,
            "command": self.command,
        }


def judge(facts: Facts) -> tuple[Finding, ...]:
    """Return every finding, in the order in which a person would look."""
    return tuple(finding for check in _CHECKS for finding in check(facts))


def has_failed(findings: Iterable[Finding]) -> bool:
    """Tell whether something is wrong that has to be mended."""
    return any(finding.state == "fail" for finding in findings)


# --- this program, and what it runs by --------------------------------------------------------------------------------


def _access(facts: Facts) -> Iterator[Finding]:
    if not facts.is_root:
        yield Finding(
            "access", "warn", "not run as root: not all can be seen", "run it as root", "sudo edge-agent doctor"
        )


def _settings(facts: Facts) -> Iterator[Finding]:
    if facts.settings:
        mend, test = "mend that line; nothing starts before", "edge-agent configure --test"
        yield Finding("settings", "fail", facts.settings, mend, f"{test} {quote(facts.settings_file)}")
    elif not facts.controller:
        yield Finding(
            "settings", "warn", "no controller is named", "say which: --controller HOST:3080 --ca-pin sha256:…"
        )
    else:
        yield Finding("settings", "ok", f"the controller is {facts.controller}")


def _python(facts: Facts) -> Iterator[Finding]:
    found = "Python {}.{}.{}".format(*facts.version.python)
    if facts.version.python[:2] < PYTHON:
        yield Finding("python", "fail", found, "install Python {}.{} or newer".format(*PYTHON))
    else:
        yield Finding("python", "ok", found)


def _version(facts: Facts) -> Iterator[Finding]:
    version = facts.version
    if facts.agent.version and facts.agent.version != (version.installed or version.own):
        yield Finding(
            "version",
            "warn",
            f"{facts.agent.version} runs, and {version.installed or version.own} is installed",
            "start the service anew, when nobody is at work on this device",
            "systemctl restart skerry-agent",
        )
    else:
        yield _compare(version)
    if version.package not in {"", version.installed}:
        # After a way back by the files of a package that was not kept: dpkg's database cannot be led back without it.
        yield Finding(
            "package",
            "warn",
            f"dpkg names {version.package}, and the files are those of {version.installed}",
            f"upgrades work as ever, and the next one mends it, as does the package of {version.installed}",
            f"apt-get install --allow-downgrades ./skerry-agent_{version.installed}_ARCH.deb",
        )


def _compare(version: VersionFacts) -> Finding:
    own, controller = version.installed or version.own, version.controller
    if not controller or controller == own:
        return Finding("version", "ok", f"{own}, as the controller" if controller else own)
    if is_older(own, controller):
        mend = "upgrade this device, when it suits"
        return Finding("version", "warn", f"{own}; the controller has {controller}", mend, "edge-agent upgrade FILE")
    mend = "upgrade the controller: it comes before its devices"
    return Finding("version", "warn", f"{own} is newer than the controller's {controller}", mend)


def _upgrade(facts: Facts) -> Iterator[Finding]:
    upgrade = facts.upgrade
    step = f"from {upgrade.old} to {upgrade.new}"
    if upgrade.state == "unreadable":
        yield Finding("upgrade", "warn", upgrade.reason)
    elif upgrade.state == "running" and upgrade.is_carried:
        yield Finding("upgrade", "warn", f"one goes on, {step}", "wait for its end", "edge-agent upgrade --status")
    elif upgrade.state == "running" and upgrade.has_unit:
        mend = "see why (journalctl -u skerry-agent-upgrade), and have it go on"
        restart = "systemctl restart skerry-agent-upgrade"
        yield Finding("upgrade", "fail", f"the one {step} stands still", mend, restart)
    elif upgrade.state == "running":
        mend = "begin it again with the same file"
        yield Finding("upgrade", "fail", f"the one {step} was cut off", mend, "edge-agent upgrade FILE")
    elif upgrade.state in {"rolled_back", "refused"}:
        found = f"the last one, {step}, was {upgrade.state.replace('_', ' ')}: {upgrade.reason}"
        yield Finding("upgrade", "warn", found, "see what kept it from working", "journalctl -u skerry-agent-upgrade")
    else:
        yield Finding("upgrade", "ok", f"the last one was {step}" if upgrade.state == "done" else "none yet")


# --- the device -------------------------------------------------------------------------------------------------------


def _clock(facts: Facts) -> Iterator[Finding]:
    device, ahead = facts.clock.device, facts.clock.ahead
    says = f"{device:%Y-%m-%d %H:%M:%S} UTC"
    mend = "the agent goes by the controller's time, other programs here do not: have the clock set from the network"
    command = "timedatectl set-ntp true"
    if ahead is None:
        if device.year < _FIRST_YEAR:
            yield Finding("clock", "warn", f"it says {says}, and was never set", mend, command)
        else:
            yield Finding("clock", "ok", f"it says {says}; the controller's time is not known")
        return
    heard = "" if facts.clock.is_measured else ", as was heard last"
    if abs(ahead) < limits.CLOCK_LEEWAY:
        yield Finding("clock", "ok", f"{says}, as the controller's{heard}")
        return
    way = "ahead of" if ahead > timedelta() else "behind"
    yield Finding(
        "clock",
        "warn",
        f"it says {says}, {describe_duration(_whole(abs(ahead)))} {way} the controller's{heard}",
        mend,
        command,
    )


def _whole(span: timedelta) -> timedelta:
    """Return a span without what nobody wants to read: hours of many days, seconds of hours."""
    for unit in (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)):
        if span >= 2 * unit:
            return span // unit * unit
    return timedelta(seconds=span // timedelta(seconds=1))


def _disk(facts: Facts) -> Iterator[Finding]:
    disk = facts.disk
    room = f"{format_size(disk.free)} of {format_size(disk.size)} free under {disk.path}"
    mend, command = "make room", "du -xhd1 /var | sort -h"
    if disk.problem:
        yield Finding("disk", "warn", f"{disk.path}: {disk.problem}")
    elif disk.is_read_only:
        mend = "nothing can be kept, and no session recorded: see what the kernel says of it, and mount it for writing"
        yield Finding("disk", "fail", f"the disk under {disk.path} is read-only", mend, "dmesg --level=err,warn")
    elif disk.inodes and not disk.free_inodes:
        yield Finding(
            "disk", "fail", f"no inodes are left under {disk.path}: no file can be made", "remove small files", "df -i"
        )
    elif disk.free < disk.min_free:
        found = f"{room}, and {format_size(disk.min_free)} are to stay so: no session is recorded"
        yield Finding("disk", "fail", found, mend, command)
    elif disk.free < 2 * disk.min_free:
        yield Finding("disk", "warn", room, mend, command)
    elif disk.inodes and disk.free_inodes < _FEW_INODES:
        yield Finding(
            "disk", "warn", f"{disk.free_inodes} inodes are left under {disk.path}", "remove small files", "df -i"
        )
    else:
        yield Finding("disk", "ok", room)


def _directory(facts: Facts) -> Iterator[Finding]:
    found = facts.directory
    if found.owner is None:
        if facts.identity.standing != "hidden":
            yield Finding("data", "ok", f"{found.path} is not there yet")
    elif found.owner != found.wanted_owner:
        yield Finding(
            "data",
            "fail",
            f"{found.path} belongs to user {found.owner}, and the agent runs as {found.wanted_owner}",
            "give it to that user",
            f"chown -R {found.wanted_owner} {found.path}",
        )
    elif found.mode & 0o077 or found.loose:
        loose = ", ".join(found.loose) or f"it has the mode {found.mode:04o}"
        mend = "others may have read the keys: close it, and where they may be hostile join anew"
        yield Finding("data", "fail", f"{found.path} is open to others: {loose}", mend, f"chmod -R go= {found.path}")
    else:
        yield Finding("data", "ok", f"{found.path}, for its owner alone")


def _spool(facts: Facts) -> Iterator[Finding]:
    spool = facts.spool
    waits = f"{spool.files} recording{'' if spool.files == 1 else 's'} ({format_size(spool.size)})"
    waits += f" and {format_size(spool.events)} of events wait" if spool.events else " wait"
    if spool.problem:
        yield Finding("spool", "warn", spool.problem)
    elif spool.quota and spool.size > spool.quota * _SPOOL_SHARE:
        found = f"{waits}, of {format_size(spool.quota)} that they may take"
        mend = "they go once the controller has them: mend the way to it, or raise recording.spool_max"
        yield Finding("spool", "warn", found, mend)
    elif spool.refused:
        found = f"{waits}; the controller refused {spool.refused} more"
        yield Finding("spool", "warn", found, "its audit log says why", "tctl audit ls --type=recording.refused")
    else:
        yield Finding("spool", "ok", waits)


# --- the service ------------------------------------------------------------------------------------------------------


def _service(facts: Facts) -> Iterator[Finding]:
    service = facts.service
    if not service.has_systemd:
        yield Finding("service", "ok", "this device has no systemd")
    elif facts.identity.standing == "none" and service.active not in {*_ON_ITS_WAY, "failed"}:
        found = f"it is {service.active}" if service.load == "loaded" else "there is no unit skerry-agent"
        yield Finding("service", "ok", f"{found}: joining comes first")
    elif service.load == "not-found" or not service.load:
        yield Finding("service", "warn", "there is no unit skerry-agent", "install the agent as a service")
    elif service.active in _ON_ITS_WAY:
        yield _judge_running(service)
    elif service.active == "failed":
        is_settings = service.exit_status == _UNUSABLE
        found = "it ended, as it cannot use its settings" if is_settings else f"it has failed ({service.result})"
        yield Finding("service", "fail", found, "the log says why", _LOG)
    else:
        state: State = "fail" if facts.identity.standing == "joined" else "warn"
        yield Finding("service", state, f"it is {service.active}", "start it", "systemctl enable --now skerry-agent")


def _judge_running(service: ServiceFacts) -> Finding:
    if not service.enabled.startswith("enabled"):
        mend = "it will not come back after a restart of the device: enable it"
        return Finding("service", "warn", f"it runs, and is {service.enabled}", mend, "systemctl enable skerry-agent")
    if service.restarts >= _MANY_RESTARTS:
        found = f"it runs, and was begun anew {service.restarts} times"
        return Finding("service", "warn", found, "the log says why", _LOG)
    if not service.watchdog:
        mend = "an agent that hangs stays so: have the unit that comes with it, or WatchdogSec= in a drop-in"
        return Finding("service", "warn", "it runs, and nobody watches whether it hangs", mend)
    return Finding(
        "service", "ok", f"it runs, is enabled, and has to give a sign of life every {service.watchdog:.0f} s"
    )


def _start(service: ServiceFacts) -> str:
    return "systemctl start skerry-agent" if service.has_systemd else "edge-agent start"


def _is_told(service: ServiceFacts) -> bool:
    """Tell whether what is said of the service says of the agent, too, that it does not run."""
    return service.has_systemd and service.load not in {"", "not-found"} and service.active not in _ON_ITS_WAY


def _agent(facts: Facts) -> Iterator[Finding]:
    agent = facts.agent
    if agent.problem:
        yield Finding("agent", "warn", agent.problem, "run this as root")
    elif not agent.version and facts.identity.standing == "none":
        yield Finding("agent", "ok", "none runs on this device, which has not joined")
    elif not agent.version and _is_told(facts.service):
        yield Finding("agent", "warn", "none runs on this device, as its service does not")
    elif not agent.version:
        state: State = "fail" if facts.identity.standing == "joined" else "warn"
        mend, command = "start it; where it ends again, its log says why", _start(facts.service)
        yield Finding("agent", state, "none runs on this device", mend, command)
    elif not agent.is_online:
        mend = "it goes on trying by itself; what the ports below say is why"
        yield Finding("agent", "fail", agent.text, mend, _LOG if facts.service.has_systemd else "")
    else:
        yield Finding("agent", "ok", agent.text)


# --- who it is, and the way to the controller -------------------------------------------------------------------------


def _identity(facts: Facts) -> Iterator[Finding]:
    found = facts.identity
    if found.standing == "none":
        mend = "join, with a token that the admin makes (tctl tokens add --type=node)"
        command = _JOIN if facts.service.has_systemd else _JOIN_BY_HAND
        yield Finding("identity", "fail", "this device has not joined", mend, command)
    elif found.standing == "hidden":
        yield Finding("identity", "warn", found.text, "run this as root", "sudo edge-agent doctor")
    elif found.standing == "broken":
        mend = "have it join again with a new token"
        command = "edge-agent start --rejoin --token TOKEN --ca-pin sha256:PIN"
        yield Finding("identity", "fail", found.text, mend, command)
    else:
        who = f"{found.name} ({found.node_id}) of the cluster {found.cluster}"
        yield from _judge_node(facts, who)


def _judge_node(facts: Facts, who: str) -> Iterator[Finding]:
    found = facts.identity
    if found.standing == "pending":
        mend = "an admin lets it in"
        yield Finding("identity", "warn", f"{who} waits for approval", mend, f"tctl nodes approve {found.node_id}")
        return
    if found.lock:
        mend = "whoever made the lock removes it; where it was made as two devices are one node, see "
        mend += f"{_DOCUMENTS}/clones.md"
        yield Finding("identity", "fail", f"{who}: {found.lock}", mend, "tctl locks ls")
    else:
        yield Finding("identity", "ok", who)
    yield from _certificates(facts)


def _certificates(facts: Facts) -> Iterator[Finding]:
    found = facts.identity
    if found.valid_before is None or found.due is None:
        return
    until = f"good until {show_instant(found.valid_before)}, generation {found.generation}"
    mend = "the agent renews them by itself, by the web door's port: mend the way there, and have it run"
    if facts.now >= found.valid_before:
        again = f"{mend}; where the log says that it is refused: edge-agent start --rejoin --token TOKEN"
        since = show_instant(found.valid_before)
        yield Finding("certificates", "fail", f"expired since {since}, generation {found.generation}", again)
    elif facts.now >= found.due + _OVERDUE:
        found_text = f"{until}; to be renewed since {show_instant(found.due)}"
        log = "journalctl -u skerry-agent --grep renew" if facts.service.has_systemd else ""
        yield Finding("certificates", "warn", found_text, mend, log)
    else:
        yield Finding("certificates", "ok", f"{until}, renewed after {show_instant(found.due)}")


def _name(facts: Facts) -> Iterator[Finding]:
    if facts.name is None:
        return
    if facts.name.problem:
        mend = "see that the name is right, and that this device has a name server"
        found = f"{facts.name.host} does not resolve: {facts.name.problem}"
        yield Finding("name", "fail", found, mend, "cat /etc/resolv.conf")
    else:
        yield Finding("name", "ok", f"{facts.name.host} is {', '.join(facts.name.addresses)}")


def _ports(facts: Facts) -> Iterator[Finding]:
    yield from (_judge_port(port) for port in facts.ports)


def _judge_port(port: PortFacts) -> Finding:
    check, found = f"port {port.door}", f"{port.address}: {port.text}"
    if port.state == "ok":
        return Finding(check, "ok", found)
    host, _, number = port.address.rpartition(":")
    if port.state == "closed":
        mend = (
            f"see that the controller runs, and that nothing on the way keeps this device from TCP port {number} there"
        )
        return Finding(check, "fail", found, mend, f"curl -v telnet://{host}:{number}")
    if port.state == "untrusted":
        mend = (
            "somebody else answers in the controller's place, such as a proxy of this network's, or the controller was "
            "set up anew: compare the pin with `tctl status` on its host"
        )
        return Finding(check, "fail", found, mend)
    mend = "an admin has removed or locked this node, or its certificates are no longer taken"
    return Finding(check, "fail", found, mend, "tctl nodes ls -v; tctl locks ls")


_CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _access,
    _settings,
    _python,
    _version,
    _upgrade,
    _clock,
    _directory,
    _disk,
    _spool,
    _identity,
    _service,
    _agent,
    _name,
    _ports,
)
