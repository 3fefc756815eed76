"""Password hashes: argon2id (RFC 9106) at the parameters OWASP gives for servers: 19 MiB, 2 passes, 1 lane."""

from __future__ import annotations

import ctypes
import threading
import unicodedata
from contextlib import suppress

import argon2

from protocol.secret import Secret

# <malloc.h>, GNU's: from which size on memory comes from the kernel, and goes back to it. The C library raises that to
# what was freed last, so that every thread that ever hashed would keep the 19 MiB: 300 in each worker of the web door.
_M_MMAP_THRESHOLD = -3
with suppress(AttributeError):
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)
_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# Hashing is bounded: a flood of sign-ins queues here instead of taking the machine's memory.
_ROOM = threading.BoundedSemaphore(4)
# What the password of a user who does not exist is held against, so that both take the same time. It is written
# down, for every program that loads this module, tctl too, would else hash before it begins.
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$QjJ6raJRMdJ5uh2Qg4HXlQ$EDlPcEYPAcUyTZ3zI/x/vRE9el8F7N7uqrOjpDtTN2w"


def _octets(password: str) -> bytes:
    # JSON may carry half a surrogate pair, which no encoding knows: it is a wrong password, not a fault.
    return normalise(password).encode("utf-8", "surrogatepass")


def normalise(password: str) -> str:
    """Return `password` in the one form that is measured, hashed and verified (Unicode NFC)."""
    return unicodedata.normalize("NFC", password)


def hash_password(password: Secret[str]) -> str:
    """Return the PHC string to keep for `password`."""
    with _ROOM:
        return _HASHER.hash(_octets(password.reveal()))


def verify_password(kept: str | None, password: Secret[str]) -> bool:
    """Tell whether `password` is the one behind `kept`; None takes as long and is always wrong."""
    octets = _octets(password.reveal())
    try:
        with _ROOM:
            _HASHER.verify(kept or _NOBODY, octets)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return kept is not None
