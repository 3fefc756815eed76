"""Where the controller listens, and under which addresses others find it."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import ssl
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from controller.config import Address, ControllerConfig
from protocol.addresses import join_address
from protocol.messages import Ping
from protocol.version import __version__

_FILE = "addresses.json"
_CERTIFICATE_HOSTS_MAX = 90
_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
_OPTIONAL = frozenset({"mqtt", "diag"})
_LOOPBACK = dict(zip(_ANY, ("127.0.0.1", "::1"), strict=True))


@dataclass(frozen=True, slots=True)
class BoundAddresses:
    """The addresses the doors really have, with the ports the system chose.

    `mqtt` is None where no broker is ours, and `diag` where diagnostics are off.
    """

    web: Address
    ssh: Address
    tunnel: Address
    api: Address
    mqtt: Address | None = None
    diag: Address | None = None

    def save(self, data_dir: Path) -> None:
        """Write them where `tctl` finds them, in one step."""
        fields = {name: list(address) for name in self.__slots__ if (address := getattr(self, name)) is not None}
        handle, name = tempfile.mkstemp(dir=data_dir, prefix=f".{_FILE}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(fields, file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(data_dir / _FILE)

    @classmethod
    def load(cls, config: ControllerConfig) -> BoundAddresses:
        """Return what the last `controller start` bound; what is configured, where it never ran."""
        mqtt = config.mqtt_listen if config.broker == "mosquitto" else None
        doors = (config.web_listen, config.ssh_listen, config.tunnel_listen, config.api_listen)
        return cls.last(config.data_dir) or cls(*doors, mqtt, config.diag_listen)

    @classmethod
    def last(cls, data_dir: Path) -> BoundAddresses | None:
        """Return what the last `controller start` bound, or None where it never ran."""
        try:
            kept = json.loads((data_dir / _FILE).read_text(encoding="utf-8"))
            doors = [name for name in cls.__slots__ if name not in _OPTIONAL or name in kept]
            return cls(**{name: (str(kept[name][0]), int(kept[name][1])) for name in doors})
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            return None


def public_web(config: ControllerConfig, bound: BoundAddresses) -> str:
    """Return ``HOST:PORT`` of the web door as it stands in links and commands."""
    if config.public.web:
        return join_address(*config.public.web)
    host, port = bound.web
    return join_address(socket.gethostname() if host in _ANY else host, port)


def near(address: Address) -> Address:
    """Return where a door of this host is reached from this host."""
    host, port = address
    return _LOOPBACK.get(host, host), port


def unwary() -> ssl.SSLContext:
    """Return what to knock with at a door of our own: it takes any certificate for good."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def answers(address: Address, patience: timedelta, context: ssl.SSLContext | None = None) -> bool:
    """Tell whether TLS is spoken where a door of this host listens. Whose it is does not matter: nothing is sent.

    Args:
        address: where it listens.
        patience: how long it may take.
        context: `unwary`, with a certificate for a door that asks for one; None where it asks for none.
    """
    context = context or unwary()
    try:
        with socket.create_connection(near(address), timeout=patience.total_seconds()) as sock:
            context.wrap_socket(sock).close()
    except OSError:
        return False
    return True


def ping(config: ControllerConfig, bound: BoundAddresses) -> Ping:
    """Return what anyone may know; a door without a public address is on the host that was dialled."""

    def advertised(public: Address | None, listening: Address) -> str:
        return join_address(*public) if public else f":{listening[1]}"

    return Ping(
        cluster_name=config.cluster_name,
        server_version=__version__,
        ssh_address=advertised(config.public.ssh, bound.ssh),
        tunnel_address=advertised(config.public.tunnel, bound.tunnel),
        api_address=f":{bound.api[1]}",
        mqtt_address=_mqtt_address(config, bound),
    )


def _mqtt_address(config: ControllerConfig, bound: BoundAddresses) -> str:
    """Return what nodes are to dial; empty where there is no broker."""
    public = config.external_broker.address if config.external_broker else config.public.mqtt
    if public is not None:
        return join_address(*public) if config.broker != "none" else ""
    return f":{bound.mqtt[1]}" if bound.mqtt is not None else ""


def certificate_hosts(config: ControllerConfig, bound: BoundAddresses) -> tuple[str, ...]:
    """Return every name and address a self-issued certificate is to be good for, the most wanted first.

    A host of many addresses (containers) is cut short: a certificate holds so many names.
    """
    given = (config.public.web, config.public.ssh, config.public.tunnel, config.public.mqtt)
    bind = (bound.web, bound.ssh, bound.tunnel, bound.api, bound.mqtt)
    public = [address[0] for address in given if address]
    listening = [address[0] for address in bind if address and address[0] not in _ANY]
    here = [socket.gethostname(), "localhost", "127.0.0.1", "::1", *local_addresses()]
    return tuple(dict.fromkeys([*public, *listening, *here]))[:_CERTIFICATE_HOSTS_MAX]


def reserved_names(config: ControllerConfig, bound: BoundAddresses) -> tuple[str, ...]:
    """Return the names and addresses under which people dial the controller: no node may be certified for them.

    This machine's own name is left out unless it is a public address: other devices on it bear that name too.
    """
    given = (config.public.web, config.public.ssh, config.public.tunnel, config.public.mqtt)
    public = {address[0] for address in given if address}
    shared = {socket.gethostname()} - public - {"localhost"}
    return tuple(host for host in certificate_hosts(config, bound) if host not in shared)


def local_addresses() -> list[str]:
    """Return this host's own IP addresses, link-local ones left out (Linux: from /proc/net)."""
    found = [*_ipv4(_read("/proc/net/fib_trie")), *_ipv6(_read("/proc/net/if_inet6"))]
    return [text for text in dict.fromkeys(found) if not ipaddress.ip_address(text).is_link_local]


def _read(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def _ipv4(lines: list[str]) -> list[str]:
    return [lines[index - 1].split()[-1] for index, line in enumerate(lines) if "/32 host LOCAL" in line and index > 0]


def _ipv6(lines: list[str]) -> list[str]:
    return [str(ipaddress.ip_address(int(line.split()[0], 16))) for line in lines if len(line.split()[0]) == 32]
