"""Two facts, one rule: what MQTT says of a node, and whether the proxy holds its tunnel, make one status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from protocol import limits
from protocol.live_sessions import LiveSessions
from protocol.messages import NodeStatus, PresenceState, TunnelState
from protocol.presences import Beat, NodeState

# A tunnel that is still up so long after its node was given up has been asked by the kernel meanwhile, and answered.
TUNNEL_PROOF = limits.TUNNEL_TCP_KEEPALIVE + 2 * limits.LINK_SILENCE_MAX


NO_SESSIONS = LiveSessions()


@dataclass(frozen=True, slots=True)
class Standing:
    """What MQTT says of one node.

    Attributes:
        since: when `presence` became what it is; None where nobody knows.
        last_seen: when the node was last heard of, by the controller's clock.
        reason: why it is offline or stale; empty while it is online.
        state: what it said when it came online; None where it never did.
        beat: its last heartbeat.
        live: the sessions that are going on there, as it last told; none while it is offline.
    """

    presence: PresenceState
    since: datetime | None = None
    last_seen: datetime | None = None
    reason: str = ""
    state: NodeState | None = None
    beat: Beat | None = None
    live: LiveSessions = NO_SESSIONS


@dataclass(frozen=True, slots=True)
class BrokerHealth:
    """Whether what is known over MQTT is up to date.

    Attributes:
        since: when that last changed; None where nobody knows.
        reason: what is wrong; empty where all is well.
    """

    is_up: bool
    since: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TunnelFact:
    """What the proxy last stored of a node's tunnel; `since` is None where it never held one."""

    state: TunnelState = "unknown"
    since: datetime | None = None


UNSEEN = Standing("unknown")
NO_TUNNEL = TunnelFact()


def decide_status(standing: Standing, tunnel: TunnelFact, *, pending: bool, now: datetime) -> NodeStatus:
    """Return the status that people go by.

    A node that MQTT never heard of is judged by its tunnel alone: it may be older than presence, or dial a controller
    without a broker. One that MQTT gave up is offline, whatever the proxy still holds, until that tunnel has proved
    to be alive: then nobody can say for certain.
    """
    if pending:
        return "pending"
    if standing.presence == "unknown":
        return _by_tunnel(tunnel)
    if standing.presence == "online":
        return "online" if tunnel.state == "up" else "tunnel down"
    if standing.presence == "offline" and not _disproves(tunnel, standing, now):
        return "offline"
    return "stale"


def status_since(status: NodeStatus, standing: Standing, tunnel: TunnelFact) -> datetime | None:
    """Return since when a node has `status`; None where nobody knows."""
    if status == "tunnel down":
        known = [instant for instant in (tunnel.since, standing.since) if instant is not None]
        return max(known, default=None)
    return tunnel.since if standing.presence == "unknown" else standing.since


def _by_tunnel(tunnel: TunnelFact) -> NodeStatus:
    if tunnel.state == "up":
        return "online"
    return "offline" if tunnel.state == "down" else "unknown"


def _disproves(tunnel: TunnelFact, standing: Standing, now: datetime) -> bool:
    """Tell whether a tunnel shows that a node which MQTT gave up is there all the same."""
    if tunnel.state != "up" or standing.since is None:
        return False
    is_newer = tunnel.since is not None and tunnel.since > standing.since
    return is_newer or now - standing.since >= TUNNEL_PROOF
