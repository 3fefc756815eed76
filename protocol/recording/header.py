"""A recording's first record: whose it is, who signs it, and how its content is locked. It is in the clear.

It is JSON on one line and, where the content is locked, the wrapped key after it as it is.
It says nothing of what was done: who the person was, on which login and with which command, stands in the content.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Literal, NoReturn, get_args

from protocol import names
from protocol.events import Json
from protocol.fields import Fields, MessageError, text, whole
from protocol.names import ClusterName, NodeId, NodeName, SessionId

VERSION = 1
Cipher = Literal["none", "AES-256-GCM"]
SIGNER_SIZE = 32


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """The recording's own key, wrapped to a key of the cluster's.

    Attributes:
        key_id: which of the cluster's recording keys opens it.
        suite: the name of the HPKE suite, see `protocol.recording.cipher`.
        sealed: HPKE's encapsulated key and ciphertext, one after the other (RFC 9180 section 6.1).
    """

    key_id: str
    suite: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What the first record says.

    Attributes:
        started: when the session began by the device's clock, milliseconds since 1970.
        corrected: the same by the controller's, as far as the device knows it.
        signer: the Ed25519 public key of the node, 32 bytes; its seals are checked with it.
        dictionary: number of the zstd dictionary; 0 for none.
        key: None where the content is not encrypted.
    """

    session: SessionId
    node: NodeId
    node_name: NodeName
    cluster: ClusterName
    started: int
    corrected: int
    signer: bytes
    dictionary: int
    cipher: Cipher
    key: WrappedKey | None

    def encode(self) -> bytes:
        """Return the record's body."""
        fields: dict[str, Json] = {
            "version": VERSION,
            "session": self.session,
            "node": self.node,
            "node_name": self.node_name,
            "cluster": self.cluster,
            "started": self.started,
            "corrected": self.corrected,
            "signer": b64encode(self.signer).decode(),
            "dictionary": self.dictionary,
            "cipher": self.cipher,
        }
        if self.key is not None:
            fields["key"] = {"id": self.key.key_id, "suite": self.key.suite}
        sealed = self.key.sealed if self.key is not None else b""
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n" + sealed

    @classmethod
    def decode(cls, body: bytes) -> Header:
        """Read the record's body. Raises `MessageError`."""
        line, _, sealed = body.partition(b"\n")
        fields = _load(line)
        if fields.take("version", whole) != VERSION:
            raise MessageError(f"version: not {VERSION}, the only one that is known here")
        cipher = fields.take("cipher", _cipher)
        return cls(
            session=fields.take("session", names.parse_session_id),
            node=fields.take("node", names.parse_node_id),
            node_name=fields.take("node_name", names.parse_node_name),
            cluster=fields.take("cluster", names.parse_cluster_name),
            started=fields.take("started", whole),
            corrected=fields.take("corrected", whole),
            signer=fields.take("signer", _signer),
            dictionary=fields.take("dictionary", whole),
            cipher=cipher,
            key=_wrapped(fields, sealed, cipher),
        )


def _load(body: bytes) -> Fields:
    try:
        return Fields(json.loads(body.decode(), object_pairs_hook=_members, parse_constant=_no_number))
    except MessageError:
        raise
    except (ValueError, RecursionError):
        raise MessageError("not a JSON object") from None


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object's members. One that is named twice would be read one way here and another way elsewhere."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MessageError("a member that is there twice")
    return members


def _no_number(_: str) -> NoReturn:
    raise MessageError("a number that JSON does not have")


def _cipher(value: object) -> Cipher:
    for cipher in get_args(Cipher):
        if value == cipher:
            return cipher  # type: ignore[no-any-return]  # one of the literal's own
    raise MessageError("no cipher that is known here")


def _bytes(value: object) -> bytes:
    try:
        return b64decode(text(value), validate=True)
    except ValueError:
        raise MessageError("not base64") from None


def _signer(value: object) -> bytes:
    signer = _bytes(value)
    if len(signer) != SIGNER_SIZE:
        raise MessageError(f"not a key of {SIGNER_SIZE} bytes")
    return signer


def _wrapped(fields: Fields, sealed: bytes, cipher: Cipher) -> WrappedKey | None:
    if (cipher == "none") != (not sealed):
        raise MessageError("key: there without a cipher, or missing")
    if cipher == "none":
        return None
    named = fields.take("key", Fields)
    return WrappedKey(named.take("id", names.parse_key_id), named.take("suite", text), sealed)
