"""The tunnel door (3024): nodes come with a host certificate, and ask for one remote forward each.

Checks of a connection: K0-K9 of `protocol.certificates` and `protocol.ssh.gate`, then T1 the SSH user name
is the node's id, T2 the node is still enrolled, T3 it brings the key it was enrolled with. A node on which a lock is
(X3) is let in to be told of it, and goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import asyncssh

from controller.enrolment.nodes import NodeRecord
from controller.policy.clone import is_outdated
from controller.proxy.doorway import LOG, Doorway
from controller.proxy.errand import Errands
from controller.proxy.lobby import Lobby
from controller.proxy.relay import RelayEnd
from controller.proxy.rivals import Rivals
from controller.proxy.tunnels import Device, TunnelLink, Tunnels
from controller.proxy.warden import Warden
from controller.store.interface import StoreError
from protocol import limits
from protocol.certificates import HostIdentity, SshCertificate, judge_host_certificate
from protocol.decision import Granted, Refused
from protocol.locks import Lock
from protocol.names import NodeId
from protocol.ssh.certificate import key_blob
from protocol.ssh.road import keep_road_open
from protocol.ssh.tunnel import MAX_PACKET, WINDOW

REMOVED = "this node has been removed from the cluster"


@dataclass(frozen=True, slots=True)
class TunnelRooms:
    """What the tunnel door asks of the rest of the proxy."""

    lobby: Lobby
    errands: Errands
    tunnels: Tunnels
    warden: Warden
    rivals: Rivals
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
    lock_check = "X3"

    def __init__(self, rooms: TunnelRooms) -> None:
        super().__init__(rooms.lobby, rooms.errands, rooms.clock)
        self._rooms = rooms
        self._device: Device | None = None
        self._link: TunnelLink | None = None
        self._recorded = 0  # the generation of the node's certificates, as our records have it

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
        if node is None or node.pending:
            return Refused(f"node {username} is not enrolled", "T2")
        if key_blob(node.ssh_public_key) != certificate.public_key:
            return Refused(f"node {username} was enrolled with another key", "T3")
        self._recorded = node.generation
        return answer

    def bar(self, identity: HostIdentity) -> Lock | None:
        """Return the lock that is on the node."""
        return self._rooms.warden.on(node=identity.node_id)

    def is_worth_telling(self, identity: HostIdentity, lock: Lock) -> bool:
        """Tell whether this lock turns the node back for the first time: an agent tries again for ever."""
        return identity.node_id is None or self._rooms.warden.is_news(identity.node_id, lock)

    def admitted(self, identity: HostIdentity) -> None:
        """Know of the connection; one that shows what the node has replaced long ago is a copy's."""
        if identity.node_id is None:  # cannot be: it was judged as a node's
            return
        self._device = Device(identity.node_id, self.connection, self.address)
        self._rooms.tunnels.enter(self._device)
        if is_outdated(identity.generation, self._recorded):
            shown = (
                f"certificates of generation {identity.generation} at the tunnel door, where {self._recorded} is due"
            )
            self._rooms.rivals.found(identity.node_id, self.address, shown)

    def session_requested(self) -> bool:
        """Refuse shells on the proxy itself."""
        return False

    def server_requested(self, listen_host: str, listen_port: int) -> asyncssh.SSHListener | bool:
        """Take the node's request to be reached: from now on it is online. One a connection."""
        identity = self.identity
        if identity is None or identity.node_id is None or self._link is not None or listen_port == 0:
            return False
        # Much may have come since it proved who it is.
        if self.is_turned_back or self._is_barred(identity) or self._is_removed(identity.node_id):
            return False
        keep_road_open(self.connection, idle=limits.TUNNEL_TCP_KEEPALIVE)
        self._link = TunnelLink(identity.node_id, self.connection, (listen_host, listen_port), self.address)
        displaced = self._rooms.tunnels.register(self._link)
        LOG.info("tunnel door: node %s connected from %s", identity.node_id, self.address)
        if displaced is not None:
            LOG.info("tunnel door: node %s: displaces its connection from %s", identity.node_id, displaced.address)
            self._rooms.rivals.displace(displaced, self.address)
        return _Forward()

    def _is_removed(self, node_id: NodeId) -> bool:
        """Turn back a node that is no longer enrolled."""
        try:
            node = self._rooms.node(node_id)
        except StoreError as err:
            LOG.error("tunnel door: %s cannot be judged: %s", self.address, err)
            self._say_goodbye("the controller cannot read its records now: try again in a moment")
            return True
        if node is not None and not node.pending:
            return False
        self._say_goodbye(REMOVED)
        return True

    def left(self, identity: HostIdentity) -> None:
        """Take the tunnel out, unless a newer one has taken its place."""
        if self._device is not None:
            self._rooms.tunnels.leave(self._device)
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
