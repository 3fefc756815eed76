"""One recording as a listing shows it, and as the index of its day has it: one line, so that no note need be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from controller.recordings.note import Note, read_refusal
from controller.recordings.storage import Facts
from protocol import limits
from protocol.decision import Refused
from protocol.events import Json
from protocol.fields import Fields, whole
from protocol.instants import from_milliseconds, to_milliseconds
from protocol.recordings import RecordingEntry

_LOGIN_LISTED = 64


@dataclass(frozen=True, slots=True)
class Listed:
    """One recording in a listing.

    Attributes:
        entry: its command is cut to `limits.RECORDING_COMMAND_LISTED` characters.
        grown: when the controller last took something of it, UTC.
        refused: why nothing more of it was taken, and the check that said so.
    """

    entry: RecordingEntry
    grown: datetime
    refused: Refused | None

    @classmethod
    def of(cls, note: Note) -> Listed:
        """Return a recording as it is listed. Not to be asked for where it is empty."""
        entry = note.entry()
        command, login = _cut(entry.command, limits.RECORDING_COMMAND_LISTED), _cut(entry.login, _LOGIN_LISTED)
        return cls(replace(entry, command=command, login=login), from_milliseconds(note.grown), note.refused)

    def to_facts(self) -> Facts:
        """Return the JSON object."""
        refused: Json = [self.refused.check, self.refused.reason] if self.refused else None
        return {**self.entry.to_dict(), "grown": to_milliseconds(self.grown), "refused": refused}

    @classmethod
    def from_facts(cls, facts: Facts) -> Listed:
        """Read the JSON object. Raises `MessageError`, and `OverflowError` for an instant beyond the calendar."""
        fields = Fields(facts)
        grown = from_milliseconds(fields.take("grown", whole))
        return cls(RecordingEntry.from_dict(facts), grown, fields.get("refused", read_refusal, None))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which recordings are asked for.

    Attributes:
        since: leave out what had ended before it; what still arrives may be going on. None for no bound.
        until: leave out what began then or later.
        participant: leave out those in which this person took no part.
    """

    since: datetime | None = None
    until: datetime | None = None
    participant: str | None = None

    @property
    def first_day(self) -> date | None:
        """Below which no day is looked into: only sessions of more than a week began before it. None for no bound."""
        try:
            return None if self.since is None else (self.since.astimezone(UTC) - limits.RECORDINGS_LOOK_BACK).date()
        except OverflowError:  # the calendar does not go back that far
            return None

    def takes(self, facts: Facts) -> bool:
        """Judge a line of an index, which is not read further where it is not wanted."""
        started, participants = facts["started"], facts["participants"]
        return (
            isinstance(started, int)
            and isinstance(participants, list)
            and (self.participant is None or self.participant in participants)
            and (self.since is None or _may_have_lasted(facts, started, to_milliseconds(self.since)))
            and (self.until is None or started < to_milliseconds(self.until))
        )


def is_line(facts: Facts | None) -> bool:
    """Tell whether this can be a line of an index, as far as `Wanted.takes` looks at it."""
    return facts is not None and isinstance(facts.get("started"), int) and isinstance(facts.get("participants"), list)


def _may_have_lasted(facts: Facts, started: int, since: int) -> bool:
    """Tell whether a session was going on then or later, as far as is known."""
    duration = facts.get("duration")
    ended = started + (duration if isinstance(duration, int) else 0)
    return ended >= since or facts.get("state") == "arriving"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"
