"""What a controller's supervisor runs: its roles, the broker's process, and the agent of this host."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

from controller.accounts import Origin
from controller.addresses import BoundAddresses
from controller.broker_watch import BrokerWatch
from controller.cluster import Cluster
from controller.doors import Doors
from controller.process import Program
from controller.tls_files import TlsPair, prepare_api, prepare_web, web_names, web_pins
from protocol import limits
from protocol.addresses import join_address

LOG = logging.getLogger("CONTROLLER")
# -P: the directory that the controller is started in holds no code of ours.
_PYTHON = (sys.executable, "-P", "-m")
_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


def programs_of(
    cluster: Cluster, config_path: Path, doors: Doors, bound: BoundAddresses, broker: BrokerWatch | None
) -> list[Program]:
    """Return all that is to be run, with the files that it needs in place.

    Args:
        cluster: opened for the supervisor.
        config_path: controller.yaml, absolute.
        doors: the listening sockets.
        bound: where they listen.
        broker: the watch over the broker's files; None where there is no broker.

    Raises `TlsFileError`, `BrokerError`, `AuthorityError`, `StoreError` or `OSError` where a file cannot be had.
    """
    web, api = prepare_web(cluster, bound), prepare_api(cluster, bound)
    programs = [
        _role("proxy", config_path, (doors.ssh, doors.tunnel)),
        _role("web", config_path, (doors.web,), web),
        _role("api", config_path, (doors.api,), api),
    ]
    if broker is not None:
        broker.broker.prepare()
    if broker is not None and doors.mqtt is not None:
        programs.insert(0, broker.program())
    if broker is not None:
        programs.append(_role("presence", config_path, ()))
    if doors.diag is not None:
        programs.append(_role("diag", config_path, (doors.diag,)))
    return [*programs, _node(cluster, bound)] if cluster.config.ssh_service else programs


def _role(name: str, config_path: Path, sockets: tuple[socket.socket, ...], tls: TlsPair | None = None) -> Program:
    numbers = tuple(door.fileno() for door in sockets)
    command = [*_PYTHON, "controller.cli", "role", name, "-c", str(config_path)]
    for number in numbers:
        command += ["--fd", str(number)]
    if tls is not None:
        command += ["--cert", str(tls.cert_file), "--key", str(tls.key_file)]
    if tls is not None and tls.client_authorities is not None:
        command += ["--client-ca", str(tls.client_authorities)]
    return Program(name, tuple(command), numbers)


def _node(cluster: Cluster, bound: BoundAddresses) -> Program:
    """Return the agent for this host: it joins like any other, with a token made for it alone."""
    config = cluster.config
    data_dir = config.data_dir / "node"
    command = [*_PYTHON, "edge_agent", "start", "-c", os.devnull, "--data-dir", str(data_dir)]
    command += _own_door(cluster, bound)
    if config.nodename:
        command += ["--nodename", config.nodename]
    if config.ssh_labels:
        command += ["--labels", ",".join(f"{key}={value}" for key, value in config.ssh_labels.items())]

    def variables() -> dict[str, str]:
        return {} if (data_dir / "identity.json").exists() else {"SKERRY_TOKEN": _own_token(cluster)}

    return Program("node", tuple(command), variables=variables, is_role=False)


def _own_door(cluster: Cluster, bound: BoundAddresses) -> list[str]:
    """Return the options by which this host's own agent finds and trusts the web door."""
    host, port = bound.web
    names = web_names(cluster)
    here = "127.0.0.1" if host in _ANY else host
    if here not in names:
        here = next((name for name in ("localhost", *names) if name in names), here)
    trust = ["--ca-pin", web_pins(cluster)[0]] if here in names else ["--insecure"]
    if here not in names:
        LOG.warning("the web door's certificate bears no name: this host's own agent does not check it")
    return ["--controller", join_address(here, port), *trust]


def _own_token(cluster: Cluster) -> str:
    origin = Origin(via="start", actor="controller")
    token, _ = cluster.enrolment.tokens.add(ttl=limits.JOIN_TOKEN_TTL, uses=1, labels={}, claimable=None, origin=origin)
    return token.reveal()
