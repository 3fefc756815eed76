"""What is said about one node over HTTPS, beside how it is listed. Instants are milliseconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol import names
from protocol.events import Json
from protocol.fields import Fields, list_of, mapping, text, whole
from protocol.messages import NodeEntry


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """All that is known of one node.

    Attributes:
        joined: when it joined, or asked to.
        renewed: when it was last certified after that; None where it was not.
        tunnel_since: since when its tunnel is as it is; None where nobody knows.
        generation: of its certificates; 0 while it has none.
        certificate_expires: when the last of them does; None where that is not known.
        token: the join token that it came with, as it is shown.
        ephemeral: after so many seconds offline it is removed; None for never.
        host_key: the fingerprint of its SSH host key.
        lock: the id of a lock in force on it; None where there is none.
        heartbeat: what it last told of itself, as `protocol.presences.Beat`; None where it never did.
        device: what it is, as `protocol.presences.NodeState`; None where it never said.
    """

    entry: NodeEntry
    joined: int
    renewed: int | None
    tunnel_since: int | None
    generation: int
    certificate_expires: int | None
    token: str
    ephemeral: int | None
    host_key: str
    lock: str | None
    heartbeat: Mapping[str, Json] | None
    device: Mapping[str, Json] | None

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return self.entry.to_dict() | {
            "joined": self.joined,
            "renewed": self.renewed,
            "tunnel_since": self.tunnel_since,
            "generation": self.generation,
            "certificate_expires": self.certificate_expires,
            "token": self.token,
            "ephemeral_seconds": self.ephemeral,
            "host_key": self.host_key,
            "lock": self.lock,
            "heartbeat": None if self.heartbeat is None else dict(self.heartbeat),
            "device": None if self.device is None else dict(self.device),
        }

    @classmethod
    def from_dict(cls, data: object) -> NodeDetail:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            entry=NodeEntry.from_dict(data),
            joined=fields.take("joined", whole),
            renewed=fields.get("renewed", whole, None),
            tunnel_since=fields.get("tunnel_since", whole, None),
            generation=fields.take("generation", whole),
            certificate_expires=fields.get("certificate_expires", whole, None),
            token=fields.take("token", text),
            ephemeral=fields.get("ephemeral_seconds", whole, None),
            host_key=fields.take("host_key", text),
            lock=fields.get("lock", text, None),
            heartbeat=fields.get("heartbeat", mapping, None),
            device=fields.get("device", mapping, None),
        )


@dataclass(frozen=True, slots=True)
class NodePage:
    """A page of nodes, by name; `next` is the cursor of the one after it."""

    nodes: tuple[NodeEntry, ...]
    next: str | None

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"nodes": [node.to_dict() for node in self.nodes], "next": self.next}

    @classmethod
    def from_dict(cls, data: object) -> NodePage:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(fields.take("nodes", list_of(NodeEntry.from_dict)), fields.get("next", text, None))


@dataclass(frozen=True, slots=True)
class NodeLabels:
    """All labels that a node is to have: what is not among them is taken off."""

    labels: Mapping[str, str]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"labels": dict(self.labels)}

    @classmethod
    def from_dict(cls, data: object) -> NodeLabels:
        """Read the JSON object. Raises `MessageError`."""
        return cls(Fields(data).take("labels", names.parse_labels))
