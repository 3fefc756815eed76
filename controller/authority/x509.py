"""X.509: a new TLS authority, the controller's own servers, and the nodes' client certificates (RFC 5280)."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.authority.error import AuthorityError
from controller.authority.keys import RSA_MIN_BITS
from protocol import limits
from protocol.names import ClusterName, NodeId
from protocol.secret import Secret

_REQUEST_MAX = 16 * 1024
_HOSTS_MAX = 100
_HOST_NAME = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?", re.ASCII)
_COMMON_NAME_MAX = 64  # RFC 5280 appendix A, ub-common-name
_PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class Issuer:
    """The TLS authority's signing key and certificate, both PEM.

    Attributes:
        cross: its certificate as another TLS authority of the cluster has signed it, PEM; empty where none has.
    """

    private: Secret[bytes]
    certificate: str
    cross: str = ""

    def chain(self, now: datetime) -> str:
        """Return what stands above a leaf, PEM: who trusts this authority needs nothing of it, who the other is led."""
        return self.cross if self.cross and now < expiry(self.cross) else self.certificate


def new_authority(cluster: ClusterName, now: datetime) -> Issuer:
    """Return a fresh ECDSA P-256 authority for `cluster`, self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # The serial number stands in the name too: two authorities of one cluster, while keys rotate, differ by it.
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster),
            x509.NameAttribute(NameOID.COMMON_NAME, "Skerry TLS authority"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{serial:x}"),
        ]
    )
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), serial)
        .not_valid_before(now - limits.CLOCK_LEEWAY)
        .not_valid_after(now + limits.CA_CERTIFICATE_TTL)
        # One authority below it: the next one, signed by this one while keys rotate.
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return Issuer(_private_pem(key), _pem(certificate))


def cross_sign(certificate_pem: str, now: datetime, issuer: Issuer, life: timedelta) -> str:
    """Return the certificate of another TLS authority of this cluster, signed by `issuer` in its own place, PEM.

    It ends after `life`, or where the first of the two ends, and there is no authority below it.
    """
    other = x509.load_pem_x509_certificate(certificate_pem.encode("ascii"))
    authority, key = _signing(issuer)
    above = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    own = other.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    crossed = (
        x509.CertificateBuilder(authority.subject, other.subject, other.public_key(), x509.random_serial_number())
        .not_valid_before(now - limits.CLOCK_LEEWAY)
        .not_valid_after(min(now + life, other.not_valid_after_utc, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(own, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above), critical=False)
        .sign(key, SHA256())
    )
    return _pem(crossed)


def fingerprint(pem: str) -> str:
    """Return the SHA-256 fingerprint of the first certificate in `pem`, hexadecimal, as `openssl x509` prints it."""
    return x509.load_pem_x509_certificate(pem.encode("ascii")).fingerprint(SHA256()).hex(":").upper()


def key_mark(pem: str) -> str:
    """Return the key identifier of an authority's certificate, hexadecimal: what it signed names it by that."""
    certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def expiry(pem: str) -> datetime:
    """Return the end of the first certificate in `pem`, UTC. Raises `ValueError` where it holds none."""
    return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc


def issue_server(
    hosts: Sequence[str], now: datetime, issuer: Issuer, before: tuple[str, Secret[str]] | None = None
) -> tuple[str, Secret[str]]:
    """Return chain (leaf, then authority) and key, both PEM, of a server that is reached as any of `hosts`.

    Its key is the one of `before`, what it had until now, as long as the authority is the same: whoever was told the
    public key by which to know the server (RFC 7469's pin, as ``curl --pinnedpubkey`` takes it) goes on to know it.

    Raises:
        AuthorityError: there is no host, too many, or one that is neither a name nor an address.
    """
    names = list(dict.fromkeys(_general_name(host) for host in hosts))
    if not 0 < len(names) <= _HOSTS_MAX:
        raise AuthorityError(f"a server's certificate needs from 1 to {_HOSTS_MAX} hosts, not {len(names)}")
    key = (before and _key_before(*before, issuer)) or ec.generate_private_key(ec.SECP256R1())
    common = str(names[0].value)
    subject = common if len(common) <= _COMMON_NAME_MAX else "Skerry server"
    leaf = _sign(
        _leaf(subject, key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH)
        .not_valid_before(now - limits.CLOCK_LEEWAY)
        .not_valid_after(now + limits.WEB_CERTIFICATE_TTL)
        .add_extension(x509.SubjectAlternativeName(names), critical=False),
        issuer,
    )
    return _pem(leaf) + issuer.chain(now), Secret(_private_pem(key).reveal().decode("ascii"))


def public_key_pin(pem: str) -> str:
    """Return the SHA-256 of a certificate's public key (RFC 7469 section 2.4), in base64.

    Raises:
        AuthorityError: `pem` begins with no certificate.
    """
    try:
        key = x509.load_pem_x509_certificate(pem.encode("ascii")).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise AuthorityError("no certificate in PEM") from None
    digest = Hash(SHA256())
    digest.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return b64encode(digest.finalize()).decode("ascii")


def _key_before(chain: str, key: Secret[str], issuer: Issuer) -> ec.EllipticCurvePrivateKey | None:
    """Return the key that a server had, where this authority has certified it; None for any other, or for no key."""
    try:
        leaf = x509.load_pem_x509_certificate(chain.encode("ascii"))
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(issuer.certificate.encode("ascii")))
        found = load_pem_private_key(key.reveal().encode("ascii"), None)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return None
    is_its_own = isinstance(found, ec.EllipticCurvePrivateKey) and found.public_key() == leaf.public_key()
    return found if is_its_own and isinstance(found, ec.EllipticCurvePrivateKey) else None


