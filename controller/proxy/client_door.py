"""The client door (3023): people come with a user certificate and open channels to nodes by name.

Checks of a connection: K0-K9 of `protocol.certificates` and `protocol.ssh.gate`, then P1 the user still
exists, P2 the certificate is not from before the user was reset. P1 and P2 are asked again for every
channel, and so is P3, that the certificate has not expired since. Before them comes P4, that the audit log
is being kept: nobody is let through unrecorded. That refusal itself can stand in the program's log alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import asyncssh

from controller.accounts import UserRecord
from controller.policy.route import Denied, Route, Routed, decide_route
from controller.proxy.answers import answer_for
from controller.proxy.doorway import LOG, Doorway, Lobby
from controller.proxy.errand import Errands
from controller.proxy.relay import Channel, RelayEnd, Relays
from controller.proxy.tunnels import Tunnels
from controller.store.interface import StoreError
from protocol import events, limits
from protocol.access import AccessTarget
from protocol.addresses import split_address
from protocol.certificates import SshCertificate, UserIdentity, judge_user_certificate
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.names import NodeId
from protocol.ssh.tunnel import MAX_PACKET, WINDOW
from protocol.table import escape_text


class ChannelOpener(Protocol):
    """Opens a channel to a node through its tunnel: the tunnel door's part."""

    def __call__(self, node_id: NodeId, session: RelayEnd, origin: tuple[str, int]) -> Awaitable[None]:
        """Open it and give it to `session`. Raises `asyncssh.ChannelOpenError`."""
        ...


@dataclass(frozen=True, slots=True)
class ClientRooms:
    """What the client door asks of the rest of the proxy."""

    lobby: Lobby
    errands: Errands
    tunnels: Tunnels
    relays: Relays
    open_channel: ChannelOpener
    nodes: Callable[[], Mapping[NodeId, AccessTarget]]
    user: Callable[[str], UserRecord | None]
    authorities: Callable[[], Collection[bytes]]
    clock: Callable[[], datetime]


