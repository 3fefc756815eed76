"""OpenSSH certificates and public keys between their wire form and our own words."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from protocol.certificates import SshCertificate

_END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)


class BadCertificateError(ValueError):
    """A blob is not an OpenSSH certificate with a right signature of its own."""


def key_blob(line: str) -> bytes:
    """Return the wire form (RFC 4253 section 6.6) of a one-line public key or certificate.

    Raises:
        BadCertificateError: it is not one line of type, base64 and perhaps a comment.
    """
    parts = line.split()
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (IndexError, binascii.Error, ValueError):
        raise BadCertificateError("not an OpenSSH public key line") from None
    name_length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + name_length] != parts[0].encode("utf-8", "replace"):
        raise BadCertificateError("not an OpenSSH public key line")
    return blob


def key_line(blob: bytes, comment: str = "") -> str:
    """Return the one-line form of a public key or certificate in wire form."""
    name_length = int.from_bytes(blob[:4], "big")
    name = blob[4 : 4 + name_length].decode("ascii", "replace")
    return f"{name} {base64.b64encode(blob).decode()} {comment}".rstrip()


def parse_certificate(blob: bytes) -> SshCertificate:
    """Read a certificate in wire form and verify that it is signed by the key it says signed it.

    Whether that key is to be trusted is not asked here: see `protocol.certificates`.

    Raises:
        BadCertificateError: it is no certificate, is malformed, or its signature is wrong.
    """
    try:
        certificate = load_ssh_public_identity(key_line(blob).encode())
        if isinstance(certificate, SSHCertificate):
            certificate.verify_cert_signature()
            return _facts(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, OverflowError) as err:
        raise BadCertificateError(f"not an OpenSSH certificate ({type(err).__name__})") from None
    raise BadCertificateError("a plain public key, not a certificate")


def parse_certificate_line(line: str) -> SshCertificate:
    """Read a certificate in one-line form; otherwise as `parse_certificate`."""
    return parse_certificate(key_blob(line))


def _facts(certificate: SSHCertificate) -> SshCertificate:
    return SshCertificate(
        kind="user" if certificate.type is SSHCertificateType.USER else "host",
        key_id=certificate.key_id.decode("utf-8", "replace"),
        serial=certificate.serial,
        principals=tuple(name.decode("utf-8") for name in certificate.valid_principals),
        valid_after=_instant(certificate.valid_after),
        valid_before=_instant(certificate.valid_before),
        critical_options={name.decode("utf-8"): value for name, value in certificate.critical_options.items()},
        extensions={name.decode("utf-8"): value for name, value in certificate.extensions.items()},
        signing_key=_blob_of(certificate.signature_key()),
        public_key=_blob_of(certificate.public_key()),
    )


def _instant(seconds: int) -> datetime:
    return _END_OF_TIME if seconds >= _END_OF_TIME.timestamp() else datetime.fromtimestamp(seconds, UTC)


def _blob_of(key: object) -> bytes:
    line: bytes = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)  # type: ignore[attr-defined]
    return key_blob(line.decode("ascii"))
