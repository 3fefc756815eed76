"""What people are told of one another on a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from protocol.joining import JoinMode

_NAMED_MAX = 3


@dataclass(frozen=True, slots=True)
class Companion:
    """Somebody who is on the node: as which login, and since when."""

    user: str
    login: str
    since: datetime


def describe_company(others: Sequence[Companion], now: datetime) -> str:
    """Return who else is here, for a person who opens a shell; empty where nobody is."""
    first: dict[tuple[str, str], Companion] = {}
    for one in sorted(others, key=lambda other: other.since):
        first.setdefault((one.user, one.login), one)
    if not first:
        return ""
    found = list(first.values())
    said = [f"{one.user} ({one.login}, for {_span(now - one.since)})" for one in found[:_NAMED_MAX]]
    if len(found) == 1:
        one = found[0]
        return f"{one.user} is on this device too ({one.login}, for {_span(now - one.since)}); tsh sessions ls"
    if more := len(found) - len(said):
        said.append(f"{more} more")
    return f"{', '.join(said[:-1])} and {said[-1]} are on this device too; tsh sessions ls"


def _span(span: timedelta) -> str:
    """Return about how long, in the largest unit that says it."""
    seconds = max(0, int(span.total_seconds()))
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {word}"
    return f"{seconds} s"


def tell_joined(user: str, mode: JoinMode, count: int) -> str:
    """Return what all parties are told of one who has joined; `count` of them are there now."""
    return f"Skerry: {user} joined as {mode} ({count} here)"


_KEYS: dict[JoinMode, str] = {"observer": "CTRL-C leaves", "moderator": "CTRL-C leaves, t ends it for all"}


def tell_joiner(joined: str, mode: JoinMode, columns: int) -> str:
    """Return what who has joined is told in place of `joined`: how to leave, too, where they do not type.

    It takes no more lines than that, for all of them are to have the same on the screen; empty where it does not fit.
    """
    keys = _KEYS.get(mode, "")
    if not keys or len(joined) > columns:
        return ""
    return next((line for line in (f"{joined}; {keys}", f"Skerry: {keys}") if len(line) <= columns), "")


def tell_left(user: str) -> str:
    """Return what those who stay are told of one who has left."""
    return f"Skerry: {user} left"
