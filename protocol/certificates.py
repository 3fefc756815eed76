"""The certificate profile: who may be named how, for how long, and what makes a certificate good.

OpenSSH certificates (PROTOCOL.certkeys) come in two kinds here. A *user* certificate names a person and
the logins that person may use; a *host* certificate names a node or the proxy. What OpenSSH has no field
for travels in extensions whose names end in ``@skerry``; a stock OpenSSH passes over them.

No keys and no signing in this file: `CertificateOrder` says what is to be signed, `SshCertificate` what
was read, and the two `judge_*` functions whether it is good. Their checks are numbered; the label of the
one that refused goes to the audit log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from protocol import limits, names
from protocol.addresses import split_address
from protocol.decision import Granted, Refused
from protocol.names import ClusterName, Login, NodeId, NodeName, RoleName, UserName

CertificateKind = Literal["user", "host"]
HostRole = Literal["node", "proxy"]

USER_EXTENSION = "user@skerry"
ROLES_EXTENSION = "roles@skerry"
# Where the person is, ``HOST:PORT``: in certificates that the web process shows at the proxy's door in their place.
ORIGIN_EXTENSION = "origin@skerry"
# The one node that such a certificate is good for, which the proxy heeds.
NODE_EXTENSION = "node@skerry"
HOST_ROLE_EXTENSION = "role@skerry"
GENERATION_EXTENSION = "generation@skerry"

PERMIT_PTY = "permit-pty"
PERMIT_PORT_FORWARDING = "permit-port-forwarding"
PERMIT_AGENT_FORWARDING = "permit-agent-forwarding"
# What the principal of a certificate without logins begins with; its serial number follows. No login begins so: a
# certificate without any principal is good for every login, to OpenSSH.
NO_LOGIN = "-skerry-nologin-"
USER_PERMISSIONS = (PERMIT_AGENT_FORWARDING, PERMIT_PORT_FORWARDING, PERMIT_PTY)


@dataclass(frozen=True, slots=True)
class SshCertificate:
    """What an OpenSSH certificate says, after its own signature was found right.

    Attributes:
        kind: ``user`` or ``host``.
        key_id: free text for logs.
        serial: the certificate's number, 64 bits.
        principals: the names it is good for.
        valid_after: first instant of validity, UTC.
        valid_before: first instant after it, UTC.
        critical_options: options that a reader must understand or refuse.
        extensions: options that a reader may pass over.
        signing_key: the authority's public key, SSH wire form (RFC 4253 section 6.6).
        public_key: the certified key, same form.
    """

    kind: CertificateKind
    key_id: str
    serial: int
    principals: tuple[str, ...]
    valid_after: datetime
    valid_before: datetime
    critical_options: Mapping[str, bytes]
    extensions: Mapping[str, bytes]
    signing_key: bytes
    public_key: bytes


@dataclass(frozen=True, slots=True)
class CertificateOrder:
    """What is to be signed; made by policy, filled by the authority. Fields as in `SshCertificate`."""

    kind: CertificateKind
    key_id: str
    serial: int
    principals: tuple[str, ...]
    valid_after: datetime
    valid_before: datetime
    extensions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """A person, as a good user certificate names them.

    Attributes:
        origin: where the person is, by the controller's own word; None where the peer is the person's own client.
        node: the only node that the certificate is good for; None for every one that the person may open.
    """

    user: UserName
    roles: tuple[RoleName, ...]
    logins: tuple[Login, ...]
    serial: int
    issued: datetime
    valid_before: datetime
    permissions: frozenset[str]
    origin: tuple[str, int] | None = None
    node: NodeId | None = None


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """A node or the proxy, as a good host certificate names it. `node_id` is None for the proxy."""

    role: HostRole
    node_id: NodeId | None
    serial: int
    generation: int
    valid_before: datetime


def proxy_principal(cluster: ClusterName) -> str:
    """Return the name under which clients and agents check the proxy's host key.

    It holds an ``@``, which no node name may: so no node can ever be certified as the proxy.
    """
    return f"proxy@{cluster}"


def node_principals(node_id: NodeId, name: NodeName, cluster: ClusterName) -> tuple[str, ...]:
    """Return the names a node's host certificate is good for, the UUID first."""
    return (node_id, f"{node_id}.{cluster}", name, f"{name}.{cluster}")


@dataclass(frozen=True, slots=True)
class StandIn:
    """What narrows a certificate that the web process uses in a person's place.

    Attributes:
        origin: where the person is, ``HOST:PORT``; empty where that is not known.
        node: where the way leads.
    """

    origin: str
    node: NodeId


def user_order(  # noqa: PLR0913 - what a user certificate says
    *,
    user: UserName,
    roles: tuple[RoleName, ...],
    logins: tuple[Login, ...],
    ttl: timedelta,
    serial: int,
    now: datetime,
    stand_in: StandIn | None = None,
) -> CertificateOrder:
    """Return the order for a user certificate; `ttl` is held between the profile's least and most.

    Somebody without logins, such as an auditor, gets one principal that is no login. `stand_in` is given for a
    certificate that the web process itself is going to use: good for a terminal and files on one node, no forwarding.
    """
    lifetime = min(max(ttl, limits.USER_CERTIFICATE_MIN), limits.USER_CERTIFICATE_MAX)
    permissions = (PERMIT_PTY,) if stand_in else USER_PERMISSIONS
    extensions = dict.fromkeys(permissions, "") | {USER_EXTENSION: user, ROLES_EXTENSION: ",".join(roles)}
    if stand_in is not None:
        extensions |= {NODE_EXTENSION: stand_in.node} | ({ORIGIN_EXTENSION: stand_in.origin} if stand_in.origin else {})
    return CertificateOrder(
        kind="user",
        key_id=user,
        serial=serial,
        principals=logins or (f"{NO_LOGIN}{serial}",),
        valid_after=now - limits.CLOCK_LEEWAY,
        valid_before=now + lifetime,
        extensions=extensions,
    )


