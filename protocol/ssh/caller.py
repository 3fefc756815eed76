"""Calling the proxy and, through it, a node: what every client of ours does alike, be it tsh or the web process.

Each end proves itself by a host certificate of the cluster's host CA; nothing is taken from the system's own SSH
settings, agents or known hosts.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import asyncssh

from protocol import limits
from protocol.ssh.algorithms import offered
from protocol.ssh.host_key import ExpectedHost, HostKeyCheck
from protocol.ssh.packets import hasten
from protocol.table import escape_text

_REASON_MAX = 1000  # characters
_OURS = "Skerry: "  # begins what a node's agent says to whom it turns away
_HOST_KEYS = ["ssh-ed25519-cert-v01@openssh.com"]  # every host has a certificate, and every host key is Ed25519


class Caller(asyncssh.SSHClient):
    """Has the host key judged in the library's place, and keeps the words with which the other end said goodbye.

    Attributes:
        denial: why the other end lets nobody in, where it says so: a lock. Empty where it does not.
    """

    def __init__(self, expected: ExpectedHost, clock: Callable[[], datetime]) -> None:
        self.check = HostKeyCheck(expected, clock)
        self.farewell = ""
        self.denial = ""

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Guard the connection."""
        hasten(conn)
        self.check.guard(conn)

    def auth_banner_received(self, msg: str, lang: str) -> None:  # noqa: ARG002 - the library's signature
        """Keep what the agent says to whom it turns away."""
        if msg.startswith(_OURS):  # others greet everybody
            self.denial = escape_text(msg[len(_OURS) : _REASON_MAX].strip())

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep the other end's last words."""
        if isinstance(exc, asyncssh.DisconnectError) and not isinstance(exc, asyncssh.ConnectionLost):
            self.farewell = escape_text(exc.reason.partition("; retry-after:")[0])  # what follows is for agents


def client_options(key: asyncssh.SSHKey, certificate: asyncssh.SSHCertificate) -> dict[str, Any]:
    """Return the options of `asyncssh.connect` for somebody who has this certificate and nothing else."""
    return {
        "config": None,
        "known_hosts": ([], [], []),  # nobody, should our own judgement ever not be asked
        "client_keys": [(key, certificate)],
        "agent_path": None,
        "gss_host": None,
        "x509_trusted_certs": None,
        "preferred_auth": "publickey",
        "login_timeout": limits.SSH_LOGIN_GRACE.total_seconds(),
        **offered(),
        "server_host_key_algs": _HOST_KEYS,
        "compression_algs": None,
    }


def describe_loss(err: BaseException | None) -> str:
    """Return in a person's words why a connection went."""
    if err is None or str(err) == "Connection lost":  # the library's word for an end without a farewell
        return "the other end closed it"
    if isinstance(err, TimeoutError):
        return "no answer in time"
    if isinstance(err, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(err, asyncssh.DisconnectError):
        return escape_text(err.reason) or "the other end closed it"
    if isinstance(err, OSError):
        return err.strerror or str(err) or type(err).__name__
    return escape_text(str(err)) or type(err).__name__
