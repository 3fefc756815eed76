"""The TLS keys and certificates that the doors present, as the files their servers read."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from controller.addresses import BoundAddresses, certificate_hosts
from controller.authority.x509 import certificate_names, is_self_issued
from controller.cluster import Cluster
from controller.store.durable import replace_file
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
        chain, key = cluster.authority.issue_web(certificate_hosts(cluster.config, bound), cluster.clock())
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


def prepare_probe(cluster: Cluster) -> TlsPair:
    """Return what we show to our own doors to see whether they answer: a certificate that is no node's."""
    chain, key = cluster.authority.issue_broker_client(cluster.clock())
    return _write_pair(cluster, "probe", chain, key)


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


def web_names(cluster: Cluster) -> tuple[str, ...]:
    """Return the names and addresses the web door's certificate is good for; none for a certificate without any."""
    configured = cluster.config.https_keypair
    if configured is None:
        return certificate_hosts(cluster.config, BoundAddresses.load(cluster.config))
    try:
        return certificate_names(configured.cert_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ()


def _last_of(chain: Path) -> str:
    end = "-----END CERTIFICATE-----\n"
    try:
        blocks = chain.read_text(encoding="ascii").replace("\r\n", "\n").split(end)
        start = blocks[-2].index("-----BEGIN CERTIFICATE-----")
    except (OSError, UnicodeDecodeError, ValueError, IndexError):
        raise TlsFileError(f"proxy_service.https_keypairs: {chain} holds no certificate in PEM") from None
    return blocks[-2][start:] + end


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
