"""The content of a recording: asciicast v2 (docs.asciinema.org/manual/asciicast/v2), one JSON line an event.

The first line is asciicast's header with a member `skerry` of our own. Of the event codes, ``o`` (output), ``i``
(input), ``r`` (resize) and ``m`` (marker) are asciicast's; our own are ``e`` (output to standard error, where there is
no terminal), ``b`` (output that was no text, see `protocol.recording.binary`), ``j`` and ``l`` (a person joined, or
left) and ``x`` (the program ended: its exit status, or ``SIG`` and a name). `to_cast` turns ours into what every player
of asciicast knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from typing import Any, Literal, NoReturn, get_args

from protocol.events import Json
from protocol.recording import raw
from protocol.recording.binary import parse_summary
from protocol.recording.raw import Raw, RawError

Code = Literal["o", "e", "i", "r", "m", "b", "j", "l", "x"]
_CODES = frozenset(get_args(Code))
# Half a surrogate pair is no Unicode: a question mark stands for it.
_SURROGATES = "replace"
_TIME_END = 10**11  # seconds; times are told exactly up to there
_TIMESTAMP_END = 253_402_300_800  # the year 10000
_SIZE_END = 1 << 16
_DEPTH_MAX = 8
_NESTING = (dict, list, tuple)
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
# A size that a peer may have asked for, and no terminal can have.
_ANY_SIZE = re.compile(r"([0-9]{1,20})x([0-9]{1,20})", re.ASCII)


class CastError(ValueError):
    """A line is no event."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        time: milliseconds since the session's start.
        code: what happened.
        data: the text that belongs to it.
    """

    time: int
    code: Code
    data: str

    def line(self) -> bytes:
        """Return the event as one line of JSON, which `parse_lines` reads.

        A time or a size that is none becomes the nearest that is one. Raises `ValueError` for another text than a
        size, or a summary of what was no text, where one of these belongs.
        """
        data = self.data
        if self.code == "r":
            found = _ANY_SIZE.fullmatch(data)
            if found is None:
                raise ValueError("a size that is none")
            data = f"{_nearest(int(found[1]), _SIZE_END)}x{_nearest(int(found[2]), _SIZE_END)}"
        elif self.code == "b":
            parse_summary(data)
        return line_of(self.time, self.code, encode_basestring(data).encode(errors=_SURROGATES))


@dataclass(frozen=True, slots=True)
class CastHeader:
    """The first line.

    Attributes:
        timestamp: when the session began by the controller's clock as the device knew it, seconds since 1970.
        command: the command line; empty for a shell.
        env: TERM and SHELL.
        said: what is our own: session, user, login, node, cluster, whether it was interactive.
    """

    width: int
    height: int
    timestamp: int
    command: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, Json] = field(default_factory=dict)

    def line(self) -> bytes:
        """Return it as one line of JSON, which `parse_lines` reads.

        A size or a time that is none becomes the nearest that is one. Raises `ValueError` where `said` is more deeply
        nested than is read, or has a number that JSON does not have.
        """
        if not _is_shallow(dict(self.said), _DEPTH_MAX):
            raise ValueError("more within more than is taken")
        fields: dict[str, Any] = {
            "version": 2,
            "width": _nearest(self.width, _SIZE_END),
            "height": _nearest(self.height, _SIZE_END),
            "timestamp": _nearest(self.timestamp, _TIMESTAMP_END),
        }
        if self.command:
            fields["command"] = self.command
        fields |= {"env": dict(self.env), "skerry": dict(self.said)}
        line = json.dumps(fields, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return line.encode(errors=_SURROGATES) + b"\n"


def line_of(time: int, code: Code, value: bytes) -> bytes:
    """Return the line of an event whose data are `value`, a value of JSON."""
    return b'[%d.%03d,"%b",%b]\n' % (*divmod(_nearest(time, _TIME_END * 1000), 1000), code.encode(), value)


def parse_lines(content: bytes) -> list[CastHeader | Event]:
    """Read a data record's content: what `CastHeader.line`, `Event.line` and `Transcript` made. Raises `CastError`."""
    found: list[CastHeader | Event] = []
    for part in split(content):
        if isinstance(part, Raw):
            found.append(Event(part.time, part.stream, part.text))
        else:
            found += [_parse_line(line) for line in part.split(b"\n") if line]
    if any(isinstance(one, CastHeader) for one in found[1:]):
        raise CastError("a header among the events")
    return found


