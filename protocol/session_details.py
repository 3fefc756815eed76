"""What is said over HTTPS of one session that was, or goes on: what happened in it, and what its recording is worth.

Instants are milliseconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol import names
from protocol.events import Json
from protocol.fields import Fields, flag, list_of, text, whole
from protocol.names import SessionId


@dataclass(frozen=True, slots=True)
class TimelineMoment:
    """Something that happened, in words for a person."""

    time: int
    text: str

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"time": self.time, "text": self.text}

    @classmethod
    def from_dict(cls, data: object) -> TimelineMoment:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(fields.take("time", whole), fields.take("text", text))


@dataclass(frozen=True, slots=True)
class SessionTimeline:
    """One session; what is not known is empty.

    Attributes:
        user: who began it.
        roles: which of the roles that the person held then let them in.
        remote: ``HOST:PORT`` that the person came from.
        is_live: whether it goes on.
        participants: everybody who ever took part, as far as is known.
        moments: what happened, in its order.
    """

    session: SessionId
    user: str
    login: str
    node: str
    hostname: str
    roles: tuple[str, ...]
    remote: str
    command: str
    began: int | None
    is_live: bool
    participants: tuple[str, ...]
    moments: tuple[TimelineMoment, ...]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "session": self.session,
            "user": self.user,
            "login": self.login,
            "node": self.node,
            "hostname": self.hostname,
            "roles": list(self.roles),
            "remote": self.remote,
            "command": self.command,
            "began": self.began,
            "is_live": self.is_live,
            "participants": list(self.participants),
            "moments": [moment.to_dict() for moment in self.moments],
        }

    @classmethod
    def from_dict(cls, data: object) -> SessionTimeline:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            session=fields.take("session", names.parse_session_id),
            user=fields.take("user", text),
            login=fields.take("login", text),
            node=fields.take("node", text),
            hostname=fields.take("hostname", text),
            roles=fields.take("roles", list_of(text)),
            remote=fields.take("remote", text),
            command=fields.take("command", text),
            began=fields.get("began", whole, None),
            is_live=fields.take("is_live", flag),
            participants=fields.take("participants", list_of(text)),
            moments=fields.take("moments", list_of(TimelineMoment.from_dict)),
        )


@dataclass(frozen=True, slots=True)
class RecordingCheck:
    """How far a recording was checked, and what it is worth. A long one takes several questions: ask again.

    Attributes:
        outcome: ``checking`` while it is being checked; else as `tctl recordings verify` has it.
        line: the same in a sentence; empty while it is being checked.
        done, size: bytes.
        signer_known: whether somebody else than the recording says whose key sealed it.
        records, sealed: how many records are good, and how many of them under a good seal.
        fault_at: the number of the record at which it does not fit; None where it does.
    """

    outcome: str
    line: str
    done: int
    size: int
    signer_known: bool
    records: int
    sealed: int
    fault_at: int | None

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "outcome": self.outcome,
            "line": self.line,
            "done": self.done,
            "size": self.size,
            "signer_known": self.signer_known,
            "records": self.records,
            "sealed": self.sealed,
            "fault_at": self.fault_at,
        }

    @classmethod
    def from_dict(cls, data: object) -> RecordingCheck:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            outcome=fields.take("outcome", text),
            line=fields.take("line", text),
            done=fields.take("done", whole),
            size=fields.take("size", whole),
            signer_known=fields.take("signer_known", flag),
            records=fields.take("records", whole),
            sealed=fields.take("sealed", whole),
            fault_at=fields.get("fault_at", whole, None),
        )
