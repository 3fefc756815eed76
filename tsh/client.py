"""The two SSH connections: through the client door to the proxy, and inside it to the node itself; or to its own door.

The proxy relays the inner connection and cannot read it. Each end proves itself by a host certificate of
the cluster's host CA: the proxy by its own principal, the node by the name or UUID that was asked for.
Nothing is taken from the person's OpenSSH configuration, agent or known hosts.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncssh

from protocol import limits
from protocol.addresses import join_address
from protocol.certificates import proxy_principal
from protocol.ssh.caller import Caller, client_options, describe_loss
from protocol.ssh.certificate import key_blob
from protocol.ssh.host_key import ExpectedHost
from protocol.ssh.tunnel import Tunnel
from protocol.table import escape_text
from tsh.certificate import read_certificate
from tsh.error import TshError
from tsh.profile import Profile, UserKeys

FAILED = 255  # OpenSSH's exit status for its own failures
WINDOW = 2 * 1024 * 1024
PACKET = 32 * 1024


def _now() -> datetime:
    return datetime.now(UTC)


class Client:
    """Opens connections with one profile's certificate."""

    def __init__(self, profile: Profile, keys: UserKeys, dialled: Future[socket.socket]) -> None:
        """Make a client. `dialled` is to become a connection to the profile's client door, or to a node's own."""
        self._profile = profile
        self._keys = keys
        self._dialled = dialled
        try:
            key = asyncssh.read_private_key(keys.private)
            certificate = asyncssh.read_certificate(keys.certificate)
            self._logins = read_certificate(keys.certificate.read_text()).logins
            self._authorities = frozenset(key_blob(line) for line in profile.host_authorities)
        except (OSError, ValueError, asyncssh.KeyImportError) as err:
            raise TshError(
                f"the keys under {keys.private.parent} are damaged; log in: {profile.login_command} --ttl=12h"
            ) from err
        self._options = client_options(key, certificate)

    def _log_in_again(self) -> str:
        """Return what to type, and see to it that it does what it says although the certificate's life is not over."""
        self._keys.note_refusal()
        return f"log in again: {self._profile.login_command}"

    @asynccontextmanager
    async def proxy(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Connect to the proxy. Raises `TshError`."""
        profile = self._profile
        address = join_address(profile.ssh_host, profile.ssh_port)
        client = Caller(ExpectedHost(proxy_principal(profile.cluster), "proxy", self._authorities), _now)
        try:
            connection = await asyncssh.connect(
                profile.ssh_host,
                profile.ssh_port,
                sock=await asyncio.wrap_future(self._dialled),
                username=profile.user,
                client_factory=lambda: client,
                connect_timeout=limits.DIAL_TIMEOUT.total_seconds(),
                keepalive_interval=limits.KEEPALIVE_INTERVAL.total_seconds(),
                keepalive_count_max=limits.KEEPALIVE_MISSES,
                **self._options,
            )
        except (OSError, asyncssh.Error) as err:
            raise TshError(self._explain_proxy(client, address, err), FAILED) from err
        try:
            yield connection
        except TshError as err:
            if client.farewell:  # whatever broke with it, this is why: a lock, say
                raise TshError(f"the proxy closed the connection: {client.farewell}", err.status) from err
            raise
        finally:
            connection.close()

    def _explain_proxy(self, client: Caller, address: str, err: Exception) -> str:
        if client.check.refused:
            return (
                f"the proxy at {address} did not prove to be that of cluster {self._profile.cluster}: "
                f"{escape_text(client.check.refused.reason)}. Nothing was sent to it. If the cluster was set up anew, "
                f"{self._log_in_again()}"
            )
        if isinstance(err, asyncssh.PermissionDenied):
            return f"the proxy at {address} refused your certificate; {self._log_in_again()}"
        return f"cannot reach the proxy at {address}: {describe_loss(err)}"

    @asynccontextmanager
    async def node(
        self,
        outer: asyncssh.SSHClientConnection,
        host: str,
        port: int,
        login: str,
        name: str,
        key_agent: str | None = None,
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Connect to a node through the proxy.

        Args:
            outer: the connection to the proxy.
            host: the node's name or UUID, which it must prove.
            port: what the proxy is told; 0 for the node's own SSH server.
            login: the account on the node.
            name: what to call the node in messages.
            key_agent: the socket of an ssh-agent that the node may use.

        Raises:
            TshError: the proxy or the node refused, or the connection went.
        """
        client = Caller(ExpectedHost(host, "node", self._authorities), _now)
        try:
            connection = await asyncio.wait_for(
                asyncssh.connect(
                    host,
                    port,
                    tunnel=Tunnel(outer),
                    username=login,
                    client_factory=lambda: client,
                    agent_forwarding=key_agent or False,
                    **self._options,
                ),
                (limits.CHANNEL_OPEN_TIMEOUT + limits.SSH_LOGIN_GRACE).total_seconds(),
            )
        except (OSError, asyncssh.Error) as err:
            if outer.is_closed():  # the library blames the channel
                raise TshError(f"Connection to {name} lost: the proxy closed the connection", FAILED) from err
            raise TshError(_explain_node(client, name, login, err), FAILED) from err
        try:
            yield connection
        finally:
            connection.close()

    @asynccontextmanager
    async def direct(
        self, host: str, login: str, where: str, key_agent: str | None = None
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Connect to a node's own door; what was dialled is that.

        Args:
            host: the node's name or UUID, which it must prove.
            login: the account on the node.
            where: the door's address, for messages.
            key_agent: the socket of an ssh-agent that the node may use.

        Raises:
            TshError: it is not reached, is another node, or refuses.
        """
        client = Caller(ExpectedHost(host, "node", self._authorities), _now)
        try:
            connection = await asyncssh.connect(
                host,
                sock=await asyncio.wrap_future(self._dialled),
                username=login,
                client_factory=lambda: client,
                agent_forwarding=key_agent or False,
                connect_timeout=limits.DIAL_TIMEOUT.total_seconds(),
                keepalive_interval=limits.KEEPALIVE_INTERVAL.total_seconds(),
                keepalive_count_max=limits.KEEPALIVE_MISSES,
                **self._options,
            )
        except (OSError, asyncssh.Error) as err:
            raise TshError(self._explain_direct(client, host, login, where, err), FAILED) from err
        try:
            yield connection
        finally:
            connection.close()

    def _explain_direct(self, client: Caller, host: str, login: str, where: str, err: Exception) -> str:
        if client.check.refused:
            return (
                f'what answers at {where} did not prove to be "{host}" of cluster {self._profile.cluster}: '
                f"{escape_text(client.check.refused.reason)}. Nothing was sent to it. If the cluster's CA was rotated, "
                f"{self._log_in_again()}"
            )
        if isinstance(err, asyncssh.PermissionDenied):
            text = _explain_denial(client, login, f"{host} at {where}")
            if client.denial or login not in self._logins:
                return text
            # The node says no more than that. A login it should grant is mostly one whom it cannot believe.
            return f"{text}. If your certificate is from before a rotation of the user CA, {self._log_in_again()}"
        if isinstance(err, asyncssh.Error):
            return f"Connection to {host} at {where} lost: {describe_loss(err)}"
        return (
            f"cannot reach {host} at {where}: {describe_loss(err)}; its agent must have `listen_addr` in its settings, "
            "and be on a network that reaches you"
        )


def _explain_node(client: Caller, name: str, login: str, err: Exception) -> str:
    if isinstance(err, asyncssh.ChannelOpenError):
        return escape_text(err.reason, keep="\n").strip() or f"the proxy did not open {name}"
    if client.check.refused:
        return (
            f'what answered for "{name}" did not prove to be it: {escape_text(client.check.refused.reason)}. '
            "Nothing was sent to it; tell the administrator of the cluster"
        )
    if isinstance(err, asyncssh.PermissionDenied):
        return _explain_denial(client, login, name)
    return f"Connection to {name} lost: {describe_loss(err)}"


def _explain_denial(client: Caller, login: str, name: str) -> str:
    reason = f": {client.denial}" if client.denial else ""
    return f"access denied to {login} connecting to {name}{reason}"
