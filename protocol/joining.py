"""Joining somebody's session: how it is asked for over SSH, and what the parties are told.

Who joins opens a channel on the node as the same login, with a terminal or without, names the session in the
environment (RFC 4254 section 6.4) and asks for a shell. So plain OpenSSH joins too::

    ssh -t -o SetEnv="SKERRY_SESSION=ID SKERRY_SESSION_JOIN_MODE=peer" pi@edge-1.skerry
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, get_args

from protocol import limits, names
from protocol.events import Json
from protocol.fields import Fields, MessageError, decode, list_of, whole
from protocol.names import SessionId, UserName

# The names of the variables are Teleport's but for the prefix. None of them reaches a program.
SESSION_VARIABLE = "SKERRY_SESSION"
MODE_VARIABLE = "SKERRY_SESSION_JOIN_MODE"
# Set to 1 by a client that understands NEWS_REQUEST: others are told in words on the terminal alone.
NEWS_VARIABLE = "SKERRY_SESSION_NEWS"
VARIABLES = frozenset({SESSION_VARIABLE, MODE_VARIABLE, NEWS_VARIABLE})
# A channel request (RFC 4254 section 5.4) of the node's to such a client, no reply wanted; one string: `SessionNews`.
NEWS_REQUEST = b"session-news@skerry"

# observer: sees, and its keys do nothing. peer: types as well. moderator: sees, and may end the session.
JoinMode = Literal["observer", "peer", "moderator"]
# What the node itself heeds of an observer's and a moderator's keys, so that every client can: leave; end the session.
LEAVE_KEY = b"\x03"
END_KEY = b"t"
NO_SUCH_SESSION = "there is no such session here that you could join"


def parse_join_mode(value: object) -> JoinMode:
    """Return a mode. Raises `MessageError`."""
    for mode in get_args(JoinMode):
        if value == mode:
            return mode  # type: ignore[no-any-return]  # one of the literal's own
    raise MessageError("neither observer, peer nor moderator")


@dataclass(frozen=True, slots=True)
class PartyNews:
    """One who takes part."""

    user: UserName
    mode: JoinMode

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"user": self.user, "mode": self.mode}

    @classmethod
    def from_dict(cls, data: object) -> PartyNews:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(fields.take("user", names.parse_user_name), fields.take("mode", parse_join_mode))


@dataclass(frozen=True, slots=True)
class SessionNews:
    """What a session is like now, as its parties' clients are told: at the start, and when something of it changes.

    Attributes:
        size: columns and rows of the terminal: the smallest that all parties can show.
        parties: all of them, who is there longest first.
    """

    session: SessionId
    size: tuple[int, int]
    parties: tuple[PartyNews, ...]

    def encode(self) -> bytes:
        """Return the JSON object as text."""
        value: dict[str, Json] = {
            "session": self.session,
            "size": list(self.size),
            "parties": [party.to_dict() for party in self.parties],
        }
        return json.dumps(value, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes) -> SessionNews:
        """Read it. Raises `MessageError`."""
        if len(payload) > limits.SESSION_NEWS_MAX:
            raise MessageError(f"larger than {limits.SESSION_NEWS_MAX} bytes")
        fields = Fields(decode(payload))
        columns, rows = fields.take("size", _size)
        return cls(
            session=fields.take("session", names.parse_session_id),
            size=(columns, rows),
            parties=fields.take("parties", list_of(PartyNews.from_dict)),
        )


def _size(value: object) -> tuple[int, int]:
    found = list_of(whole)(value)
    if len(found) != 2:
        raise MessageError("not columns and rows")
    return found[0], found[1]
