"""One node as its page shows it: all that is known of it, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.authority.ssh import fingerprint
from controller.enrolment.nodes import NodeRecord
from controller.fleet import NodeView
from controller.policy.liveness import BrokerHealth
from controller.web.listing import describe_age
from protocol.durations import brief_duration
from protocol.messages import NodeStatus
from protocol.presences import Beat, NodeState
from protocol.sizes import format_size
from protocol.versions import is_older

_KIB, _MIB = 1024, 1024 * 1024
# A certificate that runs for less than this and was not renewed is worth a look.
_EXPIRES_SOON = timedelta(days=1)

# What the two facts, presence and tunnel, make together.
MEANINGS: dict[NodeStatus, str] = {
    "online": "It is heard over MQTT and holds its tunnel: sessions can be opened.",
    "tunnel down": "It is heard over MQTT, and its tunnel to the proxy is down: it is dialling. Over the local network "
    "it can be opened with tsh ssh --direct.",
    "stale": "Nobody can say for certain: what is known of it is old, or does not fit together.",
    "offline": "It is not heard of, and holds no tunnel.",
    "pending": "It has asked to join and waits for an admin's approval. It holds no certificates.",
    "unknown": "It has joined, and has not connected yet.",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the page.

    Attributes:
        moment: since when, or when; shown after the text.
        tone: stale or danger where it needs a look; empty where it is well.
    """

    term: str
    text: str
    moment: datetime | None = None
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Portrait:
    """The facts of one node, by subject."""

    meaning: str
    standing: tuple[Fact, ...]
    device: tuple[Fact, ...]
    link: tuple[Fact, ...]
    certificate: tuple[Fact, ...]


def paint(
    view: NodeView, record: NodeRecord, broker: BrokerHealth, drops: int | None, now: datetime, newest: str = ""
) -> Portrait:
    """Return what is known of a node.

    Args:
        view: the node as it is listed.
        record: what it joined as.
        broker: whether anything can be heard of it.
        drops: how often it went offline in the last day; None where nobody knows.
        now: the present, UTC.
        newest: the version of the agent that devices are installed with; empty where there is none to hand out.
    """
    return Portrait(
        meaning=MEANINGS[view.status],
        standing=tuple(_standing(view, broker, now)),
        device=tuple(_device(view, record, newest)),
        link=tuple(_link(view, drops)),
        certificate=tuple(_certificate(record, now)),
    )


def _standing(view: NodeView, broker: BrokerHealth, now: datetime) -> Iterator[Fact]:
    standing = view.standing
    why = f", {standing.reason}" if standing.reason else ""
    tone = {"online": "", "unknown": ""}.get(standing.presence, "stale")
    yield Fact("Presence", f"{standing.presence}{why}", standing.since, tone)
    yield Fact("Tunnel", view.tunnel, view.tunnel_since, "stale" if view.tunnel == "down" else "")
    if standing.last_seen is not None:
        yield Fact("Last heard of", f"{describe_age(now - standing.last_seen)} ago", standing.last_seen)
    if not broker.is_up:
        yield Fact("Broker", f"down: {broker.reason}", broker.since, "stale")


def _device(view: NodeView, record: NodeRecord, newest: str) -> Iterator[Fact]:
    state, beat = view.standing.state, view.standing.beat
    is_behind = bool(newest and view.version) and is_older(view.version, newest)
    upgrade = f", {newest} is there: edge-agent upgrade" if is_behind else ""
    yield Fact("Agent", f"{view.version or 'of an unknown version'}{upgrade}", tone="stale" if is_behind else "")
    if state is not None and state.platform:
        yield Fact("Platform", state.platform)
    if beat is not None:
        yield Fact("Running for", brief_duration(beat.uptime))
        yield from _health(beat, state)
    yield Fact("Joined" if not record.pending else "Asked to join", f"with token {record.token}", record.joined)
    if record.ephemeral is not None:
        yield Fact("Ephemeral", f"removed after {brief_duration(record.ephemeral)} offline")


def _health(beat: Beat, state: NodeState | None) -> Iterator[Fact]:
    yield Fact("Load", f"{beat.load / 100:.2f}")
    yield Fact("Memory", _free(beat.memory * _KIB, state.memory * _KIB if state else 0))
    disk = state.disk if state else 0
    yield Fact("Disk", _free(beat.disk * _MIB, disk * _MIB), tone="stale" if disk and beat.disk * 20 < disk else "")
    if beat.temperature is not None:
        yield Fact("Temperature", f"{beat.temperature / 10:.1f} °C", tone="stale" if beat.temperature >= 800 else "")


def _link(view: NodeView, drops: int | None) -> Iterator[Fact]:
    state, beat = view.standing.state, view.standing.beat
    if drops is not None:
        yield Fact("Went offline", f"{_times(drops)} in the last day", tone="stale" if drops > 10 else "")
    if beat is None:
        yield Fact("Heartbeat", "none so far")
        return
    yield Fact("Round trip", "not measured yet" if beat.round_trip is None else f"{beat.round_trip / 10:.1f} ms")
    yield Fact("Link made anew", f"{_times(beat.reconnects)} since the agent was started")
    if state is not None:
        yield Fact("Heartbeat", f"every {brief_duration(state.interval)}")
    yield Fact("Recordings waiting", _backlog(beat))
    yield Fact("Clock", _clock(beat.clock_offset), tone="stale" if abs(beat.clock_offset or 0) >= 5000 else "")
    yield Fact("Policy", f"version {beat.policy}" if beat.policy else "none yet")


def _certificate(record: NodeRecord, now: datetime) -> Iterator[Fact]:
    if not record.generation:
        yield Fact("Certificates", "none yet")
        return
    yield Fact("Generation", str(record.generation))
    if record.tls_serials:
        expires = record.tls_serials[-1].expires
        left = expires - now
        text = f"in {brief_duration(int(left.total_seconds()))}" if left > timedelta(0) else "it has expired"
        tone = "danger" if left <= timedelta(0) else ("stale" if left < _EXPIRES_SOON else "")
        yield Fact("Expires", text, expires, tone)
    yield Fact("Renewed", "" if record.renewed else "not since it joined", record.renewed)
    yield Fact("Host key", fingerprint(record.ssh_public_key))


def _times(count: int) -> str:
    return {0: "not once", 1: "once"}.get(count, f"{count} times")


def _backlog(beat: Beat) -> str:
    if not beat.spool_files:
        return "none"
    return f"{beat.spool_files} ({format_size(beat.spool_bytes)})"


def _clock(offset: int | None) -> str:
    if offset is None:
        return "not compared with the controller's yet"
    if abs(offset) < 1000:
        return "as the controller's"
    return f"{brief_duration(abs(offset) // 1000)} {'ahead of' if offset > 0 else 'behind'} the controller's"


def _free(free: int, total: int) -> str:
    return f"{format_size(free)} free" + (f" of {format_size(total)}" if total else "")
