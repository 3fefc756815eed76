"""What the controller tells its nodes: the policy document, the pulse, and what is for one node alone.

Each travels in an `endorsement.Endorsed`; the body is JSON. A node takes a document only where its version is not
below the one that it holds: what is old or was copied does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from protocol import limits, names
from protocol.endorsement import Succession
from protocol.events import Json
from protocol.fields import Fields, MessageError, decode, list_of, mapping, text, whole
from protocol.locks import Lock, LockingMode, parse_locking_mode
from protocol.names import ClusterName, Labels, NodeId, NodeName, UserName
from protocol.recordings import RecordingTerms

# The certificates that a node holds, by the CA that signs them.
RenewableKind = Literal["host", "tls"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """What holds for every node.

    Attributes:
        version: counts up with every change.
        issued: when this version was made, milliseconds since 1970 by the controller's clock.
        user_authorities, host_authorities: the SSH CAs' keys to trust, one line each, the signing one first.
        tls_authorities: the TLS CA's certificates to trust, PEM, the signing one first.
        successions: every word of an old host CA key for a new one, oldest first.
        renew: kinds of certificate that are to be renewed now where they are not signed by the first authority of
            their kind: a rotation is in its phase ``update_servers``, or over.
        recording: how sessions are recorded; its `time` is this document's `issued`.
        roles: room for roles; empty so far.
        void_before: people, by name, whose certificates are void that were issued before that instant, milliseconds
            since 1970: they were removed, or reset. Who is named here for longer than a certificate lives need not be.
    """

    version: int
    issued: int
    cluster: ClusterName
    user_authorities: tuple[str, ...]
    host_authorities: tuple[str, ...]
    tls_authorities: tuple[str, ...]
    recording: RecordingTerms
    locks: tuple[Lock, ...] = ()
    locking_mode: LockingMode = "best_effort"
    successions: tuple[Succession, ...] = ()
    renew: tuple[RenewableKind, ...] = ()
    roles: Mapping[str, Json] = field(default_factory=dict)
    void_before: Mapping[UserName, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "version": self.version,
            "issued": self.issued,
            "cluster": self.cluster,
            "user_authorities": list(self.user_authorities),
            "host_authorities": list(self.host_authorities),
            "tls_authorities": list(self.tls_authorities),
            "recording": self.recording.to_dict(),
            "locks": [lock.to_dict() for lock in self.locks],
            "locking_mode": self.locking_mode,
            "successions": [succession.to_dict() for succession in self.successions],
            "renew": list(self.renew),
            "roles": dict(self.roles),
            "void_before": {str(user): instant for user, instant in self.void_before.items()},
        }

    def encode(self) -> str:
        """Return the body to sign."""
        return _dump(self.to_dict())

    @classmethod
    def decode(cls, body: str) -> PolicyDocument:
        """Read a body. Raises `MessageError`."""
        fields = Fields(decode(body.encode()))
        return cls(
            version=fields.take("version", whole),
            issued=fields.take("issued", whole),
            cluster=fields.take("cluster", names.parse_cluster_name),
            user_authorities=fields.take("user_authorities", _some(list_of(text))),
            host_authorities=fields.take("host_authorities", _some(list_of(text))),
            tls_authorities=fields.take("tls_authorities", _some(list_of(text))),
            recording=fields.take("recording", RecordingTerms.from_dict),
            locks=fields.take("locks", _bounded(list_of(Lock.from_dict), limits.LOCKS_MAX)),
            locking_mode=fields.take("locking_mode", parse_locking_mode),
            successions=fields.get("successions", list_of(Succession.from_dict), ()),
            renew=fields.get("renew", list_of(_parse_renewable), ()),
            roles=fields.get("roles", mapping, {}),
            void_before=fields.get("void_before", _parse_instants, {}),
        )


@dataclass(frozen=True, slots=True)
class Pulse:
    """That the controller is there, what time it has (milliseconds since 1970), and which policy holds."""

    time: int
    policy: int

    def encode(self) -> str:
        """Return the body to sign."""
        return _dump({"time": self.time, "policy": self.policy})

    @classmethod
    def decode(cls, body: str) -> Pulse:
        """Read a body. Raises `MessageError`."""
        fields = Fields(decode(body.encode()))
        return cls(fields.take("time", whole), fields.take("policy", whole))


@dataclass(frozen=True, slots=True)
class NodeDocument:
    """What holds for one node: the labels that an admin gave it since it joined. `version` counts up."""

    node_id: NodeId
    version: int
    name: NodeName
    labels: Labels

    def encode(self) -> str:
        """Return the body to sign."""
        return _dump({"node_id": self.node_id, "version": self.version, "name": self.name, "labels": dict(self.labels)})

    @classmethod
    def decode(cls, body: str) -> NodeDocument:
        """Read a body. Raises `MessageError`."""
        fields = Fields(decode(body.encode()))
        return cls(
            node_id=fields.take("node_id", names.parse_node_id),
            version=fields.take("version", whole),
            name=fields.take("name", names.parse_node_name),
            labels=fields.take("labels", names.parse_labels),
        )


def _parse_renewable(value: object) -> RenewableKind:
    for kind in get_args(RenewableKind):
        if value == kind:
            return kind  # type: ignore[no-any-return]  # one of the literal's own
    raise MessageError("no kind of certificate that is known here")


def _parse_instants(value: object) -> Mapping[UserName, int]:
    found = mapping(value)
    if len(found) > limits.LOCKS_MAX:
        raise MessageError(f"more than {limits.LOCKS_MAX}")
    return {names.parse_user_name(user): whole(instant) for user, instant in found.items()}


def _some(parse: Callable[[Any], tuple[T, ...]]) -> Callable[[Any], tuple[T, ...]]:
    """Return `parse`, which then takes no empty list."""

    def parse_some(value: object) -> tuple[T, ...]:
        found = parse(value)
        if not found:
            raise MessageError("empty")
        return found

    return parse_some


def _bounded(parse: Callable[[Any], tuple[T, ...]], size: int) -> Callable[[Any], tuple[T, ...]]:
    """Return `parse`, which then takes no list longer than `size`."""

    def parse_bounded(value: object) -> tuple[T, ...]:
        if isinstance(value, list) and len(value) > size:
            raise MessageError(f"more than {size}")
        return parse(value)

    return parse_bounded


def _dump(value: Mapping[str, Json]) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
