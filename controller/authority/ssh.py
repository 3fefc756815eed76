"""OpenSSH certificates: a new authority's key, and the signing of an order."""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_pem_private_key,
    load_ssh_public_key,
)

from controller.authority.error import AuthorityError
from controller.authority.keys import RSA_MIN_BITS
from protocol.certificates import CertificateOrder
from protocol.secret import Secret

_KEY_LINE_MAX = 16 * 1024
_SUBJECT_TYPES = frozenset(
    {"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"}
)
_SERIALS = 2**64
SubjectKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def new_authority() -> tuple[Secret[bytes], str]:
    """Return a fresh Ed25519 private key (PKCS #8, PEM) and its public key in one line."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return Secret(private), public.decode("ascii")


def fingerprint(line: str) -> str:
    """Return the SHA-256 fingerprint of a public key in one-line form, as ``ssh-keygen -l`` shows it."""
    digest = sha256(b64decode(line.split()[1])).digest()
    return f"SHA256:{b64encode(digest).decode('ascii').rstrip('=')}"


def sign_bytes(data: bytes, authority: Secret[bytes]) -> bytes:
    """Return the Ed25519 signature of an SSH authority over `data`. Raises `AuthorityError` for another kind of key."""
    key = load_pem_private_key(authority.reveal(), None)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise AuthorityError("the SSH authority's key is not Ed25519")
    return key.sign(data)


def parse_subject(line: str) -> SubjectKey:
    """Return the key to be certified.

    Raises:
        AuthorityError: it is none, or too weak, or of a kind that is not certified here.
    """
    words = line.split()[:2]
    if len(line) > _KEY_LINE_MAX or len(words) != 2 or words[0] not in _SUBJECT_TYPES:
        raise AuthorityError("not an Ed25519, ECDSA or RSA public key in OpenSSH's one-line form")
    try:
        key = load_ssh_public_key(" ".join(words).encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as err:
        raise AuthorityError("not a public key in OpenSSH's one-line form") from err
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_MIN_BITS:
        raise AuthorityError(f"an RSA key of {key.key_size} bits is too short; it takes {RSA_MIN_BITS}, or Ed25519")
    if not isinstance(key, SubjectKey):
        raise AuthorityError("a key of this kind is not certified here; use Ed25519")
    return key


def sign(order: CertificateOrder, subject: SubjectKey, authority: Secret[bytes]) -> str:
    """Return the certificate that `order` describes for `subject`, in one line.

    Raises:
        AuthorityError: the order names nobody, or what it says does not fit into a certificate.
    """
    if not order.principals:
        raise AuthorityError("a certificate without principals would be good for everyone")
    if not 0 <= order.serial < _SERIALS:
        raise AuthorityError("a serial number has 64 bits")
    key = load_pem_private_key(authority.reveal(), None)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise AuthorityError("the authority's key is not Ed25519")
    try:
        return _builder(order, subject).sign(key).public_bytes().decode("ascii")
    except (ValueError, TypeError) as err:
        raise AuthorityError(f"the certificate for {order.key_id!r} cannot be made") from err


def _builder(order: CertificateOrder, subject: SubjectKey) -> SSHCertificateBuilder:
    builder = (
        SSHCertificateBuilder()
        .public_key(subject)
        .type(SSHCertificateType.USER if order.kind == "user" else SSHCertificateType.HOST)
        .serial(order.serial)
        .key_id(order.key_id.encode())
        .valid_principals([name.encode() for name in order.principals])
        .valid_after(int(order.valid_after.timestamp()))
        .valid_before(int(order.valid_before.timestamp()))
    )
    # OpenSSH refuses a certificate whose extensions are not in lexical order (PROTOCOL.certkeys).
    for name, value in sorted(order.extensions.items()):
        builder = builder.add_extension(name.encode(), value.encode())
    return builder
