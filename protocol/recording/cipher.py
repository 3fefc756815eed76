"""Who may read a recording: AES-256-GCM under the recording's own key, which HPKE wraps to the cluster's.

The suite is HPKE (RFC 9180) in base mode with the hybrid KEM ML-KEM-768 with X25519, so that what is recorded today
stays closed to who stores it and has a quantum computer later. Key generation and encapsulation draw on the
library's own randomness: this module, like `protocol.ssh`, is not pure.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from protocol.names import NodeId, SessionId
from protocol.recording.header import WrappedKey
from protocol.secret import Secret

SUITE = "HPKE/MLKEM768-X25519/HKDF-SHA256/AES-256-GCM"
KEY_SIZE = 32
TAG_SIZE = 16
_MLKEM_PUBLIC = 1184
_MLKEM_SEED = 64
_X25519 = 32
PUBLIC_SIZE = _MLKEM_PUBLIC + _X25519
PRIVATE_SIZE = _MLKEM_SEED + _X25519
_CONTEXT = "skerry recording key v1"


class CipherError(ValueError):
    """A key is not of its kind, or does not open what it was given."""


def generate() -> tuple[Secret[bytes], bytes]:
    """Return a new recording key of a cluster: private and public half, each ML-KEM's part followed by X25519's."""
    mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    return Secret(mlkem.private_bytes_raw() + x25519.private_bytes_raw()), public


def parse_public(data: bytes) -> MLKEM768X25519PublicKey:
    """Return the public half that `generate` made. Raises `CipherError`."""
    if len(data) != PUBLIC_SIZE:
        raise CipherError(f"a recording key's public half is {PUBLIC_SIZE} bytes, not {len(data)}")
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(data[:_MLKEM_PUBLIC])
        return MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(data[_MLKEM_PUBLIC:]))
    except ValueError as err:
        raise CipherError("no recording key's public half") from err


def wrap(key: Secret[bytes], key_id: str, public: bytes, session: SessionId, node: NodeId) -> WrappedKey:
    """Wrap a recording's own key to the cluster's key `key_id`. Raises `CipherError` where `public` is no such key."""
    to = parse_public(public)
    try:
        sealed = _suite().encrypt(key.reveal(), to, _info(session, node))
    except ValueError as err:  # a point of X25519 that shares no secret
        raise CipherError("no recording key's public half") from err
    return WrappedKey(key_id, SUITE, sealed)


def unwrap(wrapped: WrappedKey, private: Secret[bytes], session: SessionId, node: NodeId) -> Secret[bytes]:
    """Return a recording's own key. Raises `CipherError`: another suite, another key, another recording's."""
    if wrapped.suite != SUITE or len(private.reveal()) != PRIVATE_SIZE:
        raise CipherError("the recording's key is wrapped in a way that is not known here")
    seed, scalar = private.reveal()[:_MLKEM_SEED], private.reveal()[_MLKEM_SEED:]
    ours = MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(seed), X25519PrivateKey.from_private_bytes(scalar)
    )
    try:
        key = _suite().decrypt(wrapped.sealed, ours, _info(session, node))
    except (InvalidTag, ValueError) as err:
        raise CipherError("the recording's key does not open with this cluster's") from err
    if len(key) != KEY_SIZE:
        raise CipherError(f"the recording's key is not of {KEY_SIZE} bytes")
    return Secret(key)


def encrypt(key: AESGCM, number: int, frame: bytes, bound: bytes) -> bytes:
    """Return data record `number`'s frame, encrypted and bound to `bound`. Each number is used once under a key."""
    return key.encrypt(_nonce(number), frame, bound)


def decrypt(key: AESGCM, number: int, sealed: bytes, bound: bytes) -> bytes:
    """Undo `encrypt`. Raises `CipherError`."""
    try:
        return key.decrypt(_nonce(number), sealed, bound)
    except (InvalidTag, ValueError) as err:
        raise CipherError("does not open: another key, or changed") from err


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _suite() -> Suite:
    return Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _info(session: SessionId, node: NodeId) -> bytes:
    return f"{_CONTEXT}\n{session}\n{node}".encode()
