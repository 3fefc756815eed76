"""Ids of sessions, each of which shows which node it belongs to.

An id is a UUID of version 8 (RFC 9562, section 5.8). Its first 48 bits are the first 48 of

    SHA-256("skerry session id v1" 0x00 || the node's id, 16 bytes || the session id's last 10 bytes)

and of those ten bytes 74 bits are random, the rest being the UUID's version and variant. So nobody can take a session's
id for another node's session beforehand, nor have one that another node will ever mint: it is not that node's.
"""

from __future__ import annotations

import hashlib
import re
import uuid

from protocol.names import NodeId, SessionId

RANDOM_BYTES = 10
# So many characters of an id are enough to name a session, where no other begins alike.
BEGINNING_MIN = 8
_BEGINNING = re.compile(rf"[0-9a-f-]{{{BEGINNING_MIN},36}}", re.ASCII | re.IGNORECASE)
_DOMAIN = b"skerry session id v1\0"
_MARK_BYTES = 6
_VERSION = 0x80
_VARIANT = 0x80


def mint_session_id(node: NodeId, random: bytes) -> SessionId:
    """Return the id of a new session on `node`, from `RANDOM_BYTES` bytes that nobody can foretell."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"{RANDOM_BYTES} random bytes make a session's id, not {len(random)}")
    rest = bytes([_VERSION | random[0] & 0x0F, random[1], _VARIANT | random[2] & 0x3F, *random[3:]])
    return SessionId(str(uuid.UUID(bytes=_mark(node, rest) + rest)))


def is_beginning(text: str) -> bool:
    """Tell whether `text` can name a session: its id, or the beginning of one, in letters of either kind."""
    return _BEGINNING.fullmatch(text) is not None


def is_minted_by(session: SessionId, node: NodeId) -> bool:
    """Tell whether `session` is the id of a session on `node`."""
    said = uuid.UUID(session)
    mark, rest = said.bytes[:_MARK_BYTES], said.bytes[_MARK_BYTES:]
    return said.variant == uuid.RFC_4122 and said.version == 8 and mark == _mark(node, rest)


def _mark(node: NodeId, rest: bytes) -> bytes:
    return hashlib.sha256(_DOMAIN + uuid.UUID(node).bytes + rest).digest()[:_MARK_BYTES]
