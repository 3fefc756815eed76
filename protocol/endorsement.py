"""What the controller signs for its nodes, whatever road it comes by: the envelope, and whom to believe.

The host CA's key signs (Ed25519). A node trusts the host CA's keys that it was told when it joined. When that CA is
rotated, the old key signs for the new one (a `Succession`); all successions there ever were travel with the policy
document, so that a node which slept through several rotations walks from the key it trusts to the one of today.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from protocol import limits
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.fields import Fields, MessageError, is_unicode, text
from protocol.names import ClusterName

EndorsedKind = Literal["policy", "pulse", "node"]
_KEY_TYPE = "ssh-ed25519"
# In an ``ssh-ed25519`` key's wire form (RFC 8709), what stands before its 32 bytes.
_KEY_PREFIX = b"\0\0\0\x0bssh-ed25519\0\0\0 "


@dataclass(frozen=True, slots=True)
class Endorsed:
    """A signed document as it travels.

    Attributes:
        body: the document, JSON text: the very bytes that were signed.
        key: the signing key, OpenSSH one-line form without a comment.
        signature: Ed25519 over `statement`.
    """

    kind: EndorsedKind
    body: str
    key: str
    signature: bytes

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        signature = b64encode(self.signature).decode()
        return {"kind": self.kind, "body": self.body, "key": self.key, "signature": signature}

    @classmethod
    def from_dict(cls, data: object) -> Endorsed:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            kind=fields.take("kind", _parse_kind),
            body=fields.take("body", _parse_body),
            key=fields.take("key", text),
            signature=fields.take("signature", parse_base64),
        )


@dataclass(frozen=True, slots=True)
class Succession:
    """The word of one host CA key for the next. Both are OpenSSH one-line forms without a comment."""

    old: str
    new: str
    signature: bytes

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"old": self.old, "new": self.new, "signature": b64encode(self.signature).decode()}

    @classmethod
    def from_dict(cls, data: object) -> Succession:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(fields.take("old", text), fields.take("new", text), fields.take("signature", parse_base64))


def _parse_kind(value: object) -> EndorsedKind:
    for kind in ("policy", "pulse", "node"):
        if value == kind:
            return kind
    raise MessageError("no kind of document that is known here")


def _parse_body(value: object) -> str:
    if not isinstance(value, str) or len(value) > limits.POLICY_MAX or not is_unicode(value):
        raise MessageError(f"not a Unicode text of at most {limits.POLICY_MAX} characters")
    return value


def parse_base64(value: object) -> bytes:
    """Read bytes in base64. Raises `MessageError`."""
    try:
        return b64decode(text(value), validate=True)
    except (binascii.Error, ValueError):
        raise MessageError("not base64") from None


def plain_key(line: str) -> str:
    """Return an OpenSSH public key's one-line form without its comment, as keys are compared here."""
    return " ".join(line.split()[:2])


def statement(kind: EndorsedKind, cluster: ClusterName, body: str) -> bytes:
    """Return the bytes that are signed for a document."""
    return _framed("skerry endorsement v1", kind, cluster, body)


def succession_statement(cluster: ClusterName, old: str, new: str) -> bytes:
    """Return the bytes that the key `old` signs for the key `new`."""
    return _framed("skerry succession v1", cluster, plain_key(old), plain_key(new))


def _framed(*parts: str) -> bytes:
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


def is_signed_by(key: str, signature: bytes, signed: bytes) -> bool:
    """Tell whether the Ed25519 key in one-line form made `signature` over `signed`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        kind, _, rest = key.partition(" ")
        blob = b64decode(rest.split(" ")[0], validate=True)
        if kind != _KEY_TYPE or not blob.startswith(_KEY_PREFIX):
            return False
        Ed25519PublicKey.from_public_bytes(blob[len(_KEY_PREFIX) :]).verify(signature, signed)
    except (ValueError, IndexError, InvalidSignature):
        return False
    return True


def walk(trusted: Iterable[str], successions: Iterable[Succession], cluster: ClusterName) -> frozenset[str]:
    """Return every host CA key that `trusted` leads to: theirs, and those that they signed for, and so on."""
    known = {plain_key(line) for line in trusted}
    waiting = list(successions)
    while True:
        good = [
            step
            for step in waiting
            if plain_key(step.old) in known
            and is_signed_by(plain_key(step.old), step.signature, succession_statement(cluster, step.old, step.new))
        ]
        fresh = {plain_key(step.new) for step in good} - known
        if not fresh:
            return frozenset(known)
        known |= fresh
        waiting = [step for step in waiting if step not in good]


def judge_endorsed(
    endorsed: Endorsed, kind: EndorsedKind, *, trusted: Collection[str], cluster: ClusterName
) -> Granted[str] | Refused:
    """Judge a document that came by whatever road; the answer holds its body.

    Args:
        endorsed: what came.
        kind: what it has to be.
        trusted: the host CA keys that are trusted, as `plain_key` has them; for a policy document first `walk` the
            successions in it.
        cluster: ours.
    """
    if endorsed.kind != kind:
        return Refused(f"a {endorsed.kind} document where a {kind} document is needed", "E1")
    if plain_key(endorsed.key) not in trusted:
        return Refused("signed by a key that is not this cluster's host CA", "E2")
    if not is_signed_by(plain_key(endorsed.key), endorsed.signature, statement(kind, cluster, endorsed.body)):
        return Refused("the signature is not over this", "E3")
    return Granted(endorsed.body)
