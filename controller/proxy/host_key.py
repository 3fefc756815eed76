"""The proxy's host key and its certificate: made by the process that shows them, and renewed in good time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from controller.addresses import BoundAddresses, certificate_hosts
from controller.cluster import Cluster
from protocol import certificates, limits


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host key, as asyncssh takes it, and when another one should take its place.

    Attributes:
        authority: which key of the host CA has signed the certificate: where another signs, it is to be replaced too.
    """

    key: asyncssh.SSHKey
    certificate: asyncssh.SSHCertificate
    renew_at: datetime
    authority: str


def make_host_key(cluster: Cluster) -> HostKey:
    """Make a key and have it certified; it is to be renewed at two thirds of the certificate's life.

    Raises:
        AuthorityError: the certificate was not signed.
        StoreError: the authority's key cannot be read.
    """
    key = Ed25519PrivateKey.generate()
    config, now = cluster.config, cluster.clock()
    order = certificates.proxy_order(
        cluster=config.cluster_name,
        hosts=certificate_hosts(config, BoundAddresses.load(config)),
        serial=int.from_bytes(key.public_key().public_bytes_raw()[:7], "big"),
        now=now,
    )
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    authority = cluster.authority.server_key_id("host")  # asked first: one that changes meanwhile is found changed
    line = cluster.authority.sign_ssh(order, public)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    renew_at = now + limits.HOST_CERTIFICATE_TTL * 2 / 3
    return HostKey(asyncssh.import_private_key(pem), asyncssh.import_certificate(line), renew_at, authority)
