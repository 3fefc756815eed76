"""The bodies that travel over HTTPS, one frozen dataclass each, with `to_dict` and `from_dict`.

`from_dict` takes whatever JSON a peer sent and returns the message or raises `MessageError`, whose text
names the field and is safe to send back. Unknown fields are passed over, so that a newer peer can say more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar, cast

from protocol import limits, names
from protocol.addresses import split_address
from protocol.events import Json
from protocol.names import ClusterName, Login, NodeId, NodeName, RoleName, TokenText, UserName
from protocol.secret import Secret

T = TypeVar("T")
_TEXT_MAX = 16 * 1024


class MessageError(ValueError):
    """A body is not the message that was expected. Its message is safe to show."""


class _Fields:
    """Reads one JSON object field by field."""

    def __init__(self, data: object) -> None:
        if not isinstance(data, dict):
            message = "the body is not a JSON object"
            raise MessageError(message)
        self._data = cast("dict[str, object]", data)

    def take(self, name: str, parse: Callable[[Any], T]) -> T:
        """Return field `name` as `parse` reads it."""
        if name not in self._data:
            message = f"{name}: missing"
            raise MessageError(message)
        try:
            return parse(self._data[name])
        except ValueError as err:
            message = f"{name}: {err}"
            raise MessageError(message) from None

    def get(self, name: str, parse: Callable[[Any], T], default: T) -> T:
        """Return field `name` as `parse` reads it, or `default` where it is absent or null."""
        return default if self._data.get(name) is None else self.take(name, parse)


def _text(value: object) -> str:
    # Half a surrogate pair is text to JSON and to Python, but can be neither sent, signed nor shown.
    if not isinstance(value, str) or len(value) > _TEXT_MAX or not _is_unicode(value):
        message = f"not a text of at most {_TEXT_MAX} characters"
        raise MessageError(message)
    return value


def _address(value: object) -> str:
    """Return an address that `protocol.addresses.split_address` reads; the host may be empty."""
    address = _text(value)
    split_address(address)
    return address


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        message = "not a whole number from 0 up"
        raise MessageError(message)
    return value


def _list_of(parse: Callable[[Any], T]) -> Callable[[Any], tuple[T, ...]]:
    def parse_list(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            message = "not a list"
            raise MessageError(message)
        return tuple(parse(item) for item in value)

    return parse_list


def decode(body: bytes) -> object:
    """Return the JSON value in `body`. Raises `MessageError`, also where it nests too deep."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        message = "the body is not JSON"
        raise MessageError(message) from None


