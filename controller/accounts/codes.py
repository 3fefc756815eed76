"""One-time codes: TOTP (RFC 6238), SHA-1, six digits, 30 s, as every authenticator app makes them."""

from __future__ import annotations

from datetime import datetime

import pyotp

from protocol import limits
from protocol.secret import Secret

_PERIOD = int(limits.TOTP_PERIOD.total_seconds())


def new_secret() -> Secret[str]:
    """Return a fresh secret, base32, 160 bits as RFC 4226 section 4 recommends."""
    return Secret(pyotp.random_base32())


def provisioning_uri(secret: Secret[str], user: str, cluster: str) -> Secret[str]:
    """Return the ``otpauth://`` address that authenticator apps read from the QR code."""
    return Secret(pyotp.TOTP(secret.reveal()).provisioning_uri(name=user, issuer_name=f"Skerry {cluster}"))


def code_at(secret: Secret[str], now: datetime) -> str:
    """Return the code that an authenticator app shows at `now`."""
    return pyotp.TOTP(secret.reveal()).at(now)


def matching_step(secret: Secret[str], code: str, now: datetime) -> int | None:
    """Return which period's code `code` is, the present one or a neighbour; None where it is none.

    All candidates are compared, in constant time each.
    """
    totp = pyotp.TOTP(secret.reveal())
    digits = "".join(code.split())
    if not (digits.isascii() and digits.isdigit() and len(digits) == limits.TOTP_DIGITS):
        return None
    present = int(now.timestamp()) // _PERIOD
    steps = range(present - limits.TOTP_SKEW_STEPS, present + limits.TOTP_SKEW_STEPS + 1)
    right = [step for step in steps if pyotp.utils.strings_equal(totp.generate_otp(step), digits)]
    return right[0] if right else None