def node_order(
    *, node_id: NodeId, name: NodeName, cluster: ClusterName, generation: int, serial: int, now: datetime
) -> CertificateOrder:
    """Return the order for a node's host certificate."""
    return CertificateOrder(
        kind="host",
        key_id=f"node {node_id}",
        serial=serial,
        principals=node_principals(node_id, name, cluster),
        valid_after=now - limits.CLOCK_LEEWAY,
        valid_before=now + limits.HOST_CERTIFICATE_TTL,
        extensions={HOST_ROLE_EXTENSION: "node", GENERATION_EXTENSION: str(generation)},
    )


def proxy_order(*, cluster: ClusterName, hosts: tuple[str, ...], serial: int, now: datetime) -> CertificateOrder:
    """Return the order for the proxy's host certificate; `hosts` are the addresses people type."""
    return CertificateOrder(
        kind="host",
        key_id=f"proxy {cluster}",
        serial=serial,
        principals=(proxy_principal(cluster), *hosts),
        valid_after=now - limits.CLOCK_LEEWAY,
        valid_before=now + limits.HOST_CERTIFICATE_TTL,
        extensions={HOST_ROLE_EXTENSION: "proxy"},
    )


def _judge_common(
    certificate: SshCertificate, kind: CertificateKind, authorities: Collection[bytes], now: datetime
) -> Refused | None:
    if certificate.kind != kind:
        return Refused(f"a {certificate.kind} certificate where a {kind} certificate is needed", "K1")
    if certificate.signing_key not in authorities:
        return Refused(f"signed by an authority that is not this cluster's {kind} CA", "K2")
    if now + limits.CLOCK_LEEWAY < certificate.valid_after:
        return Refused(f"not valid before {certificate.valid_after:%Y-%m-%dT%H:%M:%SZ}", "K3")
    if now >= certificate.valid_before:
        return Refused(f"expired at {certificate.valid_before:%Y-%m-%dT%H:%M:%SZ}", "K3")
    if certificate.critical_options:
        return Refused(f"critical options not known here: {', '.join(sorted(certificate.critical_options))}", "K4")
    return None


def judge_user_certificate(
    certificate: SshCertificate, *, authorities: Collection[bytes], now: datetime, login: str | None
) -> Granted[UserIdentity] | Refused:
    """Judge a user certificate.

    Args:
        certificate: what was read; its signature has been verified.
        authorities: the user CA's public keys that are trusted, SSH wire form.
        now: the time, UTC, corrected where the device's own clock is not trusted.
        login: the SSH user name that must be among the principals; None at the client door, where the
            login belongs to the inner connection and is judged by the node.
    """
    refused = _judge_common(certificate, "user", authorities, now)  # K1-K4
    if refused:
        return refused
    try:
        user = names.parse_user_name(certificate.extensions.get(USER_EXTENSION, b"").decode())
        roles = _parse_roles(certificate.extensions.get(ROLES_EXTENSION, b"").decode())
        logins = read_logins(certificate.principals)
        origin = _parse_origin(certificate.extensions.get(ORIGIN_EXTENSION, b"").decode())
        node = _parse_node(certificate.extensions.get(NODE_EXTENSION, b"").decode())
    except ValueError:
        return Refused("it does not name a user, roles and logins", "K5")
    if not certificate.principals:
        return Refused("it names no login, which OpenSSH would read as every login", "K6")
    if login is not None and login not in logins:
        text = f'principal "{login}" not in the set of valid principals for given certificate: {list(logins)}'
        return Refused(text, "K7")
    return Granted(
        UserIdentity(
            user=user,
            roles=roles,
            logins=logins,
            serial=certificate.serial,
            issued=certificate.valid_after + limits.CLOCK_LEEWAY,
            valid_before=certificate.valid_before,
            permissions=frozenset(USER_PERMISSIONS) & certificate.extensions.keys(),
            origin=origin,
            node=node,
        )
    )


def _parse_origin(text: str) -> tuple[str, int] | None:
    return split_address(text) if text else None


def _parse_node(text: str) -> NodeId | None:
    return names.parse_node_id(text) if text else None


def read_logins(principals: Iterable[str]) -> tuple[Login, ...]:
    """Return the logins among a user certificate's principals. Raises `ValueError` where one is no login."""
    return tuple(names.parse_login(principal) for principal in principals if not principal.startswith(NO_LOGIN))


def _parse_roles(text: str) -> tuple[RoleName, ...]:
    return tuple(names.parse_role_name(part) for part in text.split(",") if part)


def judge_host_certificate(
    certificate: SshCertificate, *, authorities: Collection[bytes], now: datetime, role: HostRole
) -> Granted[HostIdentity] | Refused:
    """Judge a host certificate that a node or the proxy authenticates with.

    Arguments as in `judge_user_certificate`; `role` is what the other end must be.
    """
    refused = _judge_common(certificate, "host", authorities, now)  # K1-K4
    if refused:
        return refused
    if certificate.extensions.get(HOST_ROLE_EXTENSION) != role.encode():
        return Refused(f"its role is not {role}", "K5")
    try:
        node_id = names.parse_node_id(certificate.principals[0]) if role == "node" else None
        generation = int(certificate.extensions.get(GENERATION_EXTENSION, b"0"))
    except (ValueError, IndexError):
        return Refused("its first principal is not a node's id", "K6")
    return Granted(
        HostIdentity(
            role=role,
            node_id=node_id,
            serial=certificate.serial,
            generation=generation,
            valid_before=certificate.valid_before,
        )
    )
