"""The three authorities of a cluster, with real keys, for tests of what stands at the other end."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_key,
)

from protocol.certificates import CertificateOrder


def private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def public_line(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@dataclass
class SshAuthority:
    """One SSH certificate authority."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def line(self) -> str:
        return public_line(self.key)

    def sign(self, order: CertificateOrder, public_key: str) -> str:
        """Return the certificate that `order` asks for, as one line."""
        subject = load_ssh_public_key(public_key.encode())
        kind = SSHCertificateType.USER if order.kind == "user" else SSHCertificateType.HOST
        builder = (
            SSHCertificateBuilder()
            .public_key(subject)  # type: ignore[arg-type]  # tests give it Ed25519 keys
            .type(kind)
            .serial(order.serial)
            .key_id(order.key_id.encode())
            .valid_principals([name.encode() for name in order.principals])
            .valid_after(order.valid_after.timestamp())
            .valid_before(order.valid_before.timestamp())
        )
        for name, value in sorted(order.extensions.items()):
            builder = builder.add_extension(name.encode(), value.encode())
        return builder.sign(self.key).public_bytes().decode()


class WebAuthority:
    """A TLS authority and a certificate of its making for 127.0.0.1 and localhost."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "insecure test authority")])
        self._name = name
        root = self._builder(name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.certificate = root.sign(self._key, hashes.SHA256())
        self.certificate_file, self.key_file = folder / "web.crt", folder / "web.key"
        self._issue()

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def _issue(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        leaf = self._builder(x509.Name([]), key).add_extension(x509.SubjectAlternativeName(names), critical=True)
        pem = leaf.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        self.certificate_file.write_bytes(pem)
        self.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
