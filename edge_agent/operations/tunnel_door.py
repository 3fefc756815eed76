"""SSH with the tunnel door until it has proved its host key. No key of ours is shown, so no tunnel is put out.

This module must be imported after `protocol.ssh.lean.load_asyncssh`: it brings in the SSH library.
"""

from __future__ import annotations

import asyncio
import socket
from datetime import datetime

import asyncssh

from edge_agent.policy.checkup_facts import PortState
from protocol.certificates import proxy_principal
from protocol.names import ClusterName
from protocol.ssh.algorithms import offered
from protocol.ssh.certificate import key_blob
from protocol.ssh.host_key import ExpectedHost, HostKeyCheck
from protocol.version import __version__


class _Client(asyncssh.SSHClient):
    """Has the host key judged by our rules."""

    def __init__(self, check: HostKeyCheck) -> None:
        self._check = check

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._check.guard(conn)


def prove(
    address: tuple[str, int],
    cluster: ClusterName,
    node_id: str,
    authorities: tuple[str, ...],
    span: tuple[datetime, datetime],
    seconds: float,
) -> tuple[PortState, str]:
    """See that the door proves to be the proxy of `cluster`, by one of its host `authorities`; within `seconds`.

    `span` is the earliest and the latest that it can be now.
    """
    expected = ExpectedHost(proxy_principal(cluster), "proxy", frozenset(key_blob(line) for line in authorities))
    check = HostKeyCheck(expected, lambda: span[0], lambda: span[1])
    try:
        with socket.create_connection(address, timeout=seconds) as plain:
            plain.setblocking(False)
            asyncio.run(_shake_hands(plain, cluster, node_id, authorities, check, seconds))
    except asyncssh.PermissionDenied:
        return "ok", "it proved its host key by the cluster's authority"
    except TimeoutError:
        return "closed", f"no answer within {seconds:.0f} s"
    except (OSError, asyncssh.Error, ValueError) as err:
        if check.refused:
            return "untrusted", f"not who it should be: {check.refused.reason}"
        reason = getattr(err, "strerror", None) or getattr(err, "reason", None) or str(err) or type(err).__name__
        return "closed", str(reason).lower()
    return "untrusted", "it lets in whoever comes, which the cluster's proxy does not"


async def _shake_hands(
    plain: socket.socket,
    cluster: ClusterName,
    node_id: str,
    authorities: tuple[str, ...],
    check: HostKeyCheck,
    seconds: float,
) -> None:
    async with asyncio.timeout(seconds):
        connection = await asyncssh.connect(
            sock=plain,
            config=[],
            options=None,
            client_factory=lambda: _Client(check),
            username=node_id,
            client_keys=None,
            password=None,
            agent_path=None,
            known_hosts=([], [asyncssh.import_public_key(line) for line in authorities], []),
            host_key_alias=proxy_principal(cluster),
            preferred_auth="publickey",
            **offered(),
            client_version=f"Skerry_{__version__}",
            login_timeout=seconds,
            gss_host=None,
        )
        connection.abort()
