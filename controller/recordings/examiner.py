"""One piece of a recording, judged: what of it is good, and what that says. No files and no clock here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from controller.authority import UnopenableError
from controller.policy.upload import Rightful, believed_start, judge_header
from controller.recordings.allowance import Allowance
from controller.recordings.note import Note, Said
from protocol import limits, names
from protocol.decision import Refused
from protocol.events import Json
from protocol.recording import cast
from protocol.recording.cast import CastError, CastHeader, Event
from protocol.recording.fault import RecordingError
from protocol.recording.header import Header
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, HeaderRecord, Reader, Record
from protocol.secret import Secret

# Returns a recording's own key, None where it is not encrypted; raises `UnopenableError` where nothing will ever open
# it, and another `AuthorityError` where it cannot be opened now.
OpenKey = Callable[[Header], Secret[bytes] | None]
_PARTICIPANTS_MAX = 64
# In a line of JSON, a quotation mark within a text has a backslash before it.
_JOINED = b',"j",'
_RAW = b',{"raw":'
# Of a line that tells who joined: what comes before that sign, and from it on.
_TIME_MAX = 20
_NAME_MAX = 1000


@dataclass(frozen=True, slots=True)
class Context:
    """What a recording is judged by.

    Attributes:
        rightful: whose it must be.
        joined: when its node was enrolled, UTC.
        now: the time, UTC.
    """

    rightful: Rightful
    joined: datetime
    now: datetime


def examine(note: Note, rest: bytes, piece: bytes, context: Context, open_key: OpenKey, allowance: Allowance) -> Note:
    """Return `note` after `piece`: further on, or refused where its last good record ends.

    Args:
        note: what is known of the recording so far.
        rest: the bytes of it that were taken after its last whole record.
        piece: what follows them.
        context: what it is judged by.
        open_key: opens the recording's own key.
        allowance: how much of the content is looked into.

    Raises:
        AuthorityError: its key cannot be had now, which is the controller's fault and not the recording's.
    """
    reader = _resume(note)
    listener = _Listener(open_key, allowance)
    try:
        for record in itertools.chain(reader.feed(rest), reader.feed(piece)):
            judged = _judge(note, record, context, listener)
            if isinstance(judged, Refused):
                return note.stopped(judged)
            note = replace(judged, position=reader.position, begin=reader.begin, sealed=reader.sealed, seal=reader.seal)
    except RecordingError as err:
        return note.stopped(Refused(str(err), "U14"))
    return replace(note, offset=note.offset + len(piece))


def _resume(note: Note) -> Reader:
    if note.header is None:
        return Reader()
    return Reader.resume(
        note.header,
        note.position,
        begin=note.begin,
        sealed=note.sealed,
        last=note.seal,
        signer=note.header.signer,
    )


def _judge(note: Note, record: Record, context: Context, listener: _Listener) -> Note | Refused:
    match record:
        case HeaderRecord():
            judged = judge_header(record.header, context.rightful)
            if isinstance(judged, Refused):
                return judged
            started = believed_start(record.header.corrected, joined=context.joined, now=context.now)
            note = replace(note, header=record.header, started=started)
            refused = listener.open(record.header)
            return refused or note
        case DataRecord():
            return listener.hear(note, record)
        case _:
            return note


class _Listener:
    """Opens data records, to learn who took part and that they open at all."""

    def __init__(self, open_key: OpenKey, allowance: Allowance) -> None:
        self._open_key = open_key
        self._allowance = allowance
        self._opener: Opener | None = None

    def open(self, header: Header) -> Refused | None:
        """Make ready for the records of a recording; return why that cannot be."""
        try:
            self._opener = Opener(header, self._open_key(header))
        except (UnopenableError, RecordingError) as err:
            return Refused(str(err), "U15")
        return None

    def hear(self, note: Note, record: DataRecord) -> Note | Refused:
        """Return `note` with what `record` says."""
        if note.said.is_read and self._allowance.is_spent:
            return note  # what is in it will be seen when it is played
        if self._opener is None and note.header is not None:
            refused = self.open(note.header)
            if refused:
                return refused
        try:
            content = self._opener.content(record) if self._opener else b""
            self._allowance.spend(limits.UPLOAD_RECORD_EFFORT + len(content))
            return replace(note, said=_heard(note.said, content, self._allowance))
        except RecordingError as err:
            return Refused(str(err), "U15")
        except CastError as err:
            return Refused(f"record {record.position.number}: {err}", "U15")


def _heard(said: Said, content: bytes, allowance: Allowance) -> Said:
    if not said.is_read:
        told = next(cast.split(content))
        first = cast.parse_lines(told.partition(b"\n")[0]) if isinstance(told, bytes) else []
        said = _introduced(first[0]) if first and isinstance(first[0], CastHeader) else replace(said, is_read=True)
    if allowance.is_spent or _JOINED not in content:
        return said
    allowance.spend((content.count(_JOINED) + content.count(_RAW)) * limits.UPLOAD_SIGN_EFFORT)
    joined = itertools.islice(_joined(content), _PARTICIPANTS_MAX)
    everybody = dict.fromkeys([*said.participants, *(user for name in joined if (user := _user(name)))])
    return replace(said, participants=tuple(everybody)[:_PARTICIPANTS_MAX])


def _joined(content: bytes) -> Iterator[str]:
    """Yield who joined, by lines that are found without reading the others. Raises `CastError`."""
    for part in cast.split(content):
        if isinstance(part, bytes):  # output could read like a line
            for line in _joined_lines(part):
                yield from (event.data for event in cast.parse_lines(line) if isinstance(event, Event))


def _joined_lines(lines: bytes) -> Iterator[bytes]:
    at = lines.find(_JOINED)
    while at >= 0:
        begin = lines.rfind(b"\n", max(0, at - _TIME_MAX), at) + 1
        end = lines.find(b"\n", at, at + _NAME_MAX)
        if end >= 0 and (begin or at <= _TIME_MAX) and lines.startswith(b"[", begin):
            yield lines[begin:end]
        at = lines.find(_JOINED, at + 1)


def _introduced(first: CastHeader) -> Said:
    user = _user(first.said.get("user"))
    return Said(
        participants=(user,) if user else (),
        login=_words(first.said.get("login")),
        command=_words(first.command),
        interactive=first.said.get("interactive") is True,
        is_read=True,
    )


def _user(value: Json) -> str:
    try:
        return names.parse_user_name(value)
    except names.BadNameError:
        return ""


def _words(value: Json) -> str:
    """Return a text that can be shown and stored: half a surrogate pair, which cannot, becomes a question mark."""
    found = value if isinstance(value, str) else ""
    return found.encode(errors="replace").decode()[: limits.COMMAND_MAX_CHARS]
