"""How our own processes come to the broker: where it is, how it is known, and as whom they come."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import datetime

from controller.addresses import BoundAddresses
from controller.authority import Authority
from controller.broker.error import BrokerError
from controller.config import Address, ControllerConfig
from controller.store.durable import make_private_directory, replace_file

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound


@dataclass(frozen=True, slots=True)
class Entrance:
    """The way in.

    Attributes:
        address: where the broker is dialled.
        server_name: the name that its certificate must bear, to be given as ``server_hostname``.
        context: verifies the broker, and presents our certificate; not to be changed.
    """

    address: Address
    server_name: str
    context: ssl.SSLContext


def open_entrance(
    config: ControllerConfig, bound: BoundAddresses, authority: Authority, now: datetime
) -> Entrance | None:
    """Return how to reach the broker now, with a fresh certificate of our own; None where there is no broker.

    The certificate is good for `limits.WEB_CERTIFICATE_TTL`, and is refused once the TLS authority has been rotated
    away: who is refused opens the entrance anew.

    Raises:
        BrokerError: the files that the configuration names cannot be used, or ours cannot be written.
        AuthorityError: nothing can be signed.
    """
    name = f"mqtt.{config.cluster_name}"
    if config.external_broker is not None:
        external = config.external_broker
        server_name = external.address[0] if external.ca_file else name
        return Entrance(external.address, server_name, _external_context(config, authority, now))
    if bound.mqtt is None:
        return None
    host, port = bound.mqtt
    return Entrance((_ANY.get(host, host), port), name, _own_context(config, authority, now))


def _external_context(config: ControllerConfig, authority: Authority, now: datetime) -> ssl.SSLContext:
    external = config.external_broker
    if external is None or (external.ca_file is None and external.keypair is None):
        return _own_context(config, authority, now)
    context = _client_context()
    try:
        if external.ca_file is not None:
            context.load_verify_locations(external.ca_file)
        else:
            context.load_verify_locations(cadata="".join(authority.tls_authorities()))
        if external.keypair is not None:
            context.load_cert_chain(external.keypair.cert_file, external.keypair.key_file)
        else:
            _present(context, config, authority, now)
    except (OSError, ssl.SSLError) as err:
        raise BrokerError(f"mqtt: ca_file, cert_file or key_file cannot be used: {err.strerror or err}") from err
    return context


def _own_context(config: ControllerConfig, authority: Authority, now: datetime) -> ssl.SSLContext:
    context = _client_context()
    context.load_verify_locations(cadata="".join(authority.tls_authorities()))
    try:
        _present(context, config, authority, now)
    except (OSError, ssl.SSLError) as err:
        where = config.data_dir / "tls"
        raise BrokerError(f"{where}: the certificate for the broker cannot be written: {err.strerror or err}") from err
    return context


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _present(context: ssl.SSLContext, config: ControllerConfig, authority: Authority, now: datetime) -> None:
    """Have `context` present a fresh certificate. OpenSSL reads it from files alone, so it is left in one."""
    chain, key = authority.issue_broker_client(now)
    directory = config.data_dir / "tls"
    make_private_directory(directory)
    path = directory / "presence.pem"
    os.close(replace_file(path, (key.reveal() + chain).encode("ascii")))
    context.load_cert_chain(path)
