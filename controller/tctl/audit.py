"""`tctl audit`: the audit log, read and checked."""

from __future__ import annotations

import difflib
import json
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import click

from controller.audit import Broken
from controller.policy.chain import GENESIS, describe
from controller.tctl.error import REFUSED
from controller.tctl.host import at_desk
from controller.tctl.period import before
from controller.tctl.setting import Settings, format_option, parsed, say, shared_options
from protocol import durations, events
from protocol.console import terminal_width
from protocol.instants import parse_instant
from protocol.table import escape_text, render_row

_KNOWN = frozenset(name for kind in events.KINDS for name in (kind.name, kind.code))
_HEADERS = ("Time (UTC)", "Code", "Event", "User", "Detail")
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

_LIMIT_MAX = 1_000_000


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


def _parse_limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 7 and 1 <= int(text) <= _LIMIT_MAX):
        raise ValueError(f"say a whole number from 1 to {_LIMIT_MAX}, not {text!r}")
    return int(text)


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
@click.option(
    "--last",
    type=parsed("TIME", durations.parse_duration),
    metavar="TIME",
    help="Only those within this time: 5h30m, 7d.",
)
@click.option("--limit", type=parsed("N", _parse_limit), metavar="N", help="Only the newest N of them.")
@format_option
@shared_options
@click.pass_obj
def list_(  # noqa: PLR0913 - one parameter a flag
    settings: Settings,
    *,
    kinds: tuple[str, ...],
    user: str | None,
    since: Any,  # noqa: ANN401 - an instant, or a span before now
    last: timedelta | None,
    limit: int | None,
    form: str,
) -> None:
    """List events, the oldest first. With --format json, one a line, as they are stored."""
    if since is not None and last is not None:
        raise click.UsageError("--last and --since say the same in two ways: give one of them")
    with at_desk(settings) as desk:
        span = since or last
        earliest = before(desk.now(), span) if isinstance(span, timedelta) else span
        found: Iterable[dict[str, Any]] = desk.cluster.audit.entries(since=earliest, kinds=kinds, user=user)
        found = found if limit is None else deque(found, limit)
        room = terminal_width()
        if form == "text":
            widths = _widths(room)
            say(render_row(_HEADERS, widths, room))
            say(render_row(["-" * width for width in (*widths, len(_HEADERS[-1]))], widths, room))
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
        room: how wide the terminal is, in cells: the line is cut to it. None where there is none: all is there.
    """
    widths = _widths(room)
    time, *cells = [_text(event.get(name, "")) for name in ("time", "code", "event", "user")]
    return render_row([time[: widths[0]], *cells, describe_detail(event)], widths, room)


def describe_detail(event: Mapping[str, Any]) -> str:
    """Return what makes this event different from others of its kind: ``name=joe logins=root,pi``."""
    kind = events.BY_CODE.get(_text(event.get("code")))
    own = kind.fields | kind.optional if kind else event.keys() - events.COMMON_FIELDS
    ordered = [name for name in _FIRST if name in own] + sorted(own - set(_FIRST) - _UNSAID)
    return " ".join(
        f"{escape_text(name)}={_text(event[name])}" for name in ordered if event.get(name) not in (None, "", [], {})
    )


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    if isinstance(value, dict):
        return ",".join(f"{_text(key)}={_text(item)}" for key, item in value.items())
    text = str(value).lower() if isinstance(value, bool) else escape_text(str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text else text


def _widths(room: int | None) -> tuple[int, ...]:
    return _NARROW_WIDTHS if room is not None and room < _NARROW_BELOW else _WIDTHS
