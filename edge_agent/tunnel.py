"""The one connection that the agent makes: SSH to the tunnel door, kept up for as long as the agent lives.

`edge_agent.link` drives it. The door's host key must be a certificate of the host CA for the proxy of our cluster,
judged by our own rules and clock. The agent then asks for a remote forward of `node:3022`, and every channel the door
opens back is one connection to the node's own SSH server, run on that channel directly.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import asyncssh
from asyncssh.constants import MSG_DISCONNECT
from asyncssh.packet import SSHPacket

from edge_agent.clock import Clock
from edge_agent.interruption import unless
from edge_agent.link import LinkDriver
from edge_agent.papers import Papers
from edge_agent.policy.link import DialFailed, DialSucceeded, Event, LinkLost, parse_retry_after
from edge_agent.ssh_server import NODE_HOST, NODE_PORT, NodeServer
from protocol import limits
from protocol.certificates import proxy_principal
from protocol.ssh.algorithms import offered
from protocol.ssh.certificate import key_blob
from protocol.ssh.host_key import ExpectedHost, HostKeyCheck
from protocol.ssh.packets import hasten
from protocol.ssh.road import keep_road_open
from protocol.ssh.tunnel import MAX_PACKET, WINDOW
from protocol.version import __version__

_log = logging.getLogger("skerry.agent")
_DIAL = limits.DIAL_TIMEOUT.total_seconds()
_CLOSE = 2.0
_CLOSED = "closed by the controller"
_REASON_MAX = 300
_KEEPALIVE = limits.KEEPALIVE_INTERVAL.total_seconds()
_IDLE = limits.TUNNEL_KEEPALIVE_IDLE.total_seconds()
_PROBE = limits.TUNNEL_PROBE.total_seconds()


class Tunnel:
    """Keeps the tunnel up, and serves the node through it.

    Attributes:
        went_down: called when the tunnel is gone.
    """

    def __init__(
        self,
        papers: Papers,
        server: NodeServer,
        *,
        address: Callable[[], tuple[str, int]],
        clock: Clock,
        came_up: Callable[[], None] = lambda: None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._refused = refused
        self._came_up = came_up
        self.went_down: Callable[[], None] = lambda: None
        self._papers = papers
        self._server = server
        self._address = address
        self._clock = clock
        self._driver = LinkDriver("tunnel", self._dial, self._serve)
        self._connection: asyncssh.SSHClientConnection | None = None
        self._ending: Ending | None = None
        self._quiet = False
        self._shown = papers.identity
        papers.on_change(self._look)

    async def run(self) -> None:
        """Keep the tunnel up until `stop`, then close it."""
        await self._driver.run()
        await self._hang_up()

    def stop(self) -> None:
        """Have `run` end."""
        self._driver.stopped.set()

    def tell(self, told: Callable[[bool, str], None]) -> None:
        """Have `told` called when the tunnel is up, and with what is wrong where it is not."""
        self._driver.told = told

    @property
    def is_up(self) -> bool:
        """Whether the tunnel stands."""
        return self._connection is not None

    def hurry(self) -> None:
        """Dial now rather than wait: the controller was heard of."""
        self._driver.hurry()

    def relax(self) -> None:
        """Ask rarely whether the tunnel is there: something else on the same road tells of a dead link."""
        self._quiet = True
        if self._connection:
            self._connection.set_keepalive(_IDLE)

    def probe(self) -> None:
        """Ask whether the tunnel is there, and from now on often: nothing else tells."""
        self._quiet = False
        if self._connection:
            self._connection.set_keepalive(_PROBE)
            # Once it has answered, or is gone, there is no such hurry.
            asyncio.get_running_loop().call_later(_PROBE * (limits.KEEPALIVE_MISSES + 1), self._calm_down)

    def _calm_down(self) -> None:
        if self._connection and not self._quiet:
            self._connection.set_keepalive(_KEEPALIVE)

    def _look(self) -> None:
        """Wait no longer where there are new certificates: the old ones may have been what was wrong."""
        if self._papers.identity is not self._shown:
            self._driver.renewed.set()

    async def _dial(self) -> Event:
        ending = self._ending = Ending(self._check())
        host, port = "", 0
        try:
            host, port = self._address()
            async with asyncio.timeout(_DIAL):
                connection = await self._connect(host, port, ending)
        except (OSError, asyncssh.Error, asyncssh.ChannelListenError, TimeoutError, ValueError) as err:
            return self._failed(f"{host}:{port}", err, ending)
        self._connection = connection
        if self._quiet:  # since it was dialled, perhaps
            connection.set_keepalive(_IDLE)
        _log.info("the tunnel to %s:%d is up", host, port)
        self._came_up()
        return DialSucceeded()

    def _check(self) -> HostKeyCheck:
        """Return the judge of the tunnel door's host key, by the authorities of today and the time as far as known."""
        clock = self._clock
        return HostKeyCheck(self._expected(), lambda: clock.span()[0], lambda: clock.span()[1])

    def _expected(self) -> ExpectedHost:
        papers = self._papers
        authorities = frozenset(key_blob(line) for line in papers.host_authorities)
        return ExpectedHost(proxy_principal(papers.identity.granted.cluster_name), "proxy", authorities)

    async def _serve(self) -> Event:
        """Wait until the tunnel is gone, or is to end."""
        ending = self._ending
        assert ending  # noqa: S101 - it was dialled
        await unless(self._driver.stopped, ending.lost.wait(), None)
        if ending.lost.is_set():
            self._connection = None
            self._driver.complain(f"the tunnel is gone: {ending.reason}")
            self.went_down()
        return LinkLost(ending.retry_after)

    async def _connect(self, host: str, port: int, ending: Ending) -> asyncssh.SSHClientConnection:
        identity, authorities = self._papers.identity, self._papers.host_authorities
        self._shown = identity
        self._driver.renewed.clear()
        granted = identity.granted
        key = asyncssh.import_private_key(identity.host_private.reveal())
        connection = await asyncssh.connect(
            host,
            port,
            config=[],
            options=None,
            client_factory=lambda: ending,
            username=granted.node_id,
            client_keys=[(key, asyncssh.import_certificate(granted.host_certificate))],
            agent_path=None,
            known_hosts=([], [asyncssh.import_public_key(line) for line in authorities], []),
            host_key_alias=proxy_principal(granted.cluster_name),
            preferred_auth="publickey",
            **offered(),
            client_version=f"Skerry_{__version__}",
            keepalive_interval=_KEEPALIVE,
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
            mend = "has the node been removed or locked? If so, join again: edge-agent start --rejoin --token TOKEN"
            self._driver.complain(f"the controller at {address} refuses this node's certificate; {mend}", logging.ERROR)
            self._refused()
            return DialFailed(ending.retry_after, refused=True)
        if isinstance(err, asyncssh.HostKeyNotVerifiable):
            self._driver.complain(f"the server at {address} did not prove to be the proxy: {err.reason}", logging.ERROR)
            self._refused()
            return DialFailed(None, refused=True)
        told = ending.reason if ending.reason != _CLOSED else ""  # a lock, say: the library does not pass it on
        reason = told or getattr(err, "reason", "") or getattr(err, "strerror", "") or str(err) or "no answer in time"
        self._driver.complain(f"the tunnel to {address} did not come up: {reason}")
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
        self.reason = _CLOSED
        self.retry_after: float | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Have the host key judged in the library's place."""
        hasten(conn)
        keep_road_open(conn, idle=limits.TUNNEL_TCP_KEEPALIVE)
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
