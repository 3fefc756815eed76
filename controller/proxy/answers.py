"""What a person is told when a channel to a node is not opened: one text and one SSH reason code each."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from asyncssh import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_CONNECT_FAILED

from controller.fleet import TUNNEL_ADDRESS
from controller.policy.route import Ambiguous, Denied, Offline, Route, Routed, Unknown
from protocol.durations import describe_duration
from protocol.listing import describe_ambiguous
from protocol.messages import NodeEntry
from protocol.table import escape_text

_CANDIDATES_SHOWN = 20


def answer_for(route: Route, now: datetime) -> tuple[int, str] | None:
    """Return the reason code (RFC 4254 section 5.1) and the text for the person; None for a node that is reached."""
    if isinstance(route, Routed):
        return None
    if isinstance(route, Unknown):
        text = f'no node "{escape_text(route.target[:100])}" in this cluster: `tsh ls` lists the nodes you may reach'
        return OPEN_CONNECT_FAILED, text
    if isinstance(route, Ambiguous):
        return OPEN_CONNECT_FAILED, ambiguity(route)
    if isinstance(route, Offline):
        return OPEN_CONNECT_FAILED, offline(route, now)
    if isinstance(route, Denied):
        return OPEN_ADMINISTRATIVELY_PROHIBITED, f'access denied to node "{route.node.name}"'
    assert_never(route)


def offline(route: Offline, now: datetime) -> str:
    """Return the text for a node that holds no tunnel."""
    if route.since is None:
        return f'node "{route.node.name}" is offline: it has not connected since this controller knows it'
    ago = describe_duration(now - route.since) if (now - route.since).total_seconds() < 120 else ""
    when = f"{route.since:%Y-%m-%d %H:%M:%S} UTC" + (f" ({ago} ago)" if ago else "")
    return f'node "{route.node.name}" is offline since {when}: it is reachable again as soon as it connects'


def ambiguity(route: Ambiguous) -> str:
    """Return Teleport's text for a name that several nodes bear: the table of them and two hints."""
    shown = route.candidates[:_CANDIDATES_SHOWN]
    text = describe_ambiguous(NodeEntry(node.node_id, node.name, TUNNEL_ADDRESS, node.labels) for node in shown)
    more = len(route.candidates) - len(shown)
    return text + (f"\n({more} more are not shown)" if more else "")
