"""The tunnel door of the simulated controller: whom it lets in, and which tunnels stand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncssh

from protocol.certificates import HostIdentity, SshCertificate, judge_host_certificate
from protocol.decision import Granted, Refused
from protocol.ssh.certificate import key_blob
from protocol.ssh.gate import Gate

if TYPE_CHECKING:
    from tests.harness.simulated_controller import SimulatedController


class TunnelDoor(asyncssh.SSHServer):
    def __init__(self, controller: SimulatedController) -> None:
        self._controller = controller
        self._gate: Gate[HostIdentity] = Gate(self._judge)
        self._connection: asyncssh.SSHServerConnection

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._gate.guard(conn)
        self._controller.tunnel_count += 1
        self._controller.happened()

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002 - the library's signature
        if self._controller.tunnel_words:
            self._connection.disconnect(asyncssh.DISC_TOO_MANY_CONNECTIONS, self._controller.tunnel_words)
        return True

    def auth_completed(self) -> None:
        if self._controller.tunnel_farewell:
            self._connection.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, self._controller.tunnel_farewell)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the library's signature
        tunnels = self._controller.tunnels
        for node_id in [node_id for node_id, conn in tunnels.items() if conn is self._connection]:
            del tunnels[node_id]
        self._controller.happened()

    def public_key_auth_supported(self) -> bool:
        return True

    def _judge(self, certificate: SshCertificate, username: str) -> Granted[HostIdentity] | Refused:
        if self._controller.tunnel_refuses:
            return Refused("the node is locked")
        authorities = [key_blob(line) for line in self._controller.renewals.host_authorities()]
        answer = judge_host_certificate(certificate, authorities=authorities, now=datetime.now(UTC), role="node")
        if isinstance(answer, Granted) and answer.value.node_id != username:
            return Refused("another node's name")
        if isinstance(answer, Granted):
            self._controller.node_names[username] = certificate.principals[2]
        return answer

    def server_requested(self, listen_host: str, listen_port: int) -> bool | asyncssh.SSHListener:
        identity = self._gate.identity
        if self._controller.tunnel_takes_no_forward or identity is None or (listen_host, listen_port) != ("node", 3022):
            return False
        self._controller.tunnels[str(identity.node_id)] = self._connection
        self._controller.happened()
        return asyncssh.SSHListener()
