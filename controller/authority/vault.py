"""Secrets at rest: sealed under one master key, which lives in a file of its own.

Whoever reads the store alone, or a backup of it, learns no private key and no one-time-code secret.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controller.authority.error import AuthorityError
from protocol.secret import Secret

MASTER_KEY_BYTES = 32
_NONCE_BYTES = 12  # 96 bits, as NIST SP 800-38D recommends; random, for some 2**32 seals a key
_SEAL_VERSION = "v1:"
_MAC_INFO = b"skerry vault mac v1"


class VaultError(AuthorityError):
    """The master key cannot be had, or something was not sealed by it."""


class Vault:
    """Seals and opens small secrets with AES-256-GCM."""

    def __init__(self, key: Secret[bytes]) -> None:
        """Take the master key, 32 bytes. Raises `VaultError` for any other length."""
        if len(key.reveal()) != MASTER_KEY_BYTES:
            raise VaultError(f"a master key is {MASTER_KEY_BYTES} bytes")
        self._cipher = AESGCM(key.reveal())
        derived = HKDF(SHA256(), MASTER_KEY_BYTES, salt=None, info=_MAC_INFO).derive(key.reveal())
        self._mac_key = Secret(derived)

    def seal(self, plaintext: bytes, purpose: str) -> str:
        """Return `plaintext` sealed, as text. It opens for the same `purpose` only, such as ``totp:alice``."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, plaintext, _associated(purpose))
        return _SEAL_VERSION + base64.b64encode(nonce + sealed).decode("ascii")

    def open(self, sealed: str, purpose: str) -> Secret[bytes]:
        """Return what was sealed for `purpose`.

        Raises:
            VaultError: it was sealed with another key or for another purpose, or was changed since.
        """
        if not sealed.startswith(_SEAL_VERSION):
            raise VaultError(f"the secret for {purpose} is not sealed in a way this version knows")
        try:
            blob = base64.b64decode(sealed.removeprefix(_SEAL_VERSION), validate=True)
            return Secret(self._cipher.decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], _associated(purpose)))
        except (binascii.Error, ValueError, InvalidTag):
            raise VaultError(
                f"the secret for {purpose} does not open: it was changed, or the master key file is not the one it "
                "was sealed with; put the right master key file back, or restore the store from a backup"
            ) from None

    def mac(self, data: bytes, purpose: str) -> bytes:
        """Return 32 bytes that only a holder of the master key can tell for `data`: HMAC-SHA-256 (RFC 2104).

        The same `data` for another `purpose` gives others. The HMAC key is derived from the master key by HKDF
        (RFC 5869), so that no key serves two algorithms.
        """
        return hmac.digest(self._mac_key.reveal(), purpose.encode() + b"\0" + data, "sha256")


def _associated(purpose: str) -> bytes:
    return b"skerry vault v1\0" + purpose.encode()