class ClientDoor(Doorway[UserIdentity]):
    """One person's connection."""

    door = "client"

    def __init__(self, rooms: ClientRooms) -> None:
        super().__init__(rooms.lobby, rooms.errands, rooms.clock)
        self._rooms = rooms
        self._channels = 0
        self._gone = False

    def judge(self, certificate: SshCertificate, username: str) -> Granted[UserIdentity] | Refused:  # noqa: ARG002 - the login belongs to the inner connection
        """Judge the certificate; any SSH user name will do."""
        answer = judge_user_certificate(
            certificate, authorities=self._rooms.authorities(), now=self._clock(), login=None
        )
        return self._still_good(answer.value) if isinstance(answer, Granted) else answer

    def admitted(self, identity: UserIdentity) -> None:
        """Note who came."""
        LOG.info("client door: %s is user %s", self.address, identity.user)

    def session_requested(self) -> bool:
        """Refuse shells on the proxy itself."""
        return False

    def connection_requested(
        self,
        dest_host: str,
        dest_port: int,  # noqa: ARG002 - a node has one door
        orig_host: str,  # noqa: ARG002 - the peer's own word; we know where it is
        orig_port: int,  # noqa: ARG002
    ) -> tuple[Channel, Awaitable[asyncssh.SSHTCPSession[bytes]]]:
        """Open a channel to the node that `dest_host` names."""
        channel: Channel = self.connection.create_tcp_channel(window=WINDOW, max_pktsize=MAX_PACKET)
        return channel, self._open(dest_host)

    async def _open(self, target: str) -> asyncssh.SSHTCPSession[bytes]:
        identity = self.identity
        if identity is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "not authenticated")
        try:
            return await self._reach(identity, target)
        except StoreError as err:
            LOG.error("client door: %s (user %s): no channel opened: %s", self.address, identity.user, err)
            text = "the controller cannot read its records now: try again in a moment"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, text) from None

    async def _reach(self, identity: UserIdentity, target: str) -> asyncssh.SSHTCPSession[bytes]:
        self._check_channel(identity, target)
        route = self._route(identity, target)
        answer = answer_for(route, self._clock())
        if answer is not None:
            self._report_refusal(identity, target, route)
            raise asyncssh.ChannelOpenError(*answer)
        assert isinstance(route, Routed)  # noqa: S101 - `answer_for` says so to the reader, not to mypy
        return await self._relay(identity, target, route)

    def _check_channel(self, identity: UserIdentity, target: str) -> None:
        if not self._errands.is_keeping:
            LOG.warning("client door: %s (user %s): refused: no audit log (P4)", self.address, identity.user)
            text = "the controller cannot keep its audit log now; try again later or tell the administrator"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, text)
        still = self._still_good(identity)
        if isinstance(still, Refused):
            self._report(identity, target, still.reason, still.check)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "access denied: log in again")
        if self._channels >= limits.CHANNELS_PER_CONNECTION:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many channels on this connection")

    def _route(self, identity: UserIdentity, target: str) -> Route:
        tunnels = self._rooms.tunnels
        nodes = self._rooms.nodes()
        offline = {node_id: tunnels.down_since(node_id) for node_id in nodes if tunnels.get(node_id) is None}
        return decide_route(target, person=identity, nodes=nodes, offline_since=offline)

    async def _relay(self, identity: UserIdentity, target: str, route: Routed) -> RelayEnd:
        both = _Both(self._closed)
        near, far = _CountedEnd(both), _CountedEnd(both)
        near.join(far)
        await self._open_far(route.node.node_id, near, far)
        fields: dict[str, Json] = {
            "user": identity.user,
            "server_id": route.node.node_id,
            "server_hostname": route.node.name,
            "addr.remote": self.address,
            "target": target,
            "via": "ssh",
        }
        self._errands.audit(events.SESSION_CONNECT, fields)
        LOG.info("client door: %s (user %s) connected to node %s", self.address, identity.user, route.node.name)
        return near

    async def _open_far(self, node_id: NodeId, near: _CountedEnd, far: _CountedEnd) -> None:
        """Open the node's end. It is counted from the first moment: what is being opened takes room too."""
        self._channels += 1
        self._rooms.relays.opened()
        try:
            await self._rooms.open_channel(node_id, far, split_address(self.address))
        except BaseException:
            near.count_once()
            far.count_once()
            raise
        if self._gone:
            # Nobody is there any more to be told of the channel, and nobody would ever close it.
            near.count_once()
            if far.channel is not None:
                far.channel.abort()
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the connection is closed")

    def left(self, identity: UserIdentity) -> None:  # noqa: ARG002 - the door's own signature
        """Note that the person is gone: channels that are still being opened have nobody to go to."""
        self._gone = True

    def _closed(self) -> None:
        self._channels -= 1
        self._rooms.relays.closed()

    def _still_good(self, identity: UserIdentity) -> Granted[UserIdentity] | Refused:
        user = self._rooms.user(identity.user)
        if user is None:
            return Refused(f'user "{identity.user}" does not exist any more', "P1")
        if identity.issued < user.valid_from.replace(microsecond=0):
            return Refused(f'the certificate is from before user "{identity.user}" was reset', "P2")
        if self._clock() >= identity.valid_before:
            return Refused("the certificate has expired since the connection was made", "P3")
        return Granted(identity)

    def _report_refusal(self, identity: UserIdentity, target: str, route: Route) -> None:
        shown = escape_text(target[:200])
        LOG.info("client door: %s (user %s): %s: %s", self.address, identity.user, type(route).__name__, shown)
        if isinstance(route, Denied):
            self._report(identity, target, route.reason, route.check)

    def _report(self, identity: UserIdentity, target: str, reason: str, check: str) -> None:
        fields: dict[str, Json] = {
            "user": identity.user,
            "reason": reason,
            "check": check,
            "target": target,
            "addr.remote": self.address,
            "via": "ssh",
        }
        self._errands.audit(events.SESSION_REJECTED, fields, is_refusal=True)


class _Both:
    """Tells the door when both ends of a relay are gone: what one peer will not take is still held for it."""

    def __init__(self, closed: Callable[[], None]) -> None:
        self._closed = closed
        self._there = 2

    def lost(self) -> None:
        """Count one end less."""
        self._there -= 1
        if not self._there:
            self._closed()


class _CountedEnd(RelayEnd):
    """One end of a relay that takes room at the door until it is gone."""

    def __init__(self, both: _Both) -> None:
        super().__init__()
        self._both = both
        self._counted = True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.count_once()

    def count_once(self) -> None:
        """Count this end out, the first time."""
        if self._counted:
            self._counted = False
            self._both.lost()
