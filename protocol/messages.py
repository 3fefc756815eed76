"""The bodies that travel over HTTPS, one frozen dataclass each, with `to_dict` and `from_dict`.

`from_dict` takes whatever JSON a peer sent and returns the message or raises `MessageError`, whose text
names the field and is safe to send back. Unknown fields are passed over, so that a newer peer can say more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast, get_args

from protocol import limits, names
from protocol.endorsement import Endorsed
from protocol.events import Json
from protocol.fields import Fields, MessageError, address, decode, flag, list_of, mapping, text, whole
from protocol.names import ClusterName, Login, NodeId, NodeName, RoleName, TokenText, UserName
from protocol.recordings import RecordingTerms
from protocol.secret import Secret

__all__ = [
    "ErrorReply",
    "EventBatch",
    "EventReceipt",
    "JoinReply",
    "JoinRequest",
    "MessageError",
    "NodeEntry",
    "NodeEvent",
    "NodeList",
    "Ping",
    "SignInReply",
    "SignInRequest",
    "decode",
    "join_statement",
]


# online: it is heard of and holds its tunnel; tunnel down: it is heard of, and cannot be worked on; stale: nobody can
# say for certain (it should have been heard of, or the broker is away); offline: it said goodbye, or its link is gone;
# pending: it waits for an admin's approval; unknown: it never was there.
NodeStatus = Literal["online", "tunnel down", "stale", "offline", "pending", "unknown"]
TunnelState = Literal["up", "down", "unknown"]
PresenceState = Literal["online", "stale", "offline", "unknown"]


def parse_node_status(value: object) -> NodeStatus:
    """Return one of the states that a node may be in. Raises `MessageError`."""
    for status in get_args(NodeStatus):
        if value == status:
            return status  # type: ignore[no-any-return]  # one of the literal's own
    raise MessageError(f"not one of {', '.join(get_args(NodeStatus))}")


def _one_of(kind: Any, otherwise: str) -> Callable[[object], Any]:  # noqa: ANN401 - a Literal and one of its texts
    """Return a reader of one of a literal's texts; what a newer peer may say beside them is read as `otherwise`."""
    known = get_args(kind)
    return lambda value: value if value in known else otherwise


@dataclass(frozen=True, slots=True)
class Ping:
    """What anyone may know of a controller before signing in.

    Addresses are ``HOST:PORT``; an empty HOST means the host under which this controller was reached. `mqtt_address`
    is empty where there is no broker.
    """

    cluster_name: ClusterName
    server_version: str
    ssh_address: str
    tunnel_address: str
    api_address: str
    mqtt_address: str = ""

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> Ping:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            cluster_name=fields.take("cluster_name", names.parse_cluster_name),
            server_version=fields.take("server_version", text),
            ssh_address=fields.take("ssh_address", text),
            tunnel_address=fields.take("tunnel_address", text),
            api_address=fields.take("api_address", text),
            mqtt_address=fields.get("mqtt_address", text, ""),
        )


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """A person's password and one-time code, and the public key to be certified (OpenSSH one-line form)."""

    user: UserName
    password: Secret[str]
    otp: Secret[str]
    public_key: str
    ttl_seconds: int
    client: str = ""

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object, secrets included: for the wire alone."""
        return {
            "user": self.user,
            "password": self.password.reveal(),
            "otp": self.otp.reveal(),
            "public_key": self.public_key,
            "ttl_seconds": self.ttl_seconds,
            "client": self.client,
        }

    @classmethod
    def from_dict(cls, data: object) -> SignInRequest:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            user=fields.take("user", names.parse_user_name),
            password=Secret(fields.take("password", text)),
            otp=Secret(fields.take("otp", text)),
            public_key=fields.take("public_key", text),
            ttl_seconds=fields.take("ttl_seconds", whole),
            client=fields.get("client", text, "")[:100],
        )


@dataclass(frozen=True, slots=True)
class SignInReply:
    """What a signed-in person gets.

    Attributes:
        certificate: the OpenSSH user certificate, one line.
        host_authorities: the host CA's public keys, one line each.
        session_token: bearer token for the web door's API, as long-lived as the certificate.
        valid_until: end of both, seconds since 1970, UTC.
    """

    user: UserName
    cluster_name: ClusterName
    roles: tuple[RoleName, ...]
    logins: tuple[Login, ...]
    certificate: str
    host_authorities: tuple[str, ...]
    session_token: Secret[str]
    valid_until: int
    ssh_address: str

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object, the token included: for the wire alone."""
        return {
            "user": self.user,
            "cluster_name": self.cluster_name,
            "roles": list(self.roles),
            "logins": list(self.logins),
            "certificate": self.certificate,
            "host_authorities": list(self.host_authorities),
            "session_token": self.session_token.reveal(),
            "valid_until": self.valid_until,
            "ssh_address": self.ssh_address,
        }

    @classmethod
    def from_dict(cls, data: object) -> SignInReply:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            user=fields.take("user", names.parse_user_name),
            cluster_name=fields.take("cluster_name", names.parse_cluster_name),
            roles=fields.take("roles", list_of(names.parse_role_name)),
            logins=fields.take("logins", list_of(names.parse_login)),
            certificate=fields.take("certificate", text),
            host_authorities=fields.take("host_authorities", list_of(text)),
            session_token=Secret(fields.take("session_token", names.parse_token)),
            valid_until=fields.take("valid_until", whole),
            ssh_address=fields.take("ssh_address", text),
        )


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """One node in a listing.

    Attributes:
        address: ``⟵ Tunnel`` for a node that dials out.
        status: what people go by: see `controller.policy.liveness` for how it is made of the two facts below.
        since: when that last changed, milliseconds since 1970; None where it is not known.
        tunnel: whether the proxy holds its tunnel.
        presence: what MQTT says.
        reason: why it is offline; empty where it is not, or nobody knows.
        last_seen: when it was last heard of, milliseconds since 1970.
        version: the agent's.
    """

    node_id: NodeId
    name: NodeName
    address: str
    labels: Mapping[str, str]
    status: NodeStatus = "unknown"
    since: int | None = None
    tunnel: TunnelState = "unknown"
    presence: PresenceState = "unknown"
    reason: str = ""
    last_seen: int | None = None
    version: str = ""

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "node_id": self.node_id,
            "name": self.name,
            "address": self.address,
            "labels": dict(self.labels),
            "status": self.status,
            "since": self.since,
            "tunnel": self.tunnel,
            "presence": self.presence,
            "reason": self.reason,
            "last_seen": self.last_seen,
            "version": self.version,
        }

    @classmethod
    def from_dict(cls, data: object) -> NodeEntry:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            node_id=fields.take("node_id", names.parse_node_id),
            name=fields.take("name", names.parse_node_name),
            address=fields.take("address", text),
            labels=fields.take("labels", names.parse_labels),
            status=fields.get("status", _one_of(NodeStatus, "unknown"), "unknown"),
            since=fields.get("since", whole, None),
            tunnel=fields.get("tunnel", _one_of(TunnelState, "unknown"), "unknown"),
            presence=fields.get("presence", _one_of(PresenceState, "unknown"), "unknown"),
            reason=fields.get("reason", text, ""),
            last_seen=fields.get("last_seen", whole, None),
            version=fields.get("version", text, ""),
        )


