"""All that is known of one node, for `tctl nodes show`: as enrolled, as its tunnel and MQTT have it, as it feels."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from controller.authority.ssh import fingerprint
from controller.enrolment.nodes import NodeRecord
from controller.fleet import TUNNEL_ADDRESS, NodeView
from controller.policy.liveness import BrokerHealth
from protocol import names
from protocol.durations import brief_duration
from protocol.events import Json
from protocol.instants import show_instant
from protocol.locks import Lock
from protocol.presences import Beat, NodeState
from protocol.sizes import format_size

_KIB, _MIB = 1024, 1024 * 1024


def as_facts(view: NodeView, record: NodeRecord, lock: Lock | None, broker: BrokerHealth) -> Iterator[tuple[str, str]]:
    """Return the node as a person reads it, title and text of each thing. `lock` is one that is in force on it."""
    yield from _record(view, record)
    yield from _presence(view, lock, broker)
    yield from _health(view)


def as_json(view: NodeView, record: NodeRecord, lock: Lock | None) -> dict[str, Json]:
    """Return what a listing does not have. The units are those of `protocol.presences`."""
    state, beat = view.standing.state, view.standing.beat
    return {
        "generation": record.generation,
        "token": record.token,
        "ephemeral": record.ephemeral,
        "host_key": fingerprint(record.ssh_public_key),
        "lock": None if lock is None else lock.lock_id,
        "heartbeat": None if beat is None else beat.to_dict(),
        "device": None
        if state is None
        else {
            "platform": state.platform,
            "memory": state.memory,
            "disk": state.disk,
            "interval": state.interval,
        },
    }


def _record(view: NodeView, record: NodeRecord) -> Iterator[tuple[str, str]]:
    yield "Node Name", view.name
    yield "Node ID", view.node_id
    yield "Labels", names.format_labels(view.labels) or "none"
    yield "Address", TUNNEL_ADDRESS
    yield "Version", view.version
    yield ("Asked" if record.pending else "Joined"), f"{_show(view.joined)}, with token {record.token}"
    yield "Host key", fingerprint(record.ssh_public_key)
    yield "Certificates", f"generation {record.generation}" if record.generation else "none yet"
    if record.ephemeral is not None:
        yield "Ephemeral", f"removed after {brief_duration(record.ephemeral)} offline"


def _presence(view: NodeView, lock: Lock | None, broker: BrokerHealth) -> Iterator[tuple[str, str]]:
    standing = view.standing
    yield "Status", view.status + (_since(view.since) if view.status == "offline" else "")
    if lock is not None:
        yield "Locked", f"{lock.lock_id}{_since(lock.created)}" + (f": {lock.message}" if lock.message else "")
    yield "Tunnel", view.tunnel + _since(view.tunnel_since)
    why = f": {standing.reason}" if standing.reason else ""
    yield "Presence", standing.presence + _since(standing.since) + why
    if standing.last_seen is not None:
        yield "Last seen", _show(standing.last_seen)
    if not broker.is_up:
        yield "Broker", f"down{_since(broker.since)}: {broker.reason}"


def _health(view: NodeView) -> Iterator[tuple[str, str]]:
    state, beat = view.standing.state, view.standing.beat
    if state is not None and state.platform:
        yield "Platform", state.platform
    if beat is None:
        yield "Heartbeat", "none so far"
        return
    if view.standing.presence != "online":
        yield "Last heartbeat", "what follows is what it told then, not what holds now"
    yield "Uptime", brief_duration(beat.uptime)
    yield "Load", f"{beat.load / 100:.2f}"
    yield "Memory", _free(beat.memory * _KIB, state.memory * _KIB if state else 0)
    yield "Disk", _free(beat.disk * _MIB, state.disk * _MIB if state else 0)
    if beat.temperature is not None:
        yield "Temperature", f"{beat.temperature / 10:.1f} °C"
    yield from _link(beat, state)
    yield "Sessions", str(beat.sessions)
    yield "Waiting recordings", f"{beat.spool_files} ({format_size(beat.spool_bytes)})"
    yield "Policy", f"version {beat.policy}" if beat.policy else "none yet"


def _link(beat: Beat, state: NodeState | None) -> Iterator[tuple[str, str]]:
    if beat.round_trip is not None:
        yield "Round trip", f"{beat.round_trip / 10:.1f} ms"
    yield "Reconnects", str(beat.reconnects)
    if state is not None:
        yield "Heartbeat", f"every {brief_duration(state.interval)}"
    yield "Clock", _clock(beat.clock_offset)


def _clock(offset: int | None) -> str:
    if offset is None:
        return "not compared with the controller's yet"
    if abs(offset) < 1000:
        return "as the controller's"
    return f"{brief_duration(abs(offset) // 1000)} {'ahead of' if offset > 0 else 'behind'} the controller's"


def _free(free: int, total: int) -> str:
    return f"{format_size(free)} free" + (f" of {format_size(total)}" if total else "")


def _since(instant: datetime | None) -> str:
    return "" if instant is None else f" since {_show(instant)}"


def _show(instant: datetime) -> str:
    return show_instant(instant, seconds=True)
