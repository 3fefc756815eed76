"""The one connection that the agent makes: SSH to the tunnel door, kept up for as long as the agent lives.

What to do when is decided by `edge_agent.policy.link`; this is the driver. The door's host key must be a
certificate of the host CA for the proxy of our cluster, judged by our own rules and clock. The agent then asks
for a remote forward of `node:3022`, and every channel the door opens back is one connection to the node's own
SSH server, run on that channel directly.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import asyncssh
from asyncssh.constants import MSG_DISCONNECT
from asyncssh.packet import SSHPacket

from edge_agent.identity import Identity
from edge_agent.interruption import unless
from edge_agent.policy.link import (
    Dial,
    DialFailed,
    DialSucceeded,
    Event,
    HangUp,
    Link,
    LinkLost,
    Order,
    Serve,
    Started,
    StopAsked,
    Wait,
    WaitOver,
    parse_retry_after,
    step,
)
from edge_agent.ssh_server import NODE_HOST, NODE_PORT, NodeServer
from protocol import limits
from protocol.certificates import proxy_principal
from protocol.ssh.algorithms import offered
from protocol.ssh.certificate import key_blob
from protocol.ssh.host_key import ExpectedHost, HostKeyCheck
from protocol.ssh.packets import hasten
from protocol.ssh.tunnel import MAX_PACKET, WINDOW
from protocol.version import __version__

_log = logging.getLogger("skerry.agent")
_DIAL = limits.DIAL_TIMEOUT.total_seconds()
_CLOSE = 2.0
_REASON_MAX = 300


class Tunnel:
    """Keeps the tunnel up, and serves the node through it."""

    def __init__(
        self,
        identity: Identity,
        server: NodeServer,
        *,
        address: Callable[[], tuple[str, int]],
        clock: Callable[[], Any],
        came_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._came_up = came_up
        self._granted = identity.granted
        self._server = server
        self._address = address
        self._clock = clock
        key = asyncssh.import_private_key(identity.host_private.reveal())
        self._client_key = (key, asyncssh.import_certificate(self._granted.host_certificate))
        authorities = frozenset(key_blob(line) for line in self._granted.host_authorities)
        self._expected = ExpectedHost(proxy_principal(self._granted.cluster_name), "proxy", authorities)
        self._stopped = asyncio.Event()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._ending: Ending | None = None
        self._quiet = False

    async def run(self) -> None:
        """Keep the tunnel up until `stop`, then close it."""
        link, order = self._step(Link(), Started())
        while not isinstance(order, HangUp):
            event = await self._carry_out(order)
            link, order = self._step(link, StopAsked() if self._stopped.is_set() else event)
        await self._hang_up()

    def stop(self) -> None:
        """Have `run` end."""
        self._stopped.set()

    @property
    def is_up(self) -> bool:
        """Whether the tunnel stands."""
        return self._connection is not None

    def _step(self, link: Link, event: Event) -> tuple[Link, Order]:
        now, chance = asyncio.get_running_loop().time(), random.random()  # noqa: S311 - spreads devices, hides nothing
        after, order = step(link, event, now=now, chance=chance)
        if isinstance(order, Wait):
            _log.info("trying again in %.1f s", order.seconds)
        return after, order

    async def _carry_out(self, order: Order) -> Event:
        if isinstance(order, Dial):
            return await unless(self._stopped, self._dial(), None) or StopAsked()
        if isinstance(order, Wait):
            await unless(self._stopped, asyncio.Event().wait(), order.seconds)
            return WaitOver()
        connection, ending = self._connection, self._ending
        if isinstance(order, Serve) and connection and ending:
            await unless(self._stopped, ending.lost.wait(), None)
            if ending.lost.is_set():
                self._connection = None
                _log.warning("the tunnel is gone: %s", ending.reason)
            return LinkLost(ending.retry_after)
        return StopAsked()

    async def _dial(self) -> Event:
        ending = self._ending = Ending(HostKeyCheck(self._expected, self._clock))
        host, port = "", 0
        try:
            host, port = self._address()
            async with asyncio.timeout(_DIAL):
                connection = await self._connect(host, port, ending)
        except (OSError, asyncssh.Error, asyncssh.ChannelListenError, TimeoutError, ValueError) as err:
            return self._failed(f"{host}:{port}", err, ending)
        self._connection = connection
        _log.info("the tunnel to %s:%d is up", host, port)
        self._came_up()
        return DialSucceeded()

    async def _connect(self, host: str, port: int, ending: Ending) -> asyncssh.SSHClientConnection:
        connection = await asyncssh.connect(
            host,
            port,
            config=[],
            options=None,
            client_factory=lambda: ending,
            username=self._granted.node_id,
            client_keys=[self._client_key],
            agent_path=None,
            known_hosts=([], [asyncssh.import_public_key(line) for line in self._granted.host_authorities], []),
            host_key_alias=proxy_principal(self._granted.cluster_name),
            preferred_auth="publickey",
            **offered(),
            client_version=f"Skerry_{__version__}",
            keepalive_interval=limits.KEEPALIVE_INTERVAL.total_seconds(),
            keepalive_count_max=limits.KEEPALIVE_MISSES,
            login_timeout=_DIAL,
            gss_host=None,
        )
        try:
            here = str((connection.get_extra_info("sockname") or ("127.0.0.1",))[0])
            await connection.create_server(
                lambda host, port: self._accept((host, port), here),
                NODE_HOST,
                NODE_PORT,
                window=WINDOW,
                max_pktsize=MAX_PACKET,
            )
        except BaseException:
            connection.abort()
            raise
        return connection

    def _accept(self, origin: tuple[str, int], here: str) -> asyncssh.SSHTCPSession[bytes]:
        inner = self._server.accept(origin, here)
        if inner is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many connections")
        return cast("asyncssh.SSHTCPSession[bytes]", inner)

    def _failed(self, address: str, err: Exception, ending: Ending) -> DialFailed:
        if isinstance(err, asyncssh.PermissionDenied):
            mend = (
                "has the node been removed or locked? If so, join again: move the data directory away, use a new token"
            )
            _log.error("the controller at %s refuses this node's certificate; %s", address, mend)
            return DialFailed(ending.retry_after, refused=True)
        if isinstance(err, asyncssh.HostKeyNotVerifiable):
            _log.error("the server at %s did not prove to be the proxy: %s", address, err.reason)
            return DialFailed(None, refused=True)
        reason = getattr(err, "reason", "") or getattr(err, "strerror", "") or str(err) or "no answer in time"
        _log.warning("the tunnel to %s did not come up: %s", address, reason)
        retry_after = parse_retry_after(str(reason))
        return DialFailed(retry_after if retry_after is not None else ending.retry_after)

    async def _hang_up(self) -> None:
        if self._connection:
            self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, "the agent is stopping")
            with suppress(TimeoutError, asyncssh.Error, OSError):
                async with asyncio.timeout(_CLOSE):
                    await self._connection.wait_closed()
            self._connection = None


class Ending(asyncssh.SSHClient):
    """Learns why and when one connection ends, and has its host key judged by our rules.

    Attributes:
        lost: set when the connection is gone.
        reason: why, in words for the log.
        retry_after: seconds the server asked to stay away, in its last words or a banner.
    """

    def __init__(self, check: HostKeyCheck) -> None:
        self._check = check
        self.lost = asyncio.Event()
        self.reason = "closed by the controller"
        self.retry_after: float | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Have the host key judged in the library's place."""
        hasten(conn)
        self._check.guard(conn)
        process_packet = conn.process_packet

        def listen(pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
            # Of a disconnection "by application" the library tells no reason once the connection stood.
            if pkttype == MSG_DISCONNECT:
                self._note(packet.get_remaining_payload())
            return process_packet(pkttype, pktid, packet)

        conn.process_packet = listen  # type: ignore[method-assign]  # see above

    def _note(self, payload: bytes) -> None:
        """Keep the reason of a disconnect message (RFC 4253 section 11.1): a code, then a length and the text."""
        size = int.from_bytes(payload[4:8], "big")
        reason = payload[8 : 8 + min(size, _REASON_MAX)].decode("utf-8", "replace")
        if reason:
            self.reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
            self.retry_after = parse_retry_after(self.reason)

    def auth_banner_received(self, msg: str, lang: str) -> None:  # noqa: ARG002 - the library's signature
        """Heed a wish to stay away."""
        self.retry_after = parse_retry_after(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note how it ended."""
        if exc is not None:
            self.reason = str(getattr(exc, "reason", "")) or str(exc) or type(exc).__name__
            asked = parse_retry_after(self.reason)
            self.retry_after = asked if asked is not None else self.retry_after
        self.lost.set()
