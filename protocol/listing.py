"""Nodes and recordings as people see them listed, by `tsh`, by `tctl`, and in what the proxy says of a node's name."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from protocol import names
from protocol.events import Json
from protocol.instants import format_instant, from_milliseconds
from protocol.messages import NodeEntry
from protocol.recordings import RecordingEntry
from protocol.sizes import format_size
from protocol.table import render_table


def render_nodes(
    nodes: Iterable[NodeEntry], *, with_ids: bool = False, with_status: bool = False, width: int | None = None
) -> str:
    """Return the listing of `nodes`, by name, then by id."""
    ids, statuses = ["Node ID"] if with_ids else [], ["Status"] if with_status else []
    rows = (
        [
            node.name,
            *([node.node_id] if with_ids else []),
            *([describe_status(node)] if with_status else []),
            node.address,
            names.format_labels(node.labels),
        ]
        for node in sorted(nodes, key=lambda node: (node.name, node.node_id))
    )
    return render_table(["Node Name", *ids, *statuses, "Address", "Labels"], rows, width)


def describe_status(node: NodeEntry) -> str:
    """Return a node's status for people: since when it is offline belongs to it."""
    since = _instant(node.since)
    if node.status != "offline" or since is None:
        return node.status
    return f"offline since {since.strftime('%d %b %y %H:%M UTC')}"


def node_json(node: NodeEntry) -> dict[str, Json]:
    """Return one node of a listing as people's programs read it: as it travels, but instants are RFC 3339 text."""
    since, seen = _instant(node.since), _instant(node.last_seen)
    return node.to_dict() | {
        "since": format_instant(since) if since else None,
        "last_seen": format_instant(seen) if seen else None,
    }


def _instant(milliseconds: int | None) -> datetime | None:
    """Return the moment; None where there is none, or the calendar has no such."""
    try:
        return None if milliseconds is None else from_milliseconds(milliseconds)
    except OverflowError:
        return None


def describe_ambiguous(nodes: Iterable[NodeEntry], width: int | None = None) -> str:
    """Return what a person reads who named a host that several nodes answer to."""
    return "\n".join(
        [
            "ambiguous host could match multiple nodes",
            "",
            render_nodes(nodes, with_ids=True, width=width),
            "",
            "Hint: try addressing the node by unique id (ex: tsh ssh user@node-id)",
            "Hint: use 'tsh ls -v' to list all nodes with their unique ids",
        ]
    )


def render_recordings(entries: Iterable[RecordingEntry], *, with_state: bool = False, width: int | None = None) -> str:
    """Return the listing of recordings, in their order.

    One that is not complete is marked as what it is; `with_state` has a column for that, and one for the size.
    """
    headers = ["ID", "Type", "Participants", "Hostname", "Timestamp", *(["State", "Size"] if with_state else [])]
    rows = (
        [
            entry.session,
            entry.kind,
            ", ".join(entry.participants),
            entry.hostname,
            _timestamp(entry.started) + _mark(entry, with_state=with_state),
            *([entry.state, format_size(entry.size)] if with_state else []),
        ]
        for entry in entries
    )
    return render_table(headers, rows, width)


def _mark(entry: RecordingEntry, *, with_state: bool) -> str:
    return "" if with_state or entry.state == "complete" else f" ({entry.state})"


def _timestamp(milliseconds: int) -> str:
    """Return the moment as ``Nov 26 16:36:16 UTC``; a dash where the calendar has no such moment."""
    moment = _instant(milliseconds)
    return "-" if moment is None else moment.strftime("%b %d %H:%M:%S UTC")
