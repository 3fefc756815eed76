"""How records lie one after the other: prefix, body, and the chain of hashes through all of them.

A prefix is 13 bytes: kind, length of the body, number of the record, which are its stem, and the link. The chain's
value is SHA-256 over the value before, the stem and the body; each seal signs it in full. The link is the first 4 bytes
of the value after the record: so every record shows by itself, as soon as it is whole, that it is the one that was
written in that place. It is there against damage, and keeps nobody out.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Literal

from protocol import limits

MAGIC = b"SKERRYR1"
_STEM = struct.Struct(">BII")
STEM = _STEM.size
LINK = 4
PREFIX = struct.Struct(f"{_STEM.format}{LINK}s")
# A data record begins with the time of its first event, milliseconds in 5 bytes: a session of 34 years.
BEGIN_SIZE = 5
BEGIN_END = 1 << 8 * BEGIN_SIZE
NUMBER_END = 1 << 32
Kind = Literal["H", "D", "S"]
KINDS: dict[int, Kind] = {ord("H"): "H", ord("D"): "D", ord("S"): "S"}
BODY_MAX: dict[Kind, int] = {"H": limits.RECORDING_HEADER_MAX, "D": limits.RECORDING_BODY_MAX, "S": 256}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a recording stands after a whole record: all that is needed to go on from there.

    Attributes:
        number: of the record that comes next.
        offset: bytes up to there.
        chain: the chain's value there, 32 bytes. After the last record it is the hash of the whole recording.
    """

    number: int
    offset: int
    chain: bytes


START = Position(0, len(MAGIC), hashlib.sha256(MAGIC).digest())


def stem(kind: Kind, body_size: int, position: Position) -> bytes:
    """Return the stem of the record that comes next at `position`. Raises `ValueError` where it would be too large.

    So it does where there are no numbers left: a reader could not tell records apart, nor could the encryption.
    """
    if body_size > BODY_MAX[kind] or position.number >= NUMBER_END:
        raise ValueError(f"no record can have {body_size} bytes and the number {position.number}")
    return _STEM.pack(ord(kind), body_size, position.number)


def bound(chain: bytes, stem: bytes, begin: bytes) -> bytes:
    """Return what a data record's encryption is bound to: its place, its stem, and when it begins, as it says it."""
    return chain + stem + begin


def add(kind: Kind, body: bytes, position: Position) -> tuple[bytes, Position]:
    """Return the record that comes next at `position`, and the position after it. Raises `ValueError` as `stem`."""
    begun = stem(kind, len(body), position)
    after = _after(position, begun, body)
    return b"".join((begun, link(after), body)), after


def advance(position: Position, record: bytes) -> Position:
    """Return the position after `record`, prefix and body, whatever its link."""
    with memoryview(record) as view:
        return _after(position, view[:STEM], view[PREFIX.size :])


def link(after: Position) -> bytes:
    """Return the link of the record that ends at `after`."""
    return after.chain[:LINK]


def _after(position: Position, stem: bytes | memoryview, body: bytes | memoryview) -> Position:
    chain = hashlib.sha256(position.chain)
    chain.update(stem)
    chain.update(body)
    return Position(position.number + 1, position.offset + PREFIX.size + len(body), chain.digest())
