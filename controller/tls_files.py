"""The TLS keys and certificates that the doors present, as the files their servers read."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from controller.addresses import BoundAddresses, certificate_hosts, unwary
from controller.authority.error import AuthorityError
from controller.authority.x509 import certificate_names, is_self_issued, public_key_pin
from controller.cluster import Cluster
from controller.store.durable import replace_file, write_all
from protocol.pins import certificate_pin
from protocol.secret import Secret


class TlsFileError(Exception):
    """A TLS key or certificate cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class TlsPair:
    """A certificate chain and its key, PEM files; `client_authorities` where peers must bring certificates."""

    cert_file: Path
    key_file: Path
    client_authorities: Path | None = None


def prepare_web(cluster: Cluster, bound: BoundAddresses) -> TlsPair:
    """Return what the web door presents: the admin's pair, or a fresh one of our own. Raises `TlsFileError`."""
    configured = cluster.config.https_keypair
    if configured is None:
        hosts = certificate_hosts(cluster.config, bound)
        chain, key = cluster.authority.issue_web(hosts, cluster.clock(), _web_before(cluster))
        return _write_pair(cluster, "web", chain, key)
    pair = TlsPair(configured.cert_file, configured.key_file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair.cert_file, pair.key_file)
    except (OSError, ssl.SSLError) as err:
        reason = err.strerror or str(err)
        raise TlsFileError(f"proxy_service.https_keypairs: {pair.key_file} and {pair.cert_file}: {reason}") from None
    return pair


def prepare_api(cluster: Cluster, bound: BoundAddresses) -> TlsPair:
    """Return what the machine API presents, and the authorities whose certificates it demands."""
    hosts = (f"api.{cluster.config.cluster_name}", *certificate_hosts(cluster.config, bound))
    chain, key = cluster.authority.issue_api_server(hosts, cluster.clock())
    pair = _write_pair(cluster, "api", chain, key)
    authorities = _write(_directory(cluster) / "node-authorities.crt", "".join(cluster.authority.tls_authorities()))
    return TlsPair(pair.cert_file, pair.key_file, authorities)


def prepare_probe(cluster: Cluster) -> ssl.SSLContext:
    """Return what to knock with at our own doors: `unwary`, showing a certificate that is no node's.

    It lies in memory alone: whoever looks changes nothing, and sees a door that is well though the disk is full.

    Raises:
        AuthorityError, StoreError, OSError: none can be made.
    """
    chain, key = cluster.authority.issue_broker_client(cluster.clock())
    context, fd = unwary(), os.memfd_create("probe", os.MFD_CLOEXEC)  # ssl reads files only
    try:
        write_all(fd, f"{chain}{key.reveal()}".encode("ascii"))
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return context


def anchors(cluster: Cluster) -> str:
    """Return the certificates that a peer may pin to trust the web door, as one PEM bundle.

    The TLS CA's, and with a pair of the admin's the last of its chain: a self-signed certificate is its own anchor.
    """
    configured = cluster.config.https_keypair
    own = "".join(cluster.authority.tls_authorities())
    return own if configured is None else _last_of(configured.cert_file) + own


def web_pins(cluster: Cluster) -> tuple[str, ...]:
    """Return the pins to give to tsh and agents, the one that holds for the web door."""
    configured = cluster.config.https_keypair
    if configured is None:
        return cluster.authority.ca_pins()
    return (certificate_pin(_last_of(configured.cert_file)),)


def login_pins(cluster: Cluster) -> tuple[str, ...]:
    """Return the pins that a person needs to sign in: none where the web door's chain leads to another's authority."""
    configured = cluster.config.https_keypair
    if configured is not None and not is_self_issued(_last_of(configured.cert_file)):
        return ()
    return web_pins(cluster)


def web_public_key(cluster: Cluster) -> str:
    """Return the SHA-256 of the web door's own public key in base64, as ``curl --pinnedpubkey sha256//…`` takes it.

    Empty where its certificate is not the cluster's own, or not made yet: then nobody needs it, or nobody can be told.
    """
    chain = _web_chain(cluster) if login_pins(cluster) else ""
    try:
        return public_key_pin(chain) if chain else ""
    except AuthorityError:
        return ""


def web_names(cluster: Cluster) -> tuple[str, ...]:
    """Return the names and addresses the web door's certificate is good for; none for a certificate without any."""
    configured = cluster.config.https_keypair
    if configured is None:
        return certificate_hosts(cluster.config, BoundAddresses.load(cluster.config))
    try:
        return certificate_names(configured.cert_file.read_text(encoding="ascii", errors="replace"))
    except (OSError, ValueError):
        return ()


def _last_of(chain: Path) -> str:
    end = "-----END CERTIFICATE-----\n"
    try:
        blocks = chain.read_text(encoding="ascii", errors="replace").replace("\r\n", "\n").split(end)
        start = blocks[-2].index("-----BEGIN CERTIFICATE-----")
    except (OSError, ValueError, IndexError):
        raise TlsFileError(f"proxy_service.https_keypairs: {chain} holds no certificate in PEM") from None
    return blocks[-2][start:] + end


def _web_chain(cluster: Cluster) -> str:
    """Return the chain that the web door presents, PEM; empty where there is none."""
    configured = cluster.config.https_keypair
    path = configured.cert_file if configured else cluster.config.data_dir / "tls" / "web.crt"
    return _text_of(path)


def _web_before(cluster: Cluster) -> tuple[str, Secret[str]] | None:
    """Return the web door's chain and key until now, of our own making; None where there are none."""
    chain, key = _text_of(_directory(cluster) / "web.crt"), _text_of(_directory(cluster) / "web.key")
    return (chain, Secret(key)) if chain and key else None


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _directory(cluster: Cluster) -> Path:
    directory = cluster.config.data_dir / "tls"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def _write_pair(cluster: Cluster, name: str, chain: str, key: Secret[str]) -> TlsPair:
    directory = _directory(cluster)
    return TlsPair(_write(directory / f"{name}.crt", chain), _write(directory / f"{name}.key", key.reveal()))


def _write(path: Path, text: str) -> Path:
    os.close(replace_file(path, text.encode("ascii")))
    return path
