"""Which algorithms Skerry's own ends offer, best first: none with SHA-1, finite-field groups, RSA key exchange or DSA.

What is left out the library offers by itself, some of it in the very list of signatures that it announces
(server-sig-algs, RFC 8308 section 3.1) and never holds a peer to: the gate does.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

AES_GCM = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
CHACHA = ("chacha20-poly1305@openssh.com",)
KEY_EXCHANGES = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
)
# Never used, for every cipher here is AEAD; peers want to see some in common.
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
SIGNATURES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "rsa-sha2-256", "rsa-sha2-512")


@functools.cache
def has_aes() -> bool:
    """Tell whether this machine's CPU computes AES itself."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any("aes" in line.split() for line in flags.splitlines() if line.lower().startswith(("flags", "features")))


def ciphers() -> list[str]:
    """Return the ciphers to offer: AES-GCM first where the CPU has AES, ChaCha20 otherwise. All are AEAD."""
    return [*AES_GCM, *CHACHA] if has_aes() else [*CHACHA, *AES_GCM]


def key_exchanges() -> list[str]:
    """Return the key exchanges to offer: ML-KEM with X25519 only where the installed cryptography has it."""
    from asyncssh.kex import get_kex_algs

    known = set(get_kex_algs())
    return [name for name in KEY_EXCHANGES if name.encode() in known]


def offered() -> dict[str, Any]:
    """Return the options that tell asyncssh, at either end of a connection, what to offer."""
    return {
        "kex_algs": key_exchanges(),
        "encryption_algs": ciphers(),
        "mac_algs": list(MACS),
        "signature_algs": list(SIGNATURES),
    }
