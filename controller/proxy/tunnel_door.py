"""The tunnel door (3024): nodes come with a host certificate, and ask for one remote forward each.

Checks of a connection: K0-K9 of `protocol.certificates` and `protocol.ssh.gate`, then T1 the SSH user name
is the node's id, T2 the node is still enrolled, T3 it brings the key it was enrolled with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import asyncssh

from controller.enrolment.nodes import NodeRecord
from controller.proxy.doorway import LOG, Doorway, Lobby
from controller.proxy.errand import Errands
from controller.proxy.relay import RelayEnd
from controller.proxy.tunnels import TunnelLink, Tunnels
from protocol import limits
from protocol.certificates import HostIdentity, SshCertificate, judge_host_certificate
from protocol.decision import Granted, Refused
from protocol.names import NodeId
from protocol.ssh.certificate import key_blob
from protocol.ssh.tunnel import MAX_PACKET, WINDOW


@dataclass(frozen=True, slots=True)
class TunnelRooms:
    """What the tunnel door asks of the rest of the proxy."""

    lobby: Lobby
    errands: Errands
    tunnels: Tunnels
    node: Callable[[NodeId], NodeRecord | None]
    authorities: Callable[[], Collection[bytes]]
    clock: Callable[[], datetime]


class _Forward(asyncssh.SSHListener):
    """The remote forward a node asked for: nothing listens, the proxy opens channels when people come."""

    def close(self) -> None:
        """Do nothing: the tunnel ends with its connection."""

    async def wait_closed(self) -> None:
        """Do nothing."""


class TunnelDoor(Doorway[HostIdentity]):
    """One node's connection."""

    door = "tunnel"

    def __init__(self, rooms: TunnelRooms) -> None:
        super().__init__(rooms.lobby, rooms.errands, rooms.clock)
        self._rooms = rooms
        self._link: TunnelLink | None = None

    def judge(self, certificate: SshCertificate, username: str) -> Granted[HostIdentity] | Refused:
        """Judge the certificate, and whether the node is one of ours."""
        answer = judge_host_certificate(
            certificate, authorities=self._rooms.authorities(), now=self._clock(), role="node"
        )
        if isinstance(answer, Refused):
            return answer
        if username != answer.value.node_id:
            return Refused("the SSH user name is not the node's id", "T1")
        node = self._rooms.node(NodeId(username))
        if node is None:
            return Refused(f"node {username} is not enrolled", "T2")
        if key_blob(node.ssh_public_key) != certificate.public_key:
            return Refused(f"node {username} was enrolled with another key", "T3")
        return answer

    def session_requested(self) -> bool:
        """Refuse shells on the proxy itself."""
        return False

    def server_requested(self, listen_host: str, listen_port: int) -> asyncssh.SSHListener | bool:
        """Take the node's request to be reached: from now on it is online. One a connection."""
        identity = self.identity
        if identity is None or identity.node_id is None or self._link is not None or listen_port == 0:
            return False
        self._link = TunnelLink(identity.node_id, self.connection, (listen_host, listen_port), self.address)
        displaced = self._rooms.tunnels.register(self._link)
        LOG.info("tunnel door: node %s connected from %s", identity.node_id, self.address)
        if displaced is not None:
            LOG.info("tunnel door: node %s: displaces its connection from %s", identity.node_id, displaced.address)
            text = "displaced by a newer connection of this node"
            displaced.connection.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, text)
        return _Forward()

    def left(self, identity: HostIdentity) -> None:
        """Take the tunnel out, unless a newer one has taken its place."""
        if self._link is not None and self._rooms.tunnels.unregister(self._link):
            LOG.info("tunnel door: node %s disconnected", identity.node_id)


async def open_channel(tunnels: Tunnels, node_id: NodeId, session: RelayEnd, origin: tuple[str, int]) -> None:
    """Open a channel to a node through its tunnel and give it to `session`. Raises `asyncssh.ChannelOpenError`."""
    link = tunnels.get(node_id)
    if link is None:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the node went offline just now")

    def make_session() -> RelayEnd:
        return session

    try:
        async with asyncio.timeout(limits.CHANNEL_OPEN_TIMEOUT.total_seconds()):
            await link.connection.create_connection(
                make_session, *link.forward, *origin, window=WINDOW, max_pktsize=MAX_PACKET
            )
    except TimeoutError:
        text = "the node holds a tunnel but does not answer: its link may be dead; try again in a minute"
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, text) from None
    except asyncssh.Error as err:
        if isinstance(err, asyncssh.ChannelOpenError):
            raise
        text = f"the node's tunnel broke: {err}"
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, text) from None
