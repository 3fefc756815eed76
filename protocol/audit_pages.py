"""What is said of the audit log over HTTPS: some of its events, the newest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.events import Json
from protocol.fields import Fields, list_of, mapping, text, whole


@dataclass(frozen=True, slots=True)
class AuditEvents:
    """A page of events.

    Attributes:
        events: as they stand in the log; their times are RFC 3339 there.
        next: the cursor of what is older; None where there is no more to look at. There may be no events here and yet
            more to look at: one question looks at so many lines and no more.
        examined: how many lines were looked at.
    """

    events: tuple[Mapping[str, Json], ...]
    next: str | None
    examined: int

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"events": [dict(event) for event in self.events], "next": self.next, "examined": self.examined}

    @classmethod
    def from_dict(cls, data: object) -> AuditEvents:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            events=fields.take("events", list_of(mapping)),
            next=fields.get("next", text, None),
            examined=fields.take("examined", whole),
        )
