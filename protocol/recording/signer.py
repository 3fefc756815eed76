"""Who seals a recording: a node's Ed25519 public key, as OpenSSH writes it on one line (RFC 8709 section 4)."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode

from protocol.recording.header import SIGNER_SIZE

_ALGORITHM = "ssh-ed25519"
_LINE_MAX = 8 * 1024
# Two texts, each after its length in four bytes: the algorithm, and the key.
_LEAD = len(_ALGORITHM).to_bytes(4, "big") + _ALGORITHM.encode() + SIGNER_SIZE.to_bytes(4, "big")


class SignerError(ValueError):
    """A text is no such public key. Its message is safe to show."""


def parse_signer(line: str) -> bytes:
    """Return the 32 bytes of the public key in ``ssh-ed25519 AAAA… comment``. Raises `SignerError`."""
    words = line.split() if len(line) <= _LINE_MAX else []
    if len(words) < 2 or words[0] != _ALGORITHM:
        raise SignerError("not an Ed25519 public key in one line, such as: ssh-ed25519 AAAA…")
    try:
        data = b64decode(words[1], validate=True)
    except ValueError:
        data = b""
    if not data.startswith(_LEAD) or len(data) != len(_LEAD) + SIGNER_SIZE:
        raise SignerError("what follows ssh-ed25519 is not such a key: a part of the line may be missing")
    return data[len(_LEAD) :]


def signer_line(signer: bytes) -> str:
    """Return the public key as OpenSSH writes it, without a comment."""
    return f"{_ALGORITHM} {b64encode(_LEAD + signer).decode()}"


def fingerprint(signer: bytes) -> str:
    """Return what `ssh-keygen -l` shows of the key: ``SHA256:…``."""
    return "SHA256:" + b64encode(hashlib.sha256(_LEAD + signer).digest()).decode().rstrip("=")