@dataclass(frozen=True, slots=True)
class Ping:
    """What anyone may know of a controller before signing in.

    Addresses are ``HOST:PORT``; an empty HOST means the host under which this controller was reached.
    """

    cluster_name: ClusterName
    server_version: str
    ssh_address: str
    tunnel_address: str
    api_address: str

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> Ping:
        """Read the JSON object. Raises `MessageError`."""
        fields = _Fields(data)
        return cls(
            cluster_name=fields.take("cluster_name", names.parse_cluster_name),
            server_version=fields.take("server_version", _text),
            ssh_address=fields.take("ssh_address", _text),
            tunnel_address=fields.take("tunnel_address", _text),
            api_address=fields.take("api_address", _text),
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
        fields = _Fields(data)
        return cls(
            user=fields.take("user", names.parse_user_name),
            password=Secret(fields.take("password", _text)),
            otp=Secret(fields.take("otp", _text)),
            public_key=fields.take("public_key", _text),
            ttl_seconds=fields.take("ttl_seconds", _whole),
            client=fields.get("client", _text, "")[:100],
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
        fields = _Fields(data)
        return cls(
            user=fields.take("user", names.parse_user_name),
            cluster_name=fields.take("cluster_name", names.parse_cluster_name),
            roles=fields.take("roles", _list_of(names.parse_role_name)),
            logins=fields.take("logins", _list_of(names.parse_login)),
            certificate=fields.take("certificate", _text),
            host_authorities=fields.take("host_authorities", _list_of(_text)),
            session_token=Secret(fields.take("session_token", names.parse_token)),
            valid_until=fields.take("valid_until", _whole),
            ssh_address=fields.take("ssh_address", _text),
        )


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """One node in a listing. `address` is ``⟵ Tunnel`` for a node that dials out."""

    node_id: NodeId
    name: NodeName
    address: str
    labels: Mapping[str, str]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "node_id": self.node_id,
            "name": self.name,
            "address": self.address,
            "labels": dict(self.labels),
        }

    @classmethod
    def from_dict(cls, data: object) -> NodeEntry:
        """Read the JSON object. Raises `MessageError`."""
        fields = _Fields(data)
        return cls(
            node_id=fields.take("node_id", names.parse_node_id),
            name=fields.take("name", names.parse_node_name),
            address=fields.take("address", _text),
            labels=fields.take("labels", names.parse_labels),
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
        return cls(nodes=_Fields(data).take("nodes", _list_of(NodeEntry.from_dict)))


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
        fields = _Fields(data)
        return cls(
            token=Secret(fields.take("token", names.parse_token)),
            name=fields.take("name", names.parse_node_name),
            labels=fields.take("labels", names.parse_labels),
            ssh_public_key=fields.take("ssh_public_key", _text),
            tls_request=fields.take("tls_request", _text),
            proof=fields.take("proof", _text),
            version=fields.get("version", _text, "")[:50],
        )


def join_statement(token: str, ssh_public_key: str, tls_request: str) -> bytes:
    """Return the bytes a joining device signs with its host key, to prove that it holds that key."""
    parts = ("skerry join v1", token, ssh_public_key.strip(), tls_request.strip())
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


@dataclass(frozen=True, slots=True)
class JoinReply:
    """What a node gets when it has joined.

    Attributes:
        host_certificate: OpenSSH host certificate, one line.
        tls_certificate: X.509 certificate in PEM, for the machine API.
        user_authorities: the user CA's public keys, one line each.
        host_authorities: the host CA's public keys, one line each.
        tls_authorities: the TLS CA's certificates in PEM.
        labels: the labels the node has from now on.
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

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return cast(
            "dict[str, Json]",
            asdict(self)
            | {
                "labels": dict(self.labels),
                "user_authorities": list(self.user_authorities),
                "host_authorities": list(self.host_authorities),
                "tls_authorities": list(self.tls_authorities),
            },
        )

    @classmethod
    def from_dict(cls, data: object) -> JoinReply:
        """Read the JSON object. Raises `MessageError`."""
        fields = _Fields(data)
        return cls(
            node_id=fields.take("node_id", names.parse_node_id),
            name=fields.take("name", names.parse_node_name),
            cluster_name=fields.take("cluster_name", names.parse_cluster_name),
            labels=fields.take("labels", names.parse_labels),
            host_certificate=fields.take("host_certificate", _text),
            tls_certificate=fields.take("tls_certificate", _text),
            user_authorities=fields.take("user_authorities", _list_of(_text)),
            host_authorities=fields.take("host_authorities", _list_of(_text)),
            tls_authorities=fields.take("tls_authorities", _list_of(_text)),
            tunnel_address=fields.take("tunnel_address", _address),
            api_address=fields.take("api_address", _address),
        )


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
        fields = _Fields(data)
        return cls(
            sequence=fields.take("sequence", _whole),
            uid=fields.take("uid", names.parse_session_id),
            code=fields.take("code", _text)[:20],
            time=fields.take("time", _text)[:40],
            fields=fields.take("fields", _mapping),
        )


def _mapping(value: object) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        message = "not an object"
        raise MessageError(message)
    return cast("Mapping[str, Json]", value)


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
        events = _Fields(data).take("events", _list_of(NodeEvent.from_dict))
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
        return cls(sequence=_Fields(data).take("sequence", _whole))


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """Why a request was not carried out, in words for the person at the other end."""

    message: str

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"error": {"message": self.message}}

    @classmethod
    def from_dict(cls, data: object) -> ErrorReply:
        """Read the JSON object. Raises `MessageError`."""
        return cls(message=_Fields(data).take("error", lambda error: _Fields(error).take("message", _text)))
