"""A device's host key, and its word for what it asks: the same for a join and for a renewal."""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key


def is_proven(line: str, proof: str, statement: bytes) -> bool:
    """Tell whether `proof` (base64) is the signature over `statement` of the Ed25519 key in OpenSSH one-line form."""
    key = _host_key(line)
    if key is None:
        return False
    try:
        key.verify(base64.b64decode(proof, validate=True), statement)
    except (ValueError, TypeError, binascii.Error, InvalidSignature):
        return False
    return True


def fingerprint(line: str) -> str:
    """Return what a host key is known by, hexadecimal; empty for what is no such key."""
    key = _host_key(line)
    return "" if key is None else hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _host_key(line: str) -> Ed25519PublicKey | None:
    try:
        key = load_ssh_public_key(line.encode())
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None