@dataclass(frozen=True, slots=True)
class NodeList:
    """The nodes a person may see."""

    nodes: tuple[NodeEntry, ...]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"nodes": [node.to_dict() for node in self.nodes]}

    @classmethod
    def from_dict(cls, data: object) -> NodeList:
        """Read the JSON object. Raises `MessageError`."""
        return cls(nodes=Fields(data).take("nodes", list_of(NodeEntry.from_dict)))


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A device asks to become a node.

    Attributes:
        token: the join token.
        name: the name the device would like.
        labels: labels the device claims; the token says which of them count.
        ssh_public_key: the node's Ed25519 host key, OpenSSH one-line form.
        tls_request: a PKCS #10 request in PEM, signed with the node's TLS key.
        proof: base64 of the host key's signature over `join_statement`.
        version: the agent's version.
    """

    token: Secret[TokenText]
    name: NodeName
    labels: Mapping[str, str]
    ssh_public_key: str
    tls_request: str
    proof: str
    version: str

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object, the token included: for the wire alone."""
        return {
            "token": self.token.reveal(),
            "name": self.name,
            "labels": dict(self.labels),
            "ssh_public_key": self.ssh_public_key,
            "tls_request": self.tls_request,
            "proof": self.proof,
            "version": self.version,
        }

    @classmethod
    def from_dict(cls, data: object) -> JoinRequest:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            token=Secret(fields.take("token", names.parse_token)),
            name=fields.take("name", names.parse_node_name),
            labels=fields.take("labels", names.parse_labels),
            ssh_public_key=fields.take("ssh_public_key", text),
            tls_request=fields.take("tls_request", text),
            proof=fields.take("proof", text),
            version=fields.get("version", text, "")[:50],
        )


def join_statement(token: str, ssh_public_key: str, tls_request: str) -> bytes:
    """Return the bytes a joining device signs with its host key, to prove that it holds that key."""
    parts = ("skerry join v1", token, ssh_public_key.strip(), tls_request.strip())
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


