"""Pins: how a device or a person who holds one line of text recognises the controller's TLS authority.

A pin is ``sha256:`` and the SHA-256, in hex, of a certificate's SubjectPublicKeyInfo in DER (as in
RFC 7469 section 2.4): it names the key, and outlives the certificate's renewal.

tsh and the agent import this module at their start; the certificate library is loaded only when a pin is used.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_PIN = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_BUNDLE_MAX = 256 * 1024


class PinError(ValueError):
    """A text is no pin, or none of the certificates has the key that a pin names. Its message is safe to show."""


def parse_pin(text: object) -> str:
    """Return `text` as a pin, in small letters. Raises `PinError`."""
    pin = text.strip().lower() if isinstance(text, str) else ""
    if not _PIN.fullmatch(pin):
        raise PinError("not a CA pin (sha256: and 64 hexadecimal digits, as `tctl tokens add` prints it)")
    return pin


def spki_pin(certificate_der: bytes) -> str:
    """Return the pin of a certificate in DER. Raises `PinError` where it is none."""
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
    except (ValueError, TypeError):
        raise PinError("not an X.509 certificate in DER") from None
    return _pin_of(certificate)


def certificate_pin(certificate_pem: str) -> str:
    """Return the pin of the first certificate in PEM. Raises `PinError` where there is none."""
    return _pin_of(_load_bundle(certificate_pem)[0])


def choose_anchors(bundle_pem: str, pins: Collection[str]) -> tuple[str, ...]:
    """Return those certificates of `bundle_pem`, PEM, whose key one of `pins` names.

    Raises:
        PinError: `bundle_pem` is no bundle of certificates, a pin is none, or no certificate matches.
    """
    wanted = {parse_pin(pin) for pin in pins}
    found = {certificate: _pin_of(certificate) for certificate in _load_bundle(bundle_pem)}
    chosen = [certificate for certificate, pin in found.items() if pin in wanted]
    if not chosen:
        raise PinError(
            f"the controller's certificate authority does not match the CA pin: expected {_listed(wanted)}, "
            f"found {_listed(found.values())}"
        )
    return _as_pem(chosen)


def read_bundle(bundle_pem: str) -> tuple[str, ...]:
    """Return the certificates of a bundle, each in PEM. Raises `PinError` where it is no bundle of certificates."""
    return _as_pem(_load_bundle(bundle_pem))


def _as_pem(certificates: Collection[Certificate]) -> tuple[str, ...]:
    from cryptography.hazmat.primitives.serialization import Encoding

    return tuple(certificate.public_bytes(Encoding.PEM).decode("ascii") for certificate in certificates)


def _listed(pins: Collection[str]) -> str:
    return " or ".join(sorted(set(pins))) or "nothing"


def _load_bundle(bundle_pem: str) -> list[Certificate]:
    from cryptography import x509

    if len(bundle_pem) > _BUNDLE_MAX:
        raise PinError("the bundle of certificates is too long")
    try:
        return x509.load_pem_x509_certificates(bundle_pem.encode())
    except (ValueError, TypeError):
        raise PinError("not a bundle of X.509 certificates in PEM") from None


def _pin_of(certificate: Certificate) -> str:
    import hashlib

    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        raise PinError("a certificate with a key of a kind that is not known here") from None
    return f"sha256:{hashlib.sha256(key).hexdigest()}"
