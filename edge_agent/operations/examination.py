"""Gathering all that a doctor judges."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.config import (
    ConfigError,
    Joined,
    Options,
    Settings,
    configured_data_dir,
    default_config,
    default_data_dir,
    load_settings,
)
from edge_agent.control import Control
from edge_agent.identity import DataDirectory, Identity, IdentityError
from edge_agent.operations import device, doors
from edge_agent.operations.doors import PATIENCE, Answer, Trust
from edge_agent.operations.side_by_side import run_side_by_side
from edge_agent.papers import Papers
from edge_agent.policy.checkup_facts import ClockFacts, Facts, IdentityFacts, NameFacts
from edge_agent.policy.layout import Layout
from edge_agent.policy.renewal import Held, decide_due
from edge_agent.policy.upload import RecordingSettings
from edge_agent.service import find_joined
from edge_agent.status import RUNTIME_DIRECTORY
from protocol import limits
from protocol.addresses import join_address, split_address
from protocol.locks import describe_lock
from protocol.ssh.certificate import BadCertificateError, parse_certificate_line

# Beyond what one door may take: the start of threads on a small device that is busy.
_SPARE = 2.0
# The web door is asked for the pin's authorities, for its certificate, and for what it is.
_WEB = 2 * PATIENCE
_UNNAMED = "no controller: "
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Patient:
    """Whom the doctor looks at.

    Attributes:
        settings: what the agent runs by; None where it could not.
        problem: why not.
        identity: None where the device has not joined, or nobody can tell.
        papers: what the agent goes by with that identity.
    """

    directory: Path
    controller: tuple[str, int] | None
    settings: Settings | None
    problem: str
    identity: Identity | None
    facts: IdentityFacts
    papers: Papers | None


def examine(options: Options, say: Say) -> Facts:
    """Look at this device, its agent and the way to its controller. `say` is told what is being done."""
    say("looking at this device")
    euid, layout = os.geteuid(), Layout()
    patient = _admit(options, euid)
    clock = Clock(patient.directory)
    recording = patient.settings.recording if patient.settings else RecordingSettings()
    name, answers = _look_outside(patient, options, clock, say)
    there = next((answer.there for answer in answers if answer.there), None)
    pings = [answer.ping for answer in answers if answer.ping]
    return Facts(
        now=there or clock.now(),
        is_root=euid == 0,
        controller=join_address(*patient.controller) if patient.controller else "",
        settings=patient.problem,
        settings_file=options.config or default_config(euid),
        clock=_clock_facts(clock, there),
        name=name,
        ports=tuple(answer.port for answer in answers),
        identity=patient.facts,
        directory=device.look_at_directory(patient.directory, _owner(patient.directory, euid)),
        disk=device.look_at_disk(patient.directory, recording.min_free),
        spool=device.look_at_spool(patient.directory, recording.spool_max),
        service=device.look_at_service(layout),
        agent=device.look_at_agent((patient.directory, RUNTIME_DIRECTORY)),
        version=device.look_at_versions(layout, pings[0].server_version if pings else ""),
        upgrade=device.look_at_upgrade(layout),
    )


# --- who it is --------------------------------------------------------------------------------------------------------


def _admit(options: Options, euid: int) -> Patient:
    problem, settings = "", None
    directory = _directory(options, euid)
    options = replace(options, data_dir=str(directory))
    identity, facts = _identify(directory)
    try:
        settings = load_settings(options, euid=euid, find_joined=_find_joined)
    except ConfigError as err:
        problem = "" if str(err).startswith(_UNNAMED) else str(err)
    controller = settings.controller if settings else (identity.controller if identity else None)
    papers = None
    if identity:
        papers, facts = _read_papers(identity, facts)
    return Patient(directory, controller, settings, problem, identity, facts, papers)


def _find_joined(directory: Path) -> Joined | None:
    with suppress(IdentityError):
        return find_joined(directory)
    return None


def _directory(options: Options, euid: int) -> Path:
    """Return the data directory of the agent that is meant: this user's own, or where there is none, the device's."""
    own = Path(options.data_dir or default_data_dir(euid))
    with suppress(ConfigError):
        own = configured_data_dir(options, euid)
    if euid and not options.data_dir and not own.exists():
        return Path(default_data_dir(0))
    return own


def _owner(directory: Path, euid: int) -> int:
    """Return whom the data directory should belong to."""
    return 0 if directory == Path(default_data_dir(0)) else euid


def _identify(directory: Path) -> tuple[Identity | None, IdentityFacts]:
    try:
        identity = DataDirectory(directory).load()
    except IdentityError as err:
        is_hidden = isinstance(err.__context__, PermissionError)
        return None, IdentityFacts("hidden" if is_hidden else "broken", str(err))
    if identity is None:
        return None, IdentityFacts("none")
    granted = identity.granted
    facts = IdentityFacts("pending", "", granted.name, granted.node_id, granted.cluster_name, granted.generation)
    if granted.pending:
        return identity, facts
    try:
        held = _held(identity)
    except (BadCertificateError, ValueError) as err:
        return identity, replace(facts, standing="broken", text=f"its certificates cannot be read: {err}")
    due = decide_due(held, granted.node_id)
    return identity, replace(facts, standing="joined", valid_before=held.valid_before, due=due)


def _held(identity: Identity) -> Held:
    """Return how long the host certificate is good: the other was made with it, for as long."""
    certificate = parse_certificate_line(identity.granted.host_certificate)
    return Held(certificate.valid_after, certificate.valid_before, b"", "")


def _read_papers(identity: Identity, facts: IdentityFacts) -> tuple[Papers, IdentityFacts]:
    """Return what the agent goes by, and the lock on the node itself that it knows of."""
    papers = Papers(identity)
    control = Control(papers, Clock(identity.directory), identity.directory)
    lock = control.find_lock()
    name = papers.target.name
    return papers, replace(facts, name=name, lock=describe_lock(lock) if lock else "")


# --- the way to the controller ----------------------------------------------------------------------------------------


def _look_outside(
    patient: Patient, options: Options, clock: Clock, say: Say
) -> tuple[NameFacts | None, tuple[Answer, ...]]:
    if patient.controller is None:
        return None, ()
    host, port = patient.controller
    say(f"looking for {host}")
    name = _look_up(host)
    if name.problem:
        return name, ()
    trust = _trust(patient, options, clock)
    say(f"trying {join_address(host, port)}")
    web = _try_all({"web": (host, port, partial(doors.try_web, host, port, trust))}, _WEB)[0]
    errands = _errands(patient, host, trust, web)
    if errands:
        say(f"trying {', '.join(join_address(*where[:2]) for where in errands.values())}")
    return name, (web, *_try_all(errands, PATIENCE))


def _look_up(host: str) -> NameFacts:
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return NameFacts(host, (host,))
    found = run_side_by_side({host: partial(doors.resolve, host)}, PATIENCE).get(host)
    addresses, problem = found or ((), f"no answer within {PATIENCE:.0f} s")
    return NameFacts(host, addresses, problem)


def _trust(patient: Patient, options: Options, clock: Clock) -> Trust:
    pins = patient.settings.ca_pins if patient.settings else options.ca_pins
    if patient.papers is None or patient.identity is None or patient.facts.standing != "joined":
        return Trust(pins)
    # The pin is for joining: it may be that of an authority that was replaced since.
    pins = options.ca_pins
    return Trust(pins, patient.papers.tls_authorities, patient.identity.tls_files, clock.span())


Errand = tuple[str, int, Callable[[], Answer]]


def _errands(patient: Patient, controller: str, trust: Trust, web: Answer) -> dict[str, Errand]:
    """Return how each of the other doors is tried: where the identity says it is, or the controller's word."""
    granted = patient.identity.granted if patient.identity else None
    if granted and patient.facts.standing == "joined" and patient.papers:
        cluster = granted.cluster_name
        addresses = {"tunnel": granted.tunnel_address, "api": granted.api_address, "mqtt": granted.mqtt_address}
        host_authorities = patient.papers.host_authorities
    elif web.ping:
        cluster, host_authorities = web.ping.cluster_name, ()
        addresses = {"tunnel": web.ping.tunnel_address, "api": web.ping.api_address, "mqtt": web.ping.mqtt_address}
        trust = Trust(anchors=web.anchors)
    else:
        return {}
    found: dict[str, Errand] = {}
    for door, address in addresses.items():
        if not address:
            continue
        host, port = split_address(address)
        host = host or controller
        if door == "tunnel":
            node = granted.node_id if granted else ""
            errand = partial(doors.try_tunnel, host, port, cluster, node, host_authorities, trust)
        elif door == "api":
            errand = partial(doors.try_api, host, port, f"api.{cluster}", trust)
        else:
            errand = partial(doors.try_tls, "mqtt", host, port, f"mqtt.{cluster}", trust)
        found[door] = (host, port, errand)
    return found


def _try_all(errands: dict[str, Errand], seconds: float) -> tuple[Answer, ...]:
    found = run_side_by_side({door: errand for door, (_, _, errand) in errands.items()}, seconds + _SPARE)
    return tuple(found.get(door) or doors.too_late(door, host, port) for door, (host, port, _) in errands.items())


def _clock_facts(clock: Clock, there: datetime | None) -> ClockFacts:
    here = datetime.now(UTC)
    if there:
        ahead = here - there
        return ClockFacts(here, timedelta() if abs(ahead) < limits.CLOCK_LEEWAY else ahead, is_measured=True)
    offset = clock.offset_ms
    return ClockFacts(here, None if offset is None else timedelta(milliseconds=offset))
