"""The way from the web process to a node, for one person and one thing: over the proxy's client door, as tsh goes.

The key is made for that one connection, certified for a minute with where the person is, and never leaves this
process's memory. So whatever the proxy and the node judge, they judge for a browser too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncssh

from controller.accounts import Accounts, IssuedCertificate, Origin, SignedIn, what_to_say
from controller.addresses import near
from controller.audit import AuditError
from controller.authority import AuthorityError
from controller.config import Address
from controller.store.interface import StoreError
from controller.web.hall.turns import Turns
from protocol import limits
from protocol.certificates import proxy_principal
from protocol.decision import Granted, Refused
from protocol.names import ClusterName, Login, NodeId
from protocol.ssh.caller import Caller, client_options, describe_loss
from protocol.ssh.certificate import key_blob
from protocol.ssh.host_key import ExpectedHost
from protocol.ssh.tunnel import Tunnel
from protocol.table import escape_text

# The proxy lets so many come from one address before they have said who they are; there are two of us.
_AT_ONCE = limits.UNAUTHENTICATED_PER_NETWORK // 4
_TURN = timedelta(seconds=20).total_seconds()
_BUSY = "too many connections are being made just now: try again in a moment"
_NO_LOG = "the controller cannot keep its audit log now: try again later or tell the administrator"
_NO_RECORDS = "the controller cannot read its records now: try again in a moment"


class RoadError(Exception):
    """The node was not reached, or refused; the message is for the person."""


@dataclass(frozen=True, slots=True)
class Traveller:
    """Who goes, and from where."""

    who: SignedIn
    origin: Origin


@dataclass(frozen=True, slots=True)
class Reached:
    """A node that was reached: the connection, and what the proxy said when it let go of it."""

    connection: asyncssh.SSHClientConnection
    proxy: Caller

    def explain(self, err: BaseException | None) -> str:
        """Return in a person's words why the connection was lost: a lock, say."""
        return self.proxy.farewell or f"the connection to the device was lost: {describe_loss(err)}"