def sign_node(request_pem: str, node_id: NodeId, now: datetime, issuer: Issuer) -> str:
    """Return the client certificate of a node, PEM. Only the key is taken from the request, no name.

    Raises:
        AuthorityError: it is no PKCS #10 request in PEM, is not signed by its own key, or its key is weak.
    """
    leaf = _sign(
        _leaf(node_id, _requested_key(request_pem), ExtendedKeyUsageOID.CLIENT_AUTH)
        .not_valid_before(now - limits.CLOCK_LEEWAY)
        .not_valid_after(now + limits.HOST_CERTIFICATE_TTL),
        issuer,
    )
    return _pem(leaf)


def issue_client(name: str, now: datetime, issuer: Issuer) -> tuple[str, Secret[str]]:
    """Return chain (leaf, then authority) and key, both PEM, by which one of our own processes is `name` to others."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _sign(
        _leaf(name, key.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH)
        .not_valid_before(now - limits.CLOCK_LEEWAY)
        .not_valid_after(now + limits.WEB_CERTIFICATE_TTL),
        issuer,
    )
    return _pem(leaf) + issuer.chain(now), Secret(_private_pem(key).reveal().decode("ascii"))


def revocation_list(serials: Iterable[int], now: datetime, issuer: Issuer) -> str:
    """Return the PEM of the list of `serials` that `issuer` takes back (RFC 5280, section 5).

    It is good for as long as an authority is: who reads an old one must not shut everybody out, and there is always a
    newer one where something changed.
    """
    authority, key = _signing(issuer)
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(now - limits.CLOCK_LEEWAY)
        .next_update(now + limits.CA_CERTIFICATE_TTL)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
    )
    revoked = x509.RevokedCertificateBuilder().revocation_date(now - limits.CLOCK_LEEWAY)
    for serial in sorted(set(serials)):
        made = made.add_revoked_certificate(revoked.serial_number(serial).build())
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM).decode("ascii")


def is_self_issued(pem: str) -> bool:
    """Tell whether the certificate names itself as its issuer: a chain that ends in it leads nowhere else."""
    certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
    return certificate.issuer == certificate.subject


def certificate_names(pem: str) -> tuple[str, ...]:
    """Return the DNS names and IP addresses that the first certificate in `pem` is good for (RFC 5280, 4.2.1.6).

    Raises:
        ValueError: it holds no certificate.
    """
    certificate = x509.load_pem_x509_certificate(pem.encode())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def _requested_key(request_pem: str) -> _PublicKey:
    if len(request_pem) > _REQUEST_MAX:
        raise AuthorityError("the certificate request is too long")
    try:
        request = x509.load_pem_x509_csr(request_pem.encode())
        key = request.public_key()
        genuine = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as err:
        raise AuthorityError("not a certificate request (PKCS #10) in PEM") from err
    if not genuine:
        raise AuthorityError("the certificate request is not signed by the key it names")
    strong = isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey)
    if not strong and not (isinstance(key, rsa.RSAPublicKey) and key.key_size >= RSA_MIN_BITS):
        raise AuthorityError(f"the request's key is neither ECDSA, Ed25519 nor RSA of {RSA_MIN_BITS} bits")
    return key  # type: ignore[return-value]  # mypy does not follow `strong`


def _general_name(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        lowered = host.lower().rstrip(".")
    if not _HOST_NAME.fullmatch(lowered):
        raise AuthorityError(f"neither a host name nor an IP address: {host[:100]!r}")
    return x509.DNSName(lowered)


def _leaf(common_name: str, key: _PublicKey, usage: x509.ObjectIdentifier) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _signing(issuer: Issuer) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    authority = x509.load_pem_x509_certificate(issuer.certificate.encode())
    key = load_pem_private_key(issuer.private.reveal(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityError("the TLS authority's key is not ECDSA")
    return authority, key


def _sign(leaf: x509.CertificateBuilder, issuer: Issuer) -> x509.Certificate:
    authority, key = _signing(issuer)
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        leaf.issuer_name(authority.subject)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, SHA256())
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> Secret[bytes]:
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