def split(content: bytes) -> Iterator[bytes | Raw]:
    """Yield whole lines, some at a time, and raw output, in their order. Raises `CastError`."""
    try:
        yield from raw.split(content)
    except RawError as err:
        raise CastError(str(err)) from None


def plain_lines(content: bytes) -> bytes:
    """Return a data record's content as asciicast has it: what was raw becomes a line as well. Raises `CastError`."""
    parts = split(content)
    return b"".join(
        Event(part.time, part.stream, part.text).line() if isinstance(part, Raw) else part for part in parts
    )


def parse_size(text: str) -> tuple[int, int]:
    """Return columns and rows of a resize's ``COLUMNSxROWS``. Raises `CastError`."""
    found = _SIZE.fullmatch(text)
    if found is None or max(size := (int(found[1]), int(found[2]))) >= _SIZE_END:
        raise CastError("a size that is none")
    return size


def _parse_line(line: bytes) -> CastHeader | Event:
    try:
        value = json.loads(line.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise CastError("a line that is not JSON") from None
    if isinstance(value, dict):
        return _parse_header(value)
    match value:
        case [int() | float() as time, str(code), str(data)] if code in _CODES and _is_within(time, _TIME_END):
            event = Event(round(time * 1000), code, data)  # type: ignore[arg-type]  # a code that is known
        case _:
            raise CastError("a line that is no event")
    _judge_data(event)
    _judge_text(event.data)
    return event


def _judge_data(event: Event) -> None:
    if event.code == "r":
        parse_size(event.data)
    if event.code == "b":
        try:
            parse_summary(event.data)
        except ValueError as err:
            raise CastError(str(err)) from None


def _parse_header(value: dict[str, Any]) -> CastHeader:
    match value:
        case {"version": 2, "width": int(width), "height": int(height), "timestamp": int(timestamp)}:
            command, env, said = value.get("command", ""), value.get("env", {}), value.get("skerry", {})
        case _:
            raise CastError("a first line that is no asciicast header")
    sound = _is_within(width, _SIZE_END) and _is_within(height, _SIZE_END) and _is_within(timestamp, _TIMESTAMP_END)
    if not sound or not isinstance(command, str) or not isinstance(env, dict) or not isinstance(said, dict):
        raise CastError("a first line that is no asciicast header")
    if not _is_shallow(said, _DEPTH_MAX):  # what one reader can just follow would be too deep for the next
        raise CastError("a first line with more within more than is taken")
    texts = {key: text for key, text in env.items() if isinstance(text, str)}
    _judge_text(json.dumps([command, texts, said], ensure_ascii=False))
    return CastHeader(width, height, timestamp, command, texts, said)


def _is_shallow(value: object, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        within = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, _NESTING)]
        level = [one for each in within for one in each]
        if not level:
            return True
    return False


def _nearest(number: int, end: int) -> int:
    return min(max(number, 0), end - 1)


def _is_within(number: float, end: int) -> bool:
    return not isinstance(number, bool) and 0 <= number < end


def _no_number(_: str) -> NoReturn:
    raise CastError("a number that JSON does not have")


def _judge_text(text: str) -> None:
    """Refuse half a surrogate pair: it is text to JSON and to Python, but can be neither shown nor stored."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CastError("a text that is no Unicode") from None


def to_cast(event: Event) -> Event | None:
    """Return `event` as any player of asciicast v2 knows it; None for what such a player has no use for."""
    match event.code:
        case "e":
            return Event(event.time, "o", event.data)
        case "b":
            return Event(event.time, "m", parse_summary(event.data).describe())
        case "j":
            return Event(event.time, "m", f"{event.data} joined")
        case "l":
            return Event(event.time, "m", f"{event.data} left")
        case "x":
            return None
        case _:
            return event