@dataclass(frozen=True, slots=True)
class JoinReply:
    """What a node gets when it has joined, and when it has renewed its certificates.

    Attributes:
        pending: whether it waits for an admin's approval: it has no certificates yet, and asks for them by renewing.
        host_certificate: OpenSSH host certificate, one line.
        tls_certificate: X.509 certificate in PEM, for the machine API.
        user_authorities: the user CA's public keys, one line each.
        host_authorities: the host CA's public keys, one line each.
        tls_authorities: the TLS CA's certificates in PEM.
        labels: the labels the node has from now on.
        recording: how it is to record; None from a controller that does not say.
        mqtt_address: the broker's; empty where there is none.
        generation: of these certificates; 0 while it is pending.
        policy: the policy document of the moment; None from a controller that has none.
        node: the document for this node alone; None where an admin has changed nothing since it joined.
    """

    node_id: NodeId
    name: NodeName
    cluster_name: ClusterName
    labels: Mapping[str, str]
    host_certificate: str
    tls_certificate: str
    user_authorities: tuple[str, ...]
    host_authorities: tuple[str, ...]
    tls_authorities: tuple[str, ...]
    tunnel_address: str
    api_address: str
    recording: RecordingTerms | None = None
    mqtt_address: str = ""
    generation: int = 1
    pending: bool = False
    policy: Endorsed | None = None
    node: Endorsed | None = None

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return cast(
            "dict[str, Json]",
            asdict(self)
            | {
                "recording": self.recording.to_dict() if self.recording else None,
                "policy": self.policy.to_dict() if self.policy else None,
                "node": self.node.to_dict() if self.node else None,
                "labels": dict(self.labels),
                "user_authorities": list(self.user_authorities),
                "host_authorities": list(self.host_authorities),
                "tls_authorities": list(self.tls_authorities),
            },
        )

    @classmethod
    def from_dict(cls, data: object) -> JoinReply:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            node_id=fields.take("node_id", names.parse_node_id),
            name=fields.take("name", names.parse_node_name),
            cluster_name=fields.take("cluster_name", names.parse_cluster_name),
            labels=fields.take("labels", names.parse_labels),
            host_certificate=fields.take("host_certificate", text),
            tls_certificate=fields.take("tls_certificate", text),
            user_authorities=fields.take("user_authorities", list_of(text)),
            host_authorities=fields.take("host_authorities", list_of(text)),
            tls_authorities=fields.take("tls_authorities", list_of(text)),
            tunnel_address=fields.take("tunnel_address", address),
            api_address=fields.take("api_address", address),
            recording=fields.get("recording", RecordingTerms.from_dict, None),
            mqtt_address=fields.get("mqtt_address", _optional_address, ""),
            generation=fields.get("generation", whole, 1),
            pending=fields.get("pending", flag, default=False),
            policy=fields.get("policy", Endorsed.from_dict, None),
            node=fields.get("node", Endorsed.from_dict, None),
        )


def _optional_address(value: object) -> str:
    return address(value) if value else ""


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """One audit event as a node reports it.

    Attributes:
        sequence: the node's own running number, from 1; the controller takes each once.
        uid: the event's UUID.
        code: the event's code, see `protocol.events`.
        time: when it happened, RFC 3339, UTC.
        fields: the fields of that kind.
    """

    sequence: int
    uid: str
    code: str
    time: str
    fields: Mapping[str, Json] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "sequence": self.sequence,
            "uid": self.uid,
            "code": self.code,
            "time": self.time,
            "fields": dict(self.fields),
        }

    @classmethod
    def from_dict(cls, data: object) -> NodeEvent:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            sequence=fields.take("sequence", whole),
            uid=fields.take("uid", names.parse_session_id),
            code=fields.take("code", text)[:20],
            time=fields.take("time", text)[:40],
            fields=fields.take("fields", mapping),
        )


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events a node reports, in the order of their sequence numbers."""

    events: tuple[NodeEvent, ...]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"events": [event.to_dict() for event in self.events]}

    @classmethod
    def from_dict(cls, data: object) -> EventBatch:
        """Read the JSON object. Raises `MessageError`."""
        events = Fields(data).take("events", list_of(NodeEvent.from_dict))
        if len(events) > limits.EVENT_BATCH_MAX:
            message = f"events: more than {limits.EVENT_BATCH_MAX}"
            raise MessageError(message)
        return cls(events=events)


@dataclass(frozen=True, slots=True)
class EventReceipt:
    """The highest sequence number the controller holds of this node; all up to it may be forgotten."""

    sequence: int

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"sequence": self.sequence}

    @classmethod
    def from_dict(cls, data: object) -> EventReceipt:
        """Read the JSON object. Raises `MessageError`."""
        return cls(sequence=Fields(data).take("sequence", whole))


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """Why a request was not carried out, in words for the person at the other end.

    `field` is what in the request has to be another, where it is one thing; else it is empty, and left out.
    """

    message: str
    field: str = ""

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        error: dict[str, Json] = {"message": self.message}
        return {"error": error | ({"field": self.field} if self.field else {})}

    @classmethod
    def from_dict(cls, data: object) -> ErrorReply:
        """Read the JSON object. Raises `MessageError`."""
        return Fields(data).take("error", cls._read)

    @classmethod
    def _read(cls, error: object) -> ErrorReply:
        fields = Fields(error)
        return cls(fields.take("message", text), fields.get("field", text, ""))