class Road:
    """Opens connections to nodes.

    Args:
        accounts: certify the keys.
        door: where the proxy's client door listens.
        cluster: whose proxy it must prove to be.
        authorities: the host CA's public keys, one line each.
        clock: the time, UTC.
    """

    def __init__(
        self,
        accounts: Accounts,
        door: Callable[[], Address],
        cluster: ClusterName,
        authorities: Callable[[], tuple[str, ...]],
        clock: Callable[[], datetime],
    ) -> None:
        self._accounts = accounts
        self._door = door
        self._cluster = cluster
        self._authorities = authorities
        self._clock = clock
        self._at_proxy = Turns(_AT_ONCE, _TURN)
        self._of_person = Turns(limits.DIALS_PER_USER, _TURN)
        self._to_node = Turns(limits.DIALS_PER_NODE, _TURN)

    @asynccontextmanager
    async def to(self, traveller: Traveller, node: NodeId, login: Login) -> AsyncIterator[Reached]:
        """Connect to a node as `login`. Raises `RoadError`."""
        outer, reached = await self._reach(traveller, node, login)
        try:
            yield reached
        except asyncssh.SFTPError:
            raise  # about a file: the connection is well
        except (asyncssh.Error, OSError) as err:
            if isinstance(err, TimeoutError) and err.errno is None:
                raise  # of whoever waited for something on the connection; the system's own has a number
            raise RoadError(reached.explain(err)) from err
        finally:
            reached.connection.close()
            outer.close()

    async def _reach(
        self, traveller: Traveller, node: NodeId, login: Login
    ) -> tuple[asyncssh.SSHClientConnection, Reached]:
        """Connect to the proxy, and through it to the node. A node that does not answer holds up its own callers."""
        async with contextlib.AsyncExitStack() as waited:
            await _wait(waited, self._of_person, traveller.who.user)
            await _wait(waited, self._to_node, node)
            async with contextlib.AsyncExitStack() as at_proxy:
                await _wait(at_proxy, self._at_proxy, None)
                papers = await asyncio.to_thread(self._papers, traveller, node)
                proxy, outer = await self._call_proxy(papers, traveller)
            try:
                inner = await self._call_node(papers, outer, proxy, node, login)
            except BaseException:
                outer.close()
                raise
        return outer, Reached(inner, proxy)

    def _papers(self, traveller: Traveller, node: NodeId) -> _Papers:
        """Make a key and have it certified; in a thread, for both take their time."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        line = key.export_public_key().decode().strip()
        try:
            issued = self._accounts.issue_terminal_certificate(traveller.who, line, traveller.origin, node)
            authorities = frozenset(key_blob(line) for line in self._authorities())
        except AuditError as err:
            raise RoadError(_NO_LOG) from err
        except (StoreError, AuthorityError) as err:
            raise RoadError(_NO_RECORDS) from err
        if isinstance(issued, Refused):
            raise RoadError(what_to_say(issued, "your sign-in has ended: sign in again"))
        return _papers(key, issued, authorities)

    async def _call_proxy(self, papers: _Papers, traveller: Traveller) -> tuple[Caller, asyncssh.SSHClientConnection]:
        host, port = near(self._door())
        caller = Caller(ExpectedHost(proxy_principal(self._cluster), "proxy", papers.authorities), self._clock)
        try:
            connection = await asyncssh.connect(
                host,
                port,
                username=traveller.who.user,
                client_factory=lambda: caller,
                connect_timeout=limits.DIAL_TIMEOUT.total_seconds(),
                keepalive_interval=limits.KEEPALIVE_INTERVAL.total_seconds(),
                keepalive_count_max=limits.KEEPALIVE_MISSES,
                **papers.options,
            )
        except (OSError, asyncssh.Error) as err:
            raise RoadError(_explain_proxy(caller, err)) from err
        return caller, connection

    async def _call_node(
        self, papers: _Papers, outer: asyncssh.SSHClientConnection, proxy: Caller, node: NodeId, login: Login
    ) -> asyncssh.SSHClientConnection:
        caller = Caller(ExpectedHost(node, "node", papers.authorities), self._clock)
        try:
            async with asyncio.timeout((limits.CHANNEL_OPEN_TIMEOUT + limits.SSH_LOGIN_GRACE).total_seconds()):
                return await asyncssh.connect(
                    node, 0, tunnel=Tunnel(outer), username=login, client_factory=lambda: caller, **papers.options
                )
        except (OSError, asyncssh.Error) as err:
            raise RoadError(proxy.farewell or _explain_node(caller, login, err)) from err


async def _wait(stack: contextlib.AsyncExitStack, turns: Turns, key: Hashable) -> None:
    """Wait for a turn, which lasts until the stack is left. Raises `RoadError` where none comes."""
    try:
        await stack.enter_async_context(turns.of(key))
    except TimeoutError as err:
        raise RoadError(_BUSY) from err


@dataclass(frozen=True, slots=True)
class _Papers:
    """What is shown at both doors, and whom they must prove to be certified by."""

    options: dict[str, Any]
    authorities: frozenset[bytes]


def _papers(key: asyncssh.SSHKey, issued: Granted[IssuedCertificate], authorities: frozenset[bytes]) -> _Papers:
    certificate = asyncssh.import_certificate(issued.value.certificate)
    return _Papers(client_options(key, certificate), authorities)


def _explain_proxy(caller: Caller, err: Exception) -> str:
    if caller.check.refused:
        return f"what answers as the proxy is not this cluster's: {escape_text(caller.check.refused.reason)}"
    if caller.farewell:
        return caller.farewell
    return f"the proxy is not reached: {describe_loss(err)}; try again in a moment"


def _explain_node(caller: Caller, login: str, err: Exception) -> str:
    if isinstance(err, asyncssh.ChannelOpenError):
        return escape_text(err.reason, keep="\n").strip() or "the proxy did not open the device"
    if caller.check.refused:
        return f"what answered for the device did not prove to be it: {escape_text(caller.check.refused.reason)}"
    if isinstance(err, asyncssh.PermissionDenied):
        return f"access denied to {login}" + (f": {caller.denial}" if caller.denial else "")
    return f"the connection to the device was lost: {describe_loss(err)}"
