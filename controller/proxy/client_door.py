"""The client door (3023): people come with a user certificate and open channels to nodes by name.

Checks of a connection: K0-K9 of `protocol.certificates` and `protocol.ssh.gate`, then P1 the user still
exists, P2 the certificate is not from before the user was reset or lost rights. P1 and P2 are asked again for every
channel, and so is P3, that the certificate has not expired since. Before them comes P4, that the audit log
is being kept: nobody is let through unrecorded. That refusal itself can stand in the program's log alone. P5 is that
a certificate for one node, as the web process uses them, leads to no other.
A person on whom a lock is (X1) is let in to be told of it, and goes; a channel to a locked node (X3) is refused. A lock
on a login (X2) is the node's to judge, since the login is named within the channel alone: somebody who may use a locked
login gets no channel to a node that is not known to have heard of the lock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, Protocol

import asyncssh

from controller.accounts import UserRecord
from controller.policy.heard import has_heard
from controller.policy.liveness import UNSEEN, Standing
from controller.policy.route import Denied, Offline, Route, Routed, decide_route
from controller.proxy.answers import answer_for, offline
from controller.proxy.doorway import LOG, Doorway
from controller.proxy.errand import Errands
from controller.proxy.lobby import Lobby
from controller.proxy.relay import Channel, RelayEnd, Relays
from controller.proxy.tunnels import Tunnels
from controller.proxy.warden import Warden
from controller.store.interface import StoreError
from protocol import events, limits
from protocol.access import AccessTarget
from protocol.addresses import join_address, split_address
from protocol.certificates import SshCertificate, UserIdentity, judge_user_certificate
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.locks import Lock, describe_lock
from protocol.names import NodeId, UserName
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
    warden: Warden
    open_channel: ChannelOpener
    nodes: Callable[[], Mapping[NodeId, AccessTarget]]
    user: Callable[[str], UserRecord | None]
    authorities: Callable[[], Collection[bytes]]
    clock: Callable[[], datetime]
    standing: Callable[[NodeId], Standing] = lambda _: UNSEEN


class ClientDoor(Doorway[UserIdentity]):
    """One person's connection."""

    door = "client"

    def __init__(self, rooms: ClientRooms) -> None:
        super().__init__(rooms.lobby, rooms.errands, rooms.clock)
        self._rooms = rooms
        self._relayed: dict[_Both, NodeId] = {}
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
        self._rooms.warden.enter(self)

    def auth_completed(self) -> None:
        """Go by where the person is: the web process stands in for a browser, and its certificate says where that is.

        That is a fact by now: the certificate is good, and the peer has its key.
        """
        if self.identity is not None and self.identity.origin is not None:
            self.address = join_address(*self.identity.origin)
        super().auth_completed()

    def bar(self, identity: UserIdentity) -> Lock | None:
        """Return the lock that is on the person."""
        return self._rooms.warden.on(user=identity.user)

    @property
    def user(self) -> UserName:
        """Who the person is."""
        assert self.identity is not None  # noqa: S101 - the warden's guests have been admitted
        return self.identity.user

    @property
    def nodes(self) -> Collection[NodeId]:
        """The nodes to which the person has channels."""
        return self._relayed.values()

    def lock_out(self, lock: Lock) -> None:
        """End the connection, and all that goes on in it."""
        LOG.info("client door: %s (user %s): %s: the connection is cut", self.address, self.user, describe_lock(lock))
        self._say_goodbye(describe_lock(lock))

    def part_from(self, node: NodeId, lock: Lock) -> None:
        """End the channels to a node; where there are no others, the connection with a word why."""
        if set(self.nodes) == {node}:
            self.lock_out(lock)
            return
        LOG.info("client door: %s (user %s): %s: channels are closed", self.address, self.user, describe_lock(lock))
        for both in [both for both, its_node in self._relayed.items() if its_node == node]:
            both.abort()

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
        if isinstance(route, Routed | Offline) and (lock := self._rooms.warden.on(node=route.node.node_id)):
            self._refuse_locked(identity, target, lock, "X3")
        if isinstance(route, Routed) and (lock := self._unheard(identity, route.node.node_id)):
            self._refuse_locked(identity, target, lock, "X2")
        self._check_node(identity, target, route)
        standing = self._rooms.standing(route.node.node_id) if isinstance(route, Offline) else UNSEEN
        answer = answer_for(route, self._clock(), standing)
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
        lock = self._rooms.warden.on(user=identity.user)
        if lock is not None:
            self._refuse_locked(identity, target, lock, "X1")
        still = self._still_good(identity)
        if isinstance(still, Refused):
            self._report(identity, target, still.reason, still.check)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "access denied: log in again")
        if len(self._relayed) >= limits.CHANNELS_PER_CONNECTION:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many channels on this connection")

    def _check_node(self, identity: UserIdentity, target: str, route: Route) -> None:
        """P5: refuse any other node than the one that the certificate is for, where it is for one."""
        if identity.node is None or not isinstance(route, Routed | Offline) or route.node.node_id == identity.node:
            return
        self._report(identity, target, "the certificate is for another node", "P5")
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "access denied")

    def _unheard(self, identity: UserIdentity, node_id: NodeId) -> Lock | None:
        """Return a lock on one of the person's logins that the node may not know of; None where it will judge."""
        locks = self._rooms.warden.on_logins(identity.logins)
        if not locks:
            return None
        standing, now = self._rooms.standing(node_id), self._clock()
        return next((lock for lock in locks if not has_heard(standing, lock.created, now)), None)

    def _refuse_locked(self, identity: UserIdentity, target: str, lock: Lock, check: str) -> NoReturn:
        self._report(identity, target, describe_lock(lock), check)
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, describe_lock(lock))

    def _route(self, identity: UserIdentity, target: str) -> Route:
        tunnels = self._rooms.tunnels
        nodes = self._rooms.nodes()
        offline = {node_id: tunnels.down_since(node_id) for node_id in nodes if tunnels.get(node_id) is None}
        return decide_route(target, person=identity, nodes=nodes, offline_since=offline)

    async def _relay(self, identity: UserIdentity, target: str, route: Routed) -> RelayEnd:
        both = _Both(self._closed)
        try:
            await self._open_far(identity, route.node.node_id, both)
        except asyncssh.ChannelOpenError as err:
            raise self._explain(err, route) from None
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
        return both.near

    def _explain(self, err: asyncssh.ChannelOpenError, route: Routed) -> asyncssh.ChannelOpenError:
        """Return what to tell where a channel did not come about: of a tunnel whose node is gone, that it is."""
        standing = self._rooms.standing(route.node.node_id)
        if err.code != asyncssh.OPEN_CONNECT_FAILED or standing.presence != "offline":
            return err
        return asyncssh.ChannelOpenError(err.code, offline(Offline(route.node, None), self._clock(), standing))

    async def _open_far(self, identity: UserIdentity, node_id: NodeId, both: _Both) -> None:
        """Open the node's end. It is counted from the first moment: what is being opened takes room too."""
        self._relayed[both] = node_id
        self._rooms.relays.opened()
        try:
            await self._rooms.open_channel(node_id, both.far, split_address(self.address))
            self._check_still_wanted(identity, node_id)
        except BaseException:
            both.near.count_once()
            if both.far.channel is None:
                both.far.count_once()
            both.abort()
            raise

    def _check_still_wanted(self, identity: UserIdentity, node_id: NodeId) -> None:
        """Raise `asyncssh.ChannelOpenError` for a channel that nobody would ever close, or that nobody may have."""
        if self._gone:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the connection is closed")
        lock = self._rooms.warden.on(user=identity.user, node=node_id)
        if lock is not None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, describe_lock(lock))

    def left(self, identity: UserIdentity) -> None:  # noqa: ARG002 - the door's own signature
        """Note that the person is gone: channels that are still being opened have nobody to go to."""
        self._gone = True
        self._rooms.warden.leave(self)

    def _closed(self, both: _Both) -> None:
        del self._relayed[both]
        self._rooms.relays.closed()

    def _still_good(self, identity: UserIdentity) -> Granted[UserIdentity] | Refused:
        user = self._rooms.user(identity.user)
        if user is None:
            return Refused(f'user "{identity.user}" does not exist any more', "P1")
        if identity.issued < user.valid_from.replace(microsecond=0):
            return Refused(f'the certificate is from before user "{identity.user}" was reset or lost rights', "P2")
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

    def __init__(self, closed: Callable[[_Both], None]) -> None:
        self._closed = closed
        self._there = 2
        self.near, self.far = _CountedEnd(self), _CountedEnd(self)
        self.near.join(self.far)

    def lost(self) -> None:
        """Count one end less."""
        self._there -= 1
        if not self._there:
            self._closed(self)

    def abort(self) -> None:
        """Close both ends at once; of a channel that is still being confirmed, the node's end takes the other along."""
        for end in (self.near, self.far):
            if end.channel is not None:
                end.channel.abort()


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
