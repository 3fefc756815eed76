"""How a node renews its certificates, and how it comes home after years: by the proof that it holds its key.

The node asks for a challenge and signs it with its host key. The answer is the same as to a join, `JoinReply`, with the
signed policy document in it: what is certified and endorsed needs no road that is trusted, so a node whose TLS
certificate has expired, or which knows none of today's authorities, renews like any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocol import names
from protocol.events import Json
from protocol.fields import Fields, MessageError, text, whole
from protocol.names import NodeId

_ATTEMPT = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ChallengeRequest:
    """A node asks for a challenge."""

    node_id: NodeId

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"node_id": self.node_id}

    @classmethod
    def from_dict(cls, data: object) -> ChallengeRequest:
        """Read the JSON object. Raises `MessageError`."""
        return cls(Fields(data).take("node_id", names.parse_node_id))


@dataclass(frozen=True, slots=True)
class Challenge:
    """What is to be signed, good once and for `limits.CHALLENGE_TTL`; `time` is the controller's, ms since 1970."""

    challenge: str
    time: int

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"challenge": self.challenge, "time": self.time}

    @classmethod
    def from_dict(cls, data: object) -> Challenge:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(fields.take("challenge", text), fields.take("time", whole))


@dataclass(frozen=True, slots=True)
class RenewRequest:
    """A node asks for its next certificates.

    Attributes:
        generation: of those it has; 0 where it waits for an admin's approval and has none.
        attempt: 32 random hexadecimal digits, made for this renewal and kept on the device's disk until it has
            succeeded: who asks again because the answer was lost says the same, a copied disk says another.
        tls_request: a PKCS #10 request in PEM, signed with the node's TLS key.
        proof: base64 of the host key's signature over `renewal_statement`.
        version: the agent's version.
        certificate: the host certificate that it has, one line; empty where it has none. It proves the generation.
    """

    node_id: NodeId
    generation: int
    attempt: str
    challenge: str
    tls_request: str
    proof: str
    version: str
    certificate: str = ""

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "node_id": self.node_id,
            "generation": self.generation,
            "attempt": self.attempt,
            "challenge": self.challenge,
            "tls_request": self.tls_request,
            "proof": self.proof,
            "version": self.version,
            "certificate": self.certificate,
        }

    @classmethod
    def from_dict(cls, data: object) -> RenewRequest:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            node_id=fields.take("node_id", names.parse_node_id),
            generation=fields.take("generation", whole),
            attempt=fields.take("attempt", parse_attempt),
            challenge=fields.take("challenge", text),
            tls_request=fields.take("tls_request", text),
            proof=fields.take("proof", text),
            version=fields.get("version", text, "")[:50],
            certificate=fields.get("certificate", text, ""),
        )


def parse_attempt(value: object) -> str:
    """Return the mark of one renewal. Raises `MessageError`."""
    if not isinstance(value, str) or not _ATTEMPT.fullmatch(value):
        raise MessageError("not 32 hexadecimal digits")
    return value


def renewal_statement(node_id: NodeId, generation: int, attempt: str, challenge: str, tls_request: str) -> bytes:
    """Return the bytes a node signs with its host key to renew."""
    parts = ("skerry renewal v1", node_id, str(generation), attempt, challenge, tls_request.strip())
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
