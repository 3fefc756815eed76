"""What a node is handed when it joins and when it renews: certificates for its own keys, and whom to trust."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509

from controller.authority import Authority
from controller.authority.ssh import fingerprint
from controller.enrolment.nodes import NodeRecord, TlsSerial
from controller.terms import Terms
from protocol import certificates, limits
from protocol.endorsement import Endorsed
from protocol.messages import JoinReply, Ping
from protocol.names import ClusterName
from protocol.ssh.certificate import key_line, parse_certificate_line


@dataclass(frozen=True, slots=True)
class Issue:
    """What is handed out, and the node as it is kept once that has happened."""

    node: NodeRecord
    reply: JoinReply
    expires: datetime


@dataclass(frozen=True, slots=True)
class Issuer:
    """Fills in what policy has decided.

    Attributes:
        policy: makes the signed policy document of the moment; None where there is none.
        document: makes the signed document for this node alone; None where there is none.
    """

    authority: Authority
    terms: Terms
    cluster: ClusterName
    clock: Callable[[], datetime]
    policy: Callable[[], Endorsed | None]
    document: Callable[[NodeRecord], Endorsed | None]

    def certify(self, node: NodeRecord, tls_request: str, ping: Ping) -> Issue:
        """Certify a node's keys. Raises `AuthorityError` where they cannot be certified."""
        now = self.clock()
        order = certificates.node_order(
            node_id=node.node_id,
            name=node.name,
            cluster=self.cluster,
            generation=node.generation,
            serial=secrets.randbits(63),
            now=now,
        )
        host = self.authority.sign_ssh(order, node.ssh_public_key)
        tls = self.authority.sign_node_tls(tls_request, node.node_id, now)
        # Policy lets a node that has all of its places taken have the oldest one's now and then.
        kept = [held for held in node.tls_serials if held.expires > now][-(limits.TLS_CERTIFICATES_MAX - 1) :]
        signer = fingerprint(key_line(parse_certificate_line(host).signing_key))
        node = replace(node, tls_serials=(*kept, read_serial(tls)), host_signer=signer)
        reply = replace(self._reply(node, ping), host_certificate=host, tls_certificate=tls)
        return Issue(node, reply, order.valid_before)

    def put_off(self, node: NodeRecord, ping: Ping) -> JoinReply:
        """Return what a node is told that waits for approval: all but certificates."""
        return replace(self._reply(node, ping), pending=True, generation=0)

    def _reply(self, node: NodeRecord, ping: Ping) -> JoinReply:
        return JoinReply(
            node_id=node.node_id,
            name=node.name,
            cluster_name=self.cluster,
            labels=node.labels,
            host_certificate="",
            tls_certificate="",
            user_authorities=self.authority.ssh_authorities("user"),
            host_authorities=self.authority.ssh_authorities("host"),
            tls_authorities=self.authority.tls_authorities(),
            tunnel_address=ping.tunnel_address,
            api_address=ping.api_address,
            recording=self.terms.current(),
            mqtt_address=ping.mqtt_address,
            generation=node.generation,
            policy=self.policy(),
            node=self.document(node),
        )


def count_held(node: NodeRecord, now: datetime) -> int:
    """Return how many of a node's TLS certificates have not expired."""
    return sum(held.expires > now for held in node.tls_serials)


def idle_time(node: NodeRecord, now: datetime) -> timedelta:
    """Return how long ago a node was certified last."""
    return now - (node.renewed or node.joined)


def read_serial(pem: str) -> TlsSerial:
    """Return what is kept of the first certificate in `pem`. One more minute spares those with slow clocks."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    expires = certificate.not_valid_after_utc + limits.CLOCK_LEEWAY
    above = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    return TlsSerial(f"{certificate.serial_number:x}", expires, (above or b"").hex())
