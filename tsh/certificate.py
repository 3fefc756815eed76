"""What the user's own certificate says, read without any cryptography: `tsh status` must start fast.

Nothing is verified here. The file is the user's own, and whoever is shown the certificate judges it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime

from protocol.certificates import NO_LOGIN

_END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)
_TYPE = b"ssh-ed25519-cert-v01@openssh.com"


class UnreadableCertificateError(ValueError):
    """A text is not an Ed25519 user certificate in OpenSSH's one-line form."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What is shown of a certificate.

    Attributes:
        logins: the logins it is good for.
        valid_before: the first instant after its life, UTC.
        extensions: name to value, a value without its length field.
    """

    logins: tuple[str, ...]
    valid_before: datetime
    extensions: dict[str, str]

    def permissions(self) -> list[str]:
        """Return the extensions OpenSSH knows, sorted: those that say what is permitted."""
        return sorted(name for name in self.extensions if "@" not in name)


class _Wire:
    """Reads the fields of PROTOCOL.certkeys, front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def more(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise UnreadableCertificateError("the certificate is cut short")
        self._at += size
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def string(self) -> bytes:
        return self.take(self.number(4))


def read_certificate(line: str) -> CertificateFacts:
    """Return what the certificate in `line` says.

    Raises:
        UnreadableCertificateError: it is not an Ed25519 user certificate (PROTOCOL.certkeys).
    """
    try:
        wire = _Wire(base64.b64decode(line.split()[1], validate=True))
        return _read(wire)
    except UnreadableCertificateError:
        raise
    except (IndexError, ValueError):  # no second word, not base64, not UTF-8
        raise UnreadableCertificateError("not an OpenSSH certificate") from None


def _read(wire: _Wire) -> CertificateFacts:
    if wire.string() != _TYPE:
        raise UnreadableCertificateError("not an Ed25519 certificate")
    wire.string()  # nonce
    wire.string()  # public key
    wire.number(8)  # serial
    if wire.number(4) != 1:
        raise UnreadableCertificateError("not a user certificate")
    wire.string()  # key id
    names = _Wire(wire.string())
    principals = []
    while names.more():
        principals.append(names.string().decode())
    wire.number(8)  # valid after
    until = wire.number(8)
    wire.string()  # critical options
    valid_before = _END_OF_TIME if until >= _END_OF_TIME.timestamp() else datetime.fromtimestamp(until, UTC)
    logins = tuple(principal for principal in principals if not principal.startswith(NO_LOGIN))
    return CertificateFacts(logins, valid_before, _read_extensions(_Wire(wire.string())))


def _read_extensions(wire: _Wire) -> dict[str, str]:
    found = {}
    while wire.more():
        name, data = wire.string().decode(), wire.string()
        found[name] = _Wire(data).string().decode() if data else ""
    return found
