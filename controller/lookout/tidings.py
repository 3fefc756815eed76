"""What the audit log is told of a node that came or went."""

from __future__ import annotations

from controller.enrolment.nodes import NodeRecord
from controller.presence.roster import Event
from protocol import events
from protocol.events import EventKind, Json
from protocol.instants import format_instant


def describe(event: Event, node: NodeRecord) -> tuple[EventKind, dict[str, Json]]:
    """Return the kind of audit event and its fields."""
    fields: dict[str, Json] = {"server_id": node.node_id, "server_hostname": node.name}
    if event.count:
        fields["count"] = event.count
    standing = event.standing
    if event.word == "online":
        if event.before is not None:
            fields["offline_since"] = format_instant(event.before)
        fields["version"] = standing.state.version if standing.state else node.version
        return events.NODE_ONLINE, fields
    fields["reason"] = standing.reason or "its link was lost"
    if standing.last_seen is not None:
        fields["last_seen"] = format_instant(standing.last_seen)
    return events.NODE_OFFLINE, fields
