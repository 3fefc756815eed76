"""The audit log's lines: how an event becomes one, and whether a sequence of them was tampered with. Pure.

A line is one JSON object in ASCII. Its ``prev`` is the SHA-256, in hex, of the line before it (without the
line's end), across files too; the first line of all has `GENESIS`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from protocol import limits
from protocol.events import AUDIT_RECOVERED, COMMON_FIELDS, EventKind, Json, check_event, clip
from protocol.instants import format_instant
from protocol.names import ClusterName

GENESIS = "0" * 64
# What is left of texts and lists where a whole event would be longer than a line may be.
_TIGHTER = ((1024, 200), (256, 50), (64, 10))


class LineTooLongError(ValueError):
    """An event does not fit into a line, however much its values are cut."""


@dataclass(frozen=True, slots=True)
class Intact:
    """Every line follows from the one before it.

    Attributes:
        count: how many events.
        last_hash: the hash of the newest line, `GENESIS` where there is none. Noted elsewhere, it proves later
            that nothing up to it was cut off or changed.
        recovered: how often a crash tore a line (`audit.recovered`). Each time an event may be missing that
            nobody was told of as written.
        torn: bytes of an unfinished line at the very end; the next write will end it and say so.
    """

    count: int
    last_hash: str
    recovered: int = 0
    torn: int = 0


@dataclass(frozen=True, slots=True)
class Broken:
    """The log was changed: `problem` says what does not fit. `line` counts from 1 in `file`, "" for the whole log."""

    file: str
    line: int
    problem: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it was read, and where it stood. `data` is without the line's end; `whole` tells if it had one."""

    file: str
    number: int
    data: bytes
    whole: bool = True


def line_hash(line: bytes) -> str:
    """Return the hash that the next line will carry. `line` has no line's end."""
    return hashlib.sha256(line).hexdigest()


def compose(
    kind: EventKind, fields: Mapping[str, Json], *, cluster: ClusterName, time: datetime, uid: str
) -> dict[str, Json]:
    """Return the event, all but ``prev``.

    Raises:
        BadEventError: the fields are not those of `kind`.
    """
    check_event(kind, fields)
    common: dict[str, Json] = {
        "event": kind.name,
        "code": kind.code,
        "time": format_instant(time),
        "uid": uid,
        "ei": 0,
        "cluster_name": cluster,
    }
    own = {name: _finite(clip(value)) for name, value in fields.items() if name not in COMMON_FIELDS}
    return common | own


