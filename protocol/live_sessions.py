"""The sessions that are open on a node at this moment, and who takes part: what the node tells over MQTT.

Told whole whenever something of it changes (``n/ID/l``, retained): while nobody works on a device, nothing is sent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from protocol import limits, names
from protocol.events import Json
from protocol.fields import Fields, MessageError, decode, flag, list_of, text, whole
from protocol.joining import JoinMode, parse_join_mode
from protocol.names import Login, SessionId, UserName

_VERSION = 1
_ADDRESS_MAX = 64
_SIDE_MAX = 10_000
# 9999-12-31: the calendar of whoever shows it ends there.
_INSTANT_MAX = 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class LiveParty:
    """One person who takes part.

    Attributes:
        mode: what they may do; who began the session is a peer.
        since: when they came, milliseconds since 1970 by the controller's time.
        remote: ``HOST:PORT`` they came from, as the node knows it.
    """

    user: UserName
    mode: JoinMode
    since: int
    remote: str = ""

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"user": self.user, "mode": self.mode, "since": self.since, "remote": self.remote}

    @classmethod
    def from_dict(cls, data: object) -> LiveParty:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            user=fields.take("user", names.parse_user_name),
            mode=fields.take("mode", parse_join_mode),
            since=fields.take("since", _instant),
            remote=fields.get("remote", _printable, "")[:_ADDRESS_MAX],
        )


@dataclass(frozen=True, slots=True)
class LiveSession:
    """One session that is going on.

    Attributes:
        session: its id, which is its recording's too.
        command: the command line, cut to `limits.RECORDING_COMMAND_LISTED`; empty for a shell.
        started: milliseconds since 1970 by the controller's time.
        size: columns and rows of its terminal; None where it has none, and cannot be joined.
        recorded: whether it is being recorded.
        parties: who takes part now, who began it or is there longest first.
    """

    session: SessionId
    login: Login
    command: str
    started: int
    size: tuple[int, int] | None
    recorded: bool
    parties: tuple[LiveParty, ...]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "session": self.session,
            "login": self.login,
            "command": self.command,
            "started": self.started,
            "size": None if self.size is None else list(self.size),
            "recorded": self.recorded,
            "parties": [party.to_dict() for party in self.parties],
        }

    @classmethod
    def from_dict(cls, data: object) -> LiveSession:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            session=fields.take("session", names.parse_session_id),
            login=fields.take("login", names.parse_login),
            command=fields.get("command", text, "")[: limits.RECORDING_COMMAND_LISTED],
            started=fields.take("started", _instant),
            size=fields.get("size", _size, None),
            recorded=fields.get("recorded", flag, False),
            parties=fields.get("parties", _parties, ()),
        )


@dataclass(frozen=True, slots=True)
class LiveSessions:
    """All sessions of one node, the oldest first; `more` are left out, as there are too many to tell of."""

    sessions: tuple[LiveSession, ...] = ()
    more: int = 0

    def encode(self) -> bytes:
        """Return the payload, of at most `limits.LIVE_SESSIONS_SIZE_MAX` bytes: what does not fit is counted."""
        shown = list(self.sessions[: limits.LIVE_SESSIONS_MAX])
        while True:
            more = self.more + len(self.sessions) - len(shown)
            payload = _dump(shown, more)
            if len(payload) <= limits.LIVE_SESSIONS_SIZE_MAX or not shown:
                return payload
            del shown[-max(1, len(shown) // 4) :]

    @classmethod
    def decode(cls, payload: bytes) -> LiveSessions:
        """Read a payload. Raises `MessageError`."""
        if len(payload) > limits.LIVE_SESSIONS_SIZE_MAX:
            raise MessageError(f"larger than {limits.LIVE_SESSIONS_SIZE_MAX} bytes")
        fields = Fields(decode(payload))
        sessions = fields.take("sessions", list_of(LiveSession.from_dict))
        if len(sessions) > limits.LIVE_SESSIONS_MAX:
            raise MessageError(f"sessions: more than {limits.LIVE_SESSIONS_MAX}")
        return cls(sessions, fields.get("more", whole, 0))


def _dump(sessions: Sequence[LiveSession], more: int) -> bytes:
    value: dict[str, Json] = {"v": _VERSION, "sessions": [each.to_dict() for each in sessions], "more": more}
    return json.dumps(value, separators=(",", ":")).encode()


def _parties(value: object) -> tuple[LiveParty, ...]:
    found = list_of(LiveParty.from_dict)(value)
    if len(found) > limits.PARTIES_PER_SESSION:
        raise MessageError(f"more than {limits.PARTIES_PER_SESSION}")
    return found


def _instant(value: object) -> int:
    found = whole(value)
    if found > _INSTANT_MAX:
        raise MessageError("beyond the calendar's end")
    return found


def _size(value: object) -> tuple[int, int]:
    found = list_of(whole)(value)
    if len(found) != 2 or not all(0 < side <= _SIDE_MAX for side in found):
        raise MessageError("not columns and rows")
    return found[0], found[1]


def _printable(value: object) -> str:
    found = text(value)
    return found if found.isprintable() else ""
