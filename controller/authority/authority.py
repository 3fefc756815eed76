"""The cluster's three authorities over the store: user (SSH), host (SSH) and TLS (X.509)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from controller.authority import ssh, x509
from controller.authority.error import AuthorityError
from controller.authority.keys import (
    AUTHORITY_KINDS,
    AuthorityKey,
    AuthorityKind,
    first_record,
    instant_text,
    read_record,
    seal_purpose,
)
from controller.authority.vault import Vault
from controller.store.interface import AlreadyExistsError, Store
from protocol import pins
from protocol.certificates import CertificateOrder
from protocol.names import ClusterName, NodeId
from protocol.secret import Secret

COLLECTION = "authorities"
# An authority's record never expires, so any instant will do to ask for it.
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class Authority:
    """Signs what policy ordered. It judges nothing but the strength of a key.

    Every method may raise `AuthorityError`, and `StoreError` where the store cannot be read. Private keys are
    opened for each signature and kept by nobody: a key that was rotated in another process is used at once.
    """

    def __init__(self, store: Store, vault: Vault, cluster: ClusterName) -> None:
        self._records = store.collection(COLLECTION)
        self._vault = vault
        self._cluster = cluster

    def create_missing(self, now: datetime) -> bool:
        """Make the authorities that do not exist yet; tell whether this call completed them.

        However many processes call it at once, one answer is true in the life of a cluster.
        """
        made = [self._create(kind, now) for kind in AUTHORITY_KINDS]
        return made[-1]

    def sign_ssh(self, order: CertificateOrder, public_key_line: str) -> str:
        """Return the OpenSSH certificate that `order` describes for a public key, both in one line."""
        subject = ssh.parse_subject(public_key_line)
        return ssh.sign(order, subject, self._private(order.kind, self._keys(order.kind)[0]))

    def ssh_authorities(self, kind: Literal["user", "host"]) -> tuple[str, ...]:
        """Return the public keys to trust for `kind` certificates, one line each, the signing one first."""
        return tuple(key.public for key in self._keys(kind))

    def tls_authorities(self) -> tuple[str, ...]:
        """Return the certificates to trust for TLS, PEM, the signing one first."""
        return tuple(key.public for key in self._keys("tls"))

    def ca_pins(self) -> tuple[str, ...]:
        """Return the pins of the TLS authorities, ``sha256:…``, as `protocol.pins` has them."""
        return tuple(pins.certificate_pin(certificate) for certificate in self.tls_authorities())

    def issue_web(self, hosts: Sequence[str], now: datetime) -> tuple[str, Secret[str]]:
        """Return chain and key, PEM, for the web door, reached as any of `hosts` (names and addresses)."""
        return x509.issue_server(hosts, now, self._issuer())

    def issue_api_server(self, hosts: Sequence[str], now: datetime) -> tuple[str, Secret[str]]:
        """Return chain and key, PEM, for the machine API, reached as any of `hosts`."""
        return x509.issue_server(hosts, now, self._issuer())

    def sign_node_tls(self, request_pem: str, node_id: NodeId, now: datetime) -> str:
        """Return a node's client certificate for the machine API, PEM; its common name is `node_id`."""
        return x509.sign_node(request_pem, node_id, now, self._issuer())

    def _issuer(self) -> x509.Issuer:
        key = self._keys("tls")[0]
        return x509.Issuer(self._private("tls", key), key.public)

    def _keys(self, kind: AuthorityKind) -> tuple[AuthorityKey, ...]:
        record = self._records.get(kind, now=_ANY_TIME)
        if record is None:
            raise AuthorityError(f"this cluster has no {kind} authority yet; `controller start` makes it")
        return read_record(kind, record.value)

    def _private(self, kind: AuthorityKind, key: AuthorityKey) -> Secret[bytes]:
        return self._vault.open(key.sealed_private, seal_purpose(kind, key.key_id))

    def _create(self, kind: AuthorityKind, now: datetime) -> bool:
        if self._records.get(kind, now=now) is not None:
            return False
        try:
            self._records.create(kind, first_record(self._new_key(kind, now)), now=now)
        except AlreadyExistsError:
            return False  # another process was quicker; its key counts, this one was shown to nobody
        return True

    def _new_key(self, kind: AuthorityKind, now: datetime) -> AuthorityKey:
        if kind == "tls":
            issuer = x509.new_authority(self._cluster, now)
            private, public = issuer.private, issuer.certificate
        else:
            private, public = ssh.new_authority()
        key_id = str(uuid.uuid4())
        sealed = self._vault.seal(private.reveal(), seal_purpose(kind, key_id))
        return AuthorityKey(key_id, "active", public, sealed, instant_text(now))