def _finite(value: Json) -> Json:
    """JSON knows no NaN and no infinity, though Python reads them from peers: they become texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def encode(event: Mapping[str, Json], previous: str) -> tuple[dict[str, Json], bytes]:
    """Return the event as written and its line, without a line's end, that follows the line hashed `previous`.

    Values are cut further where the line would be longer than `limits.AUDIT_LINE_MAX`.

    Raises:
        LineTooLongError: even so it does not fit.
    """
    written = {**event, "prev": previous}
    line = _dump(written)
    for chars, items in _TIGHTER:
        if len(line) <= limits.AUDIT_LINE_MAX:
            break
        written = {**{name: _shorten(value, chars, items) for name, value in event.items()}, "prev": previous}
        line = _dump(written)
    if len(line) > limits.AUDIT_LINE_MAX:
        raise LineTooLongError(f"the event {event.get('event')} does not fit into {limits.AUDIT_LINE_MAX} bytes")
    return written, line


def _dump(event: Mapping[str, Json]) -> bytes:
    return json.dumps(event, separators=(",", ":"), allow_nan=False).encode("ascii")


def _shorten(value: Json, chars: int, items: int) -> Json:
    if isinstance(value, str) and len(value) > chars:
        return value[:chars] + "…"
    if isinstance(value, list):
        return [_shorten(item, chars, items) for item in value[:items]]
    if isinstance(value, dict):
        return {key[:chars]: _shorten(item, chars, items) for key, item in list(value.items())[:items]}
    return value


def check_chain(
    lines: Iterable[Line], *, noted: str | None = None, opening: EventKind | None = None
) -> Intact | Broken:
    """Judge lines in the order of the log, the oldest first.

    Args:
        lines: all of them.
        noted: a hash that one of them must have.
        opening: the kind of event that every such log begins with; without it a log may also be empty.
    """
    check = ChainCheck(noted, opening)
    for line in lines:
        problem = check.take(line)
        if problem is not None:
            return Broken(line.file, line.number, problem)
    return check.end()


class ChainCheck:
    """The state between two lines: the last line, its hash, and the hash before it. See `check_chain`."""

    def __init__(self, noted: str | None = None, opening: EventKind | None = None) -> None:
        self._opening = opening
        self._last = Line("", 0, b"")
        self._hash = GENESIS
        self._hash_before = GENESIS
        self._torn = False
        self._count = 0
        self._recovered = 0
        self._noted = noted
        self._found = noted in {None, GENESIS}

    @property
    def count(self) -> int:
        """How many events there were."""
        return self._count

    @property
    def last_hash(self) -> str:
        """The hash of the last line."""
        return self._hash

    @property
    def recovered(self) -> int:
        """How often a crash tore a line."""
        return self._recovered

    def take(self, line: Line) -> str | None:
        """Return what is wrong with the next line, or None."""
        if len(line.data) > limits.AUDIT_LINE_MAX:
            return "it is longer than any line that is written here"
        if not self._last.whole:
            return f"line {self._last.number} of {self._last.file} before it has no end"
        if not line.whole:
            self._last = line
            return None
        event = parse_line(line.data)
        problem = self._judge_event(event, line) if event is not None else self._judge_torn()
        self._torn = event is None
        self._count += event is not None
        self._hash_before, self._hash, self._last = self._hash, line_hash(line.data), line
        self._found = self._found or self._hash == self._noted
        return problem

    def _judge_torn(self) -> str | None:
        return "it is not an event" if self._torn else None

    def _judge_event(self, event: Mapping[str, Any], line: Line) -> str | None:
        if event.get("prev") != self._hash:
            return self._misfit(line)
        recovered = event.get("code") == AUDIT_RECOVERED.code
        if self._opening is not None and not recovered:
            opening, self._opening = self._opening, None
            if event.get("code") != opening.code:
                return f"the log does not begin with {opening.name}: it was emptied or removed, and begun anew"
        self._recovered += recovered
        if self._torn and not recovered:
            return f"line {self._last.number} before it is not an event"
        if recovered and event.get("after") != self._hash_before:
            return f"it does not follow line {line.number - 2}: that line was changed, or lines were removed or added"
        return None

    def _misfit(self, line: Line) -> str:
        if not self._last.file:
            return "it is not the first line of the log: older lines or files were removed, or it was changed"
        if line.file != self._last.file:
            return f"it does not follow the end of {self._last.file}: lines or files were removed, added or changed"
        return f"it does not follow line {line.number - 1}: one of the two was changed, or lines were removed or added"

    def end(self) -> Intact | Broken:
        """Return the verdict after the last line."""
        if self._torn:
            return Broken(self._last.file, self._last.number, "it is not an event")
        if self._opening is not None:
            return Broken(self._last.file, self._last.number, "no events: the log was emptied or removed")
        if not self._found:
            problem = f"no line has the noted hash {str(self._noted)[:64]}: the newest lines were cut off or changed"
            return Broken(self._last.file, self._last.number, problem)
        return Intact(self._count, self._hash, self._recovered, 0 if self._last.whole else len(self._last.data))


def parse_line(data: bytes) -> dict[str, Any] | None:
    """Return the event in a line, or None where it is none."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def describe(result: Intact | Broken) -> str:
    """Return the result of a check in one line, as `tctl audit verify` prints it."""
    if isinstance(result, Broken):
        place = f"{result.file}, line {result.line}: " if result.file else ""
        return f"The audit log was CHANGED: {place}{result.problem}"
    notes = f"; {result.recovered} line(s) torn by a crash" if result.recovered else ""
    notes += f"; {result.torn} byte(s) of an unfinished line at the end" if result.torn else ""
    return f"The audit log is intact: {result.count} event(s), last hash {result.last_hash}{notes}"
