"""The sessions that are going on in the whole fleet, as the controller lists them for one person."""

from __future__ import annotations

from dataclasses import dataclass

from protocol import names
from protocol.events import Json
from protocol.fields import Fields, MessageError, flag, list_of
from protocol.live_sessions import LiveSession
from protocol.names import NodeId, NodeName

__all__ = ["MessageError", "SessionEntry", "SessionList"]


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """One live session, and where it is.

    Attributes:
        may_join: whether the person asking may join it: they may log in to the node as that login, and it has a
            terminal.
    """

    node_id: NodeId
    name: NodeName
    live: LiveSession
    may_join: bool

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"node_id": self.node_id, "name": self.name, "may_join": self.may_join, **self.live.to_dict()}

    @classmethod
    def from_dict(cls, data: object) -> SessionEntry:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            node_id=fields.take("node_id", names.parse_node_id),
            name=fields.take("name", names.parse_node_name),
            live=LiveSession.from_dict(data),
            may_join=fields.get("may_join", flag, False),
        )


@dataclass(frozen=True, slots=True)
class SessionList:
    """The live sessions a person may see, the newest first."""

    sessions: tuple[SessionEntry, ...]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"sessions": [each.to_dict() for each in self.sessions]}

    @classmethod
    def from_dict(cls, data: object) -> SessionList:
        """Read the JSON object. Raises `MessageError`."""
        return cls(Fields(data).take("sessions", list_of(SessionEntry.from_dict)))
