"""What a person is told when a channel to a node is not opened: one text and one SSH reason code each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import assert_never

from asyncssh import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_CONNECT_FAILED

from controller.fleet import TUNNEL_ADDRESS
from controller.policy.liveness import UNSEEN, Standing
from controller.policy.route import Ambiguous, Denied, Offline, Route, Routed, Unknown
from protocol.access import AccessTarget
from protocol.durations import describe_duration
from protocol.instants import show_instant, to_milliseconds
from protocol.listing import describe_ambiguous
from protocol.messages import NodeEntry
from protocol.names import NodeId
from protocol.table import escape_text

_CANDIDATES_SHOWN = 20


def answer_for(route: Route, now: datetime, standing: Standing = UNSEEN) -> tuple[int, str] | None:
    """Return the reason code (RFC 4254 section 5.1) and the text for the person; None for a node that is reached.

    `standing` is what MQTT says of a node that holds no tunnel.
    """
    if isinstance(route, Routed):
        return None
    if isinstance(route, Unknown):
        text = f'no node "{escape_text(route.target[:100])}" in this cluster: `tsh ls` lists the nodes you may reach'
        return OPEN_CONNECT_FAILED, text
    if isinstance(route, Ambiguous):
        return OPEN_CONNECT_FAILED, ambiguity(route)
    if isinstance(route, Offline):
        return OPEN_CONNECT_FAILED, offline(route, now, standing)
    if isinstance(route, Denied):
        return OPEN_ADMINISTRATIVELY_PROHIBITED, f'access denied to node "{route.node.name}"'
    assert_never(route)


def offline(route: Offline, now: datetime, standing: Standing = UNSEEN) -> str:
    """Return the text for a node that holds no tunnel: what the proxy knows of that, and what MQTT says beside it."""
    name = f'node "{route.node.name}"'
    if standing.presence == "online":
        since = f" since {_when(route.since, now)}" if route.since else ""
        return f"{name} is online, but holds no tunnel{since}: it is reachable again as soon as its tunnel is up"
    is_told = standing.presence == "offline" and standing.since is not None
    offline_since = standing.since if is_told else route.since
    if offline_since is None:
        return f"{name} is offline: it has not connected since this controller knows it"
    why = f", {standing.reason}" if is_told and standing.reason else ""
    return f"{name} is offline since {_when(offline_since, now)}{why}: it is reachable again as soon as it connects"


def _when(since: datetime, now: datetime) -> str:
    ago = describe_duration(now - since) if (now - since).total_seconds() < 120 else ""
    return show_instant(since, seconds=True) + (f" ({ago} ago)" if ago else "")


def ambiguity(route: Ambiguous) -> str:
    """Return Teleport's text for a name that several nodes bear: the table of them and two hints.

    Which of them are offline is told beside: a device that was set up anew leaves its former node behind.
    """
    shown = route.candidates[:_CANDIDATES_SHOWN]
    text = describe_ambiguous(_entry(node, route.offline_since) for node in shown)
    more = len(route.candidates) - len(shown)
    return text + (f"\n({more} more are not shown)" if more else "")


def _entry(node: AccessTarget, offline_since: Mapping[NodeId, datetime | None]) -> NodeEntry:
    since = offline_since.get(node.node_id)
    return NodeEntry(
        node_id=node.node_id,
        name=node.name,
        address=TUNNEL_ADDRESS,
        labels=node.labels,
        status="offline" if node.node_id in offline_since else "online",
        since=to_milliseconds(since) if since else None,
    )
