"""Nodes, sessions and recordings as people see them listed: by `tsh`, `tctl`, and the proxy where names are amiss."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from protocol import names
from protocol.durations import describe_duration
from protocol.events import Json
from protocol.instants import format_instant, from_milliseconds, show_instant
from protocol.messages import NodeEntry
from protocol.recordings import RecordingEntry
from protocol.sizes import format_size
from protocol.table import cut_text, escape_text, render_table

if TYPE_CHECKING:  # `tsh ls` needs none of it
    from protocol.fleet_sessions import SessionEntry
    from protocol.live_sessions import LiveParty
    from protocol.people import FactorEntry

_COMMAND_WIDTH = 24
# In a terminal that is narrower, sessions go by the beginning of their ids, where those differ: it names them as well.
_ID_WHOLE_FROM, _ID_WIDTH = 110, 13
_UNITS = tuple(timedelta(**{unit: 1}) for unit in ("days", "hours", "minutes"))


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
    return f"offline since {show_instant(since)}"


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
            render_nodes(nodes, with_ids=True, with_status=True, width=width),
            "",
            "Hint: try addressing the node by unique id (ex: tsh ssh user@node-id)",
            "Hint: use 'tsh ls -v' to list all nodes with their unique ids",
        ]
    )


def render_recordings(entries: Iterable[RecordingEntry], *, with_state: bool = False, width: int | None = None) -> str:
    """Return the listing of recordings, in their order.

    One that is not complete is marked as what it is; `with_state` has a column for that, and one for the size.
    `tsh play` takes the ids as they are shown; `tctl` takes whole ones, which `with_state` has.
    """
    headers = ["ID", "Type", "Participants", "Hostname", "Timestamp", *(["State", "Size"] if with_state else [])]
    found = tuple(entries)
    cut = None if with_state else _id_width((entry.session for entry in found), width)
    rows = (
        [
            entry.session[:cut],
            entry.kind,
            ", ".join(entry.participants),
            entry.hostname,
            _timestamp(entry.started) + _mark(entry, with_state=with_state),
            *([entry.state, format_size(entry.size)] if with_state else []),
        ]
        for entry in found
    )
    return render_table(headers, rows, width)


def _id_width(sessions: Iterable[str], width: int | None) -> int | None:
    """Return how many characters of the sessions' ids are shown, in a terminal so wide; None for all of them."""
    if width is None or width >= _ID_WHOLE_FROM:
        return None
    whole = tuple(sessions)
    return _ID_WIDTH if len({session[:_ID_WIDTH] for session in whole}) == len(whole) else None


def _mark(entry: RecordingEntry, *, with_state: bool) -> str:
    return "" if with_state or entry.state == "complete" else f" ({entry.state})"


def _timestamp(milliseconds: int) -> str:
    """Return the moment as Teleport's listing has it, ``Nov 26 16:36:16 UTC``; a dash where the calendar has none."""
    moment = _instant(milliseconds)
    return "-" if moment is None else moment.strftime("%b %d %H:%M:%S UTC")


def render_sessions(entries: Iterable[SessionEntry], now: datetime, *, width: int | None = None) -> str:
    """Return the listing of sessions that are going on, in their order; `tsh join` takes the ids as they are shown."""
    found = tuple(entries)
    cut = _id_width((entry.live.session for entry in found), width)
    rows = (
        [
            entry.live.session[:cut],
            "ssh",
            describe_age(entry.live.started, now),
            entry.name,
            entry.live.login,
            (entry.live.command if width is None else cut_text(escape_text(entry.live.command), _COMMAND_WIDTH)) or "-",
            ", ".join(f"{party.user} ({party.mode})" for party in entry.live.parties) or "-",
        ]
        for entry in found
    )
    return render_table(["ID", "Kind", "Created", "Hostname", "Login", "Command", "Participants"], rows, width)


def session_json(entry: SessionEntry) -> dict[str, Json]:
    """Return one live session as people's programs read it: as it travels, but instants are RFC 3339 text."""
    return entry.to_dict() | {
        "started": _instant_text(entry.live.started),
        "parties": [_party_json(party) for party in entry.live.parties],
    }


def _party_json(party: LiveParty) -> dict[str, Json]:
    return party.to_dict() | {"since": _instant_text(party.since)}


def _instant_text(milliseconds: int) -> str | None:
    moment = _instant(milliseconds)
    return None if moment is None else format_instant(moment)


def describe_age(milliseconds: int, now: datetime) -> str:
    """Return how long ago a moment was: ``5 minutes ago``, in the largest unit that is full; a dash for no moment."""
    moment = _instant(milliseconds)
    if moment is None:
        return "-"
    age = now - moment
    unit = next((unit for unit in _UNITS if age >= unit), None)
    return "just now" if unit is None else f"{describe_duration(age // unit * unit)} ago"


def render_factors(entries: Iterable[FactorEntry], *, with_ids: bool = False, width: int | None = None) -> str:
    """Return the listing of a person's second factors, in their order."""
    headers = ["Name", "Type", *(["ID"] if with_ids else []), "Added at"]
    rows = ([entry.name, "TOTP", *([entry.factor_id] if with_ids else []), _date(entry.added)] for entry in entries)
    return render_table(headers, rows, width)


def factor_json(entry: FactorEntry) -> dict[str, Json]:
    """Return one second factor as people's programs read it: as it travels, but instants are RFC 3339 text."""
    return entry.to_dict() | {"added": _instant_text(entry.added)}


def _date(milliseconds: int) -> str:
    moment = _instant(milliseconds)
    return "-" if moment is None else show_instant(moment)
