"""`tctl audit`: the audit log, read and checked."""

from __future__ import annotations

import difflib
import json
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import click

from controller.audit import Broken
from controller.policy.chain import GENESIS, describe
from controller.tctl.error import REFUSED
from controller.tctl.host import at_desk
from controller.tctl.setting import Settings, format_option, parsed, say, shared_options, terminal_width
from protocol import durations, events
from protocol.instants import parse_instant
from protocol.table import cut_text, display_width, escape_text

_KNOWN = frozenset(name for kind in events.KINDS for name in (kind.name, kind.code))
_DETAIL_MAX_CHARS = 120
_HEADERS = ("Time (UTC)", "Code", "Event", "User")
_CODE = max(len(kind.code) for kind in events.KINDS)
# Wide enough for every time, code and event there is: so the log can be printed as it is read, however long it is.
_WIDTHS = (24, _CODE, max(len(kind.name) for kind in events.KINDS), 16)
# On a terminal that would leave no room for the detail: times to the second, and room for most events and users.
_NARROW_WIDTHS = (19, _CODE, 17, 12)
_NARROW_BELOW = 120
# What tells most about an event comes first; any other field of its kind follows by name.
_FIRST = (
    "error",
    "name",
    "login",
    "logins",
    "node_name",
    "server_hostname",
    "target",
    "initial_command",
    "command",
    "exitCode",
    "reason",
    "token",
    "labels",
    "uses",
)
# Said elsewhere on the line, or nothing to a person.
_UNSAID = frozenset(
    {"user", "success", "check", "method", "connector", "join_method", "participants", "interactive", "client"}
)


def _parse_kinds(text: str) -> tuple[str, ...]:
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    for name in wanted:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, 3)
            hint = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise ValueError(f"there is no event {name!r}{hint}")
    return tuple(wanted)


def _parse_since(text: str) -> Any:  # noqa: ANN401 - an instant, or a span before now
    try:
        return durations.parse_duration(text)
    except durations.BadDurationError:
        pass
    try:
        return parse_instant(text)
    except ValueError:
        raise ValueError(
            f"say how long ago, such as 24h, or a time such as 2026-11-22T10:00:00Z, not {text!r}"
        ) from None


def _parse_hash(text: str) -> str:
    if len(text) != len(GENESIS) or not set(text.lower()) <= set("0123456789abcdef"):
        raise ValueError(f"a hash is {len(GENESIS)} hexadecimal digits, as this command printed it before")
    return text.lower()


@click.group(name="audit")
@shared_options
def command() -> None:
    """Read the audit log, and check that nobody changed it."""


@command.command(name="ls")
@click.option(
    "--type", "kinds", type=parsed("EVENT", _parse_kinds), default="", metavar="EVENT,…", help="Only these events."
)
@click.option("--user", metavar="USER", help="Only this user's.")
@click.option("--since", type=parsed("TIME", _parse_since), metavar="TIME", help="Only later ones: 24h, or RFC 3339.")
@click.option("--last", type=click.IntRange(min=1, max=1_000_000), metavar="N", help="Only the newest N of them.")
@format_option
@shared_options
@click.pass_obj
def list_(
    settings: Settings,
    *,
    kinds: tuple[str, ...],
    user: str | None,
    since: Any,  # noqa: ANN401 - an instant, or a span before now
    last: int | None,
    form: str,
) -> None:
    """List events, the oldest first. With --format json, one a line, as they are stored."""
    with at_desk(settings) as desk:
        earliest = since if since is None or isinstance(since, datetime) else desk.now() - since
        found: Iterable[dict[str, Any]] = desk.cluster.audit.entries(since=earliest, kinds=kinds, user=user)
        found = found if last is None else deque(found, last)
        room = terminal_width()
        if form == "text":
            widths = _widths(room)
            say(_line(_HEADERS, "Detail", widths, room))
            say(_line(["-" * width for width in widths], "-" * len("Detail"), widths, room))
        for event in found:
            say(json.dumps(event, separators=(",", ":")) if form == "json" else describe_event(event, room))


@command.command()
@click.option(
    "--noted",
    type=parsed("HASH", _parse_hash),
    metavar="HASH",
    help="A hash that this command printed before: what was there then must be there now.",
)
@shared_options
@click.pass_obj
def verify(settings: Settings, *, noted: str | None) -> int:
    """Find lines that were edited, removed, added or moved.

    What it cannot find by itself is that the newest lines were cut off: note the hash it prints somewhere else,
    and give it again as --noted.
    """
    with at_desk(settings) as desk:
        result = desk.cluster.audit.verify(noted=noted, opening=events.CLUSTER_CREATE)
    say(escape_text(describe(result)))
    return REFUSED if isinstance(result, Broken) else 0


def describe_event(event: Mapping[str, Any], room: int | None = None) -> str:
    """Return one line for a person. Nothing in it can steer a terminal, whoever the event came from.

    Args:
        event: as it stands in the log.
        room: how wide the terminal is, in cells: the line is cut to it. None where there is none.
    """
    widths = _widths(room)
    cells = [_text(event.get(name, "")) for name in ("time", "code", "event", "user")]
    cells[0] = cells[0][: widths[0]]
    return _line(cells, describe_detail(event, None if room else _DETAIL_MAX_CHARS), widths, room)


def describe_detail(event: Mapping[str, Any], most: int | None = _DETAIL_MAX_CHARS) -> str:
    """Return what makes this event different from others of its kind: ``name=joe logins=root,pi``.

    It is cut to `most` characters; not at all where that is None.
    """
    kind = events.BY_CODE.get(_text(event.get("code")))
    own = kind.fields | kind.optional if kind else event.keys() - events.COMMON_FIELDS
    ordered = [name for name in _FIRST if name in own] + sorted(own - set(_FIRST) - _UNSAID)
    parts = [
        f"{escape_text(name)}={_text(event[name])}" for name in ordered if event.get(name) not in (None, "", [], {})
    ]
    detail = " ".join(parts)
    return detail if most is None or len(detail) <= most else detail[: most - 1] + "…"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    if isinstance(value, dict):
        return ",".join(f"{_text(key)}={_text(item)}" for key, item in value.items())
    text = str(value).lower() if isinstance(value, bool) else escape_text(str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text else text


def _widths(room: int | None) -> tuple[int, ...]:
    return _NARROW_WIDTHS if room is not None and room < _NARROW_BELOW else _WIDTHS


def _line(cells: Iterable[str], detail: str, widths: Iterable[int], room: int | None) -> str:
    padded = [cell + " " * (width - display_width(cell)) for cell, width in zip(cells, widths, strict=True)]
    line = " ".join([*padded, detail]).rstrip()
    return line if room is None else cut_text(line, room)
