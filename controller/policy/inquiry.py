"""What somebody wants to see of the audit log. Pure.

A line is looked at twice: at its bytes, which shows most that do not fit without reading their JSON, and then, read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from protocol.instants import format_instant

_NODE_FIELDS = ("server_id", "server_hostname", "host_id", "node_name")
_NAMED = re.compile(rb'\{"event":"([^"\\]*)","code":"([^"\\]*)"')
_TIME = b'"time":"'
_TIME_CHARS = len("2026-11-22T10:00:00.000Z")
_DEPTH_MAX = 20
# What stands in JSON as it is, of ASCII.
_AS_IT_IS = re.compile(r"[ !#-\[\]-~]+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are wanted: those to which all of this applies; what is left empty applies to any.

    Attributes:
        kinds: names, such as ``user.login``; an event needs one of these or of `codes`.
        codes: codes, such as ``T1000W``.
        user: who did it, or took part.
        node: a node's id or name.
        session: a session's id.
        since: happened then or later.
        until: happened before that.
        text: stands somewhere in it, in capitals or not.
    """

    kinds: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    user: str | None = None
    node: str | None = None
    session: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""


class Sieve:
    """Tells which lines and events are wanted."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._since = format_instant(wanted.since) if wanted.since else ""
        self._until = format_instant(wanted.until) if wanted.until else ""
        self._is_timed = bool(self._since or self._until)
        self._names = frozenset((*wanted.kinds, *wanted.codes))
        self._quoted = [_quoted(each) for each in (wanted.user, wanted.node, wanted.session) if each is not None]
        self._any_of = [_quoted(each) for each in sorted(self._names)]
        self._plain = frozenset(each.encode("utf-8", "replace") for each in self._names)
        self._text = wanted.text.casefold()
        self._part = _part_of_line(wanted.text)

    def may_pass(self, line: bytes) -> bool:
        """Tell whether a line may hold a wanted event, as far as its bytes show without being read."""
        # Loops, and no generators: a page has some 20,000 lines looked at, and this is most of what it costs.
        for part in self._quoted:
            if part not in line:
                return False
        if self._names and not self._may_be_named(line):
            return False
        if self._is_timed and not self._is_in_time(time_in(line)):
            return False
        return not self._part or self._part in line.lower()

    def may_be_in(self, block: bytes) -> bool:
        """Tell whether any of several lines may hold a wanted event: a quick look, for most blocks of a long log."""
        for part in self._quoted:
            if part not in block:
                return False
        return not self._part or self._part in block.lower()

    def _may_be_named(self, line: bytes) -> bool:
        """Tell whether a line's event may have one of the names: they stand first in what the log's writer writes."""
        found = _NAMED.match(line)
        if found is None:
            return any(part in line for part in self._any_of)
        return found[1] in self._plain or found[2] in self._plain

    def passes(self, event: Mapping[str, Any]) -> bool:
        """Tell whether an event is wanted."""
        wanted = self._wanted
        return (
            self._is_in_time(str(event.get("time", "")))
            and (not self._names or event.get("event") in wanted.kinds or event.get("code") in wanted.codes)
            and (wanted.user is None or _has_part(event, wanted.user))
            and (wanted.node is None or any(event.get(name) == wanted.node for name in _NODE_FIELDS))
            and (wanted.session is None or event.get("sid") == wanted.session)
            and (not self._text or any(self._text in text.casefold() for text in _texts(event)))
        )

    def _is_in_time(self, time: str) -> bool:
        return self._since <= time and (not self._until or time < self._until)


def _quoted(value: str) -> bytes:
    """Return a text as it stands in a line of the log (`controller.policy.chain`)."""
    return json.dumps(value).encode("ascii")


def _part_of_line(text: str) -> bytes:
    """Return what a line in small letters must have in it where its event has `text`; nothing where nobody knows."""
    if text.isascii():
        # Quotes, backslashes and control characters stand there otherwise; the longest run without any will do.
        return max(_AS_IT_IS.findall(text.lower()), key=len, default="").encode()
    # A letter beyond ASCII stands there by its number. One that is not, folded, may be a form of some that are.
    return b"" if text.casefold().isascii() else b"\\u"


def time_in(line: bytes) -> str:
    """Return when the event of a line happened: what is first called so is, for only names that are ours stand before.

    Where it says nothing of the kind, what follows finds out.
    """
    start = line.find(_TIME)
    if start < 0:
        return ""
    start += len(_TIME)
    return line[start : start + _TIME_CHARS].decode("ascii", "replace")


def _has_part(event: Mapping[str, Any], user: str) -> bool:
    taking_part = event.get("participants")
    return event.get("user") == user or (isinstance(taking_part, list) and user in taking_part)


def _texts(event: Mapping[str, Any]) -> Iterator[str]:
    for name, value in event.items():
        if name != "prev":
            yield from _texts_in(value, _DEPTH_MAX)


def _texts_in(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items() if depth else ():
            yield name
            yield from _texts_in(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value if depth else ():
            yield from _texts_in(inner, depth - 1)
    elif value is not None:
        yield str(value)
