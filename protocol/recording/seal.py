"""A seal: the node's signature over everything before it, with the time. One comes at least every 10 s."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol.recording import framing
from protocol.recording.framing import Position

Sign = Callable[[bytes], bytes]
Reason = Literal["running", "final", "interrupted", "stopped"]
_REASONS: tuple[Reason, ...] = ("running", "final", "interrupted", "stopped")
_FIELDS = struct.Struct(">BQQQ")
_SIGNATURE = 64
TIME_END = 1 << 63
SIZE = _FIELDS.size + _SIGNATURE
_CONTEXT = b"skerry recording seal v1\0"


@dataclass(frozen=True, slots=True)
class Seal:
    """What a seal says. All times are milliseconds.

    Attributes:
        reason: ``running`` where more follows; ``final`` where the session had ended; ``interrupted`` where the agent
            was, and put this seal to what it found of the recording afterwards; ``stopped`` where the device could
            not record any further, for want of room, say, whether the session ended there or went on.
        device: when it was made by the device's clock, since 1970.
        corrected: the same by the controller's clock, as far as the device knows it.
        at: up to which moment since the session's start something is on record.
    """

    reason: Reason
    device: int
    corrected: int
    at: int

    def encode(self) -> bytes:
        """Return the fields, without the signature. Raises `ValueError` for a time that is none."""
        if not all(0 <= time < TIME_END for time in (self.device, self.corrected, self.at)):
            raise ValueError("a seal's times are milliseconds, from 0 up")
        return _FIELDS.pack(_REASONS.index(self.reason), self.device, self.corrected, self.at)

    @property
    def ends(self) -> bool:
        """Whether nothing may follow."""
        return self.reason != "running"


def statement(chain: bytes, stem: bytes, fields: bytes) -> bytes:
    """Return what is signed: the chain's full value before the seal, the seal's stem and its fields."""
    return _CONTEXT + chain + stem + fields


def add(what: Seal, position: Position, sign: Sign) -> tuple[bytes, Position]:
    """Return the seal that comes next at `position`, and the position after it. Raises `ValueError`.

    `sign` returns the node's Ed25519 signature, 64 bytes.
    """
    fields = what.encode()
    signature = sign(statement(position.chain, framing.stem("S", SIZE, position), fields))
    return framing.add("S", fields + signature, position)


def decode(body: bytes) -> tuple[Seal, bytes]:
    """Return a seal and its signature. Raises `ValueError`."""
    if len(body) != SIZE:
        raise ValueError(f"a seal of {len(body)} bytes and not {SIZE}")
    reason, device, corrected, at = _FIELDS.unpack_from(body)
    if reason >= len(_REASONS):
        raise ValueError(f"a seal with the unknown reason {reason}")
    if max(device, corrected, at) >= TIME_END:
        raise ValueError("a seal with a time that is none")
    return Seal(_REASONS[reason], device, corrected, at), body[_FIELDS.size :]


def is_signed(signer: bytes, signature: bytes, said: bytes) -> bool:
    """Tell whether `signature` over `said` was made with the key whose public half is `signer` (RFC 8032)."""
    try:
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, said)
    except (InvalidSignature, ValueError):
        return False
    return True
