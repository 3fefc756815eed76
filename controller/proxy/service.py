"""The proxy as a process: both SSH doors on one event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal

import asyncssh

from controller.authority import AuthorityError
from controller.cluster import Cluster
from controller.proxy.client_door import ClientDoor, ClientRooms
from controller.proxy.errand import Errands
from controller.proxy.host_key import HostKey, make_host_key
from controller.proxy.lobby import Lobby
from controller.proxy.pace import Pace
from controller.proxy.relay import Relays
from controller.proxy.rivals import Rivals
from controller.proxy.tunnel_door import REMOVED, TunnelDoor, TunnelRooms, open_channel
from controller.proxy.tunnels import Device, Tunnels
from controller.proxy.warden import Warden
from controller.store.interface import StoreError
from protocol import limits
from protocol.access import AccessTarget
from protocol.names import NodeId
from protocol.ssh.algorithms import offered
from protocol.ssh.certificate import key_blob

LOG = logging.getLogger("PROXY")
_STORE_INTERVAL = 1.0
_RENEWAL_INTERVAL = 1.0  # the clock is asked, and may be set: no wait for 20 days
_RENEWAL_RETRY = 60.0
# So many who knock are looked at in one turn of the event loop; the others wait in the kernel, in order. A fleet that
# comes back must not keep us from serving those who were let in before.
_ACCEPTED_AT_ONCE = 16
_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class ProxySockets:
    """The two listening sockets, bound by the supervisor."""

    client: socket.socket
    tunnel: socket.socket


class ProxyService:
    """Both doors, the tunnels behind them, and the tasks that keep the store and the audit log up to date."""

    def __init__(
        self, cluster: Cluster, sockets: ProxySockets, *, login_grace: timedelta = limits.SSH_LOGIN_GRACE
    ) -> None:
        self._cluster = cluster
        self._sockets = sockets
        self._login_grace = login_grace
        self._people, self._devices = Lobby(LOG), Lobby(LOG)
        self._errands = Errands(cluster.audit, cluster.clock)
        self._tunnels = Tunnels(cluster.presence.all_down(), cluster.clock)
        self._doors: list[asyncssh.SSHAcceptor] = []
        self._relays = Relays()
        self._warden = Warden(cluster.locks, self._tunnels)
        self._rivals = Rivals(cluster.enrolment.report_clone)
        self._pace = Pace(self._tunnels, cluster.mirror.view)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Serve until `stop` is set; then take nobody new, let sessions end for a while, and leave."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            errands = tasks.create_task(self._errands.run(), name="audit")
            keeper = tasks.create_task(self._keep_presence(over), name="presence")
            tasks.create_task(self._warden.run(over), name="locks")
            rivals = tasks.create_task(self._rivals.run(), name="rivals")
            self._cluster.mirror.follow()
            await asyncio.to_thread(self._cluster.mirror.view)  # the first look waits for an answer
            host = make_host_key(self._cluster)
            await self._open_doors(host)
            renewal = tasks.create_task(self._renew_host_key(host), name="host key")
            ready()
            await stop.wait()
            await self._drain()
            over.set()
            await keeper  # not cancelled: its thread might write that a node is up after we have left
            await self._errands.finish()
            for task in (renewal, rivals, errands):
                task.cancel()
        try:
            self._cluster.presence.all_down()
        except StoreError as err:
            LOG.error("the tunnels are not stored as down; they will be at the next start: %s", err)  # noqa: TRY400 - one line

    async def _open_doors(self, host: HostKey) -> None:
        client = ClientRooms(
            lobby=self._people,
            errands=self._errands,
            tunnels=self._tunnels,
            relays=self._relays,
            warden=self._warden,
            open_channel=partial(open_channel, self._tunnels),
            nodes=self._nodes,
            user=self._cluster.accounts.users.get,
            authorities=partial(self._authorities, "user"),
            clock=self._cluster.clock,
            standing=lambda node_id: self._cluster.mirror.view().of(node_id),
        )
        tunnel = TunnelRooms(
            lobby=self._devices,
            errands=self._errands,
            tunnels=self._tunnels,
            warden=self._warden,
            rivals=self._rivals,
            node=self._cluster.enrolment.nodes.get,
            authorities=partial(self._authorities, "host"),
            clock=self._cluster.clock,
        )
        self._doors = [
            await _listen(self._sockets.client, lambda: ClientDoor(client), host, self._login_grace),
            await _listen(self._sockets.tunnel, lambda: TunnelDoor(tunnel), host, self._login_grace),
        ]

    async def _drain(self) -> None:
        """Close the doors; wait until no channel is relayed, or the configured time is over; then cut what is left."""
        for door in self._doors:
            door.close()
        patience = self._cluster.config.drain_timeout.total_seconds()
        LOG.info(
            "stopping: %d tunnels, %d sessions, which may end within %d s",
            len(self._tunnels),
            len(self._relays),
            patience,
        )
        await self._relays.wait_idle(patience)
        for lobby in (self._people, self._devices):
            lobby.clear("the controller is stopping; retry-after: 1")

    async def _renew_host_key(self, host: HostKey) -> None:
        """Give the doors a new host key in good time; connections that are open keep the one they know."""
        while True:
            await asyncio.sleep(_RENEWAL_INTERVAL)
            try:
                if not await asyncio.to_thread(self._is_host_key_due, host):
                    continue
                host = await asyncio.to_thread(make_host_key, self._cluster)
            except (AuthorityError, StoreError) as err:
                LOG.error("the proxy's host certificate is not renewed yet: %s", err)  # noqa: TRY400 - one line
                await asyncio.sleep(_RENEWAL_RETRY)
                continue
            for door in self._doors:
                door.update(server_host_keys=[(host.key, host.certificate)])
            LOG.info("the proxy's host certificate is renewed")

    def _is_host_key_due(self, host: HostKey) -> bool:
        """Tell whether the certificate nears its end, or another key of the host CA signs for servers by now."""
        return self._cluster.clock() >= host.renew_at or self._cluster.authority.server_key_id("host") != host.authority

    async def _keep_presence(self, over: asyncio.Event) -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_STORE_INTERVAL):
                    await over.wait()
                    return
            self._pace.adjust()
            try:
                await self._cut_removed()
            except StoreError as err:
                LOG.warning("cannot tell whether nodes were removed: %s", err)
            await self._store_changes()

    async def _cut_removed(self) -> None:
        """Cut the tunnels of nodes that are no longer enrolled, and forget that they held any."""
        # What is known is taken first: whatever joins while the store is read must not look removed.
        known = self._tunnels.known()
        enrolled = await asyncio.to_thread(self._nodes)
        gone = known - enrolled.keys()
        for device in self._tunnels.devices():
            if device.node_id in gone:
                LOG.info("tunnel door: node %s was removed: its connection from %s is cut", *_words(device))
                device.connection.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, REMOVED)
        for node_id in gone:
            # Where the store refuses, the node stays known, and this is done again.
            await asyncio.to_thread(self._cluster.presence.forget, node_id)
            self._tunnels.forget(node_id)

    async def _store_changes(self) -> None:
        changes = self._tunnels.take_changes()
        if not changes:
            return
        try:
            await asyncio.to_thread(self._cluster.presence.write, changes)
        except StoreError as err:
            LOG.warning("the state of %d tunnels is not stored yet: %s", len(changes), err)
            self._tunnels.put_back(changes)

    def _nodes(self) -> Mapping[NodeId, AccessTarget]:
        return self._cluster.enrolment.nodes.targets()

    def _authorities(self, kind: Literal["user", "host"]) -> Collection[bytes]:
        return {key_blob(line) for line in self._cluster.authority.ssh_authorities(kind)}


def _words(device: Device) -> tuple[str, str]:
    return device.node_id, device.address


async def _listen(
    sock: socket.socket,
    factory: Any,  # noqa: ANN401 - makes an SSHServer
    host: HostKey,
    login_grace: timedelta,
) -> asyncssh.SSHAcceptor:
    door = await asyncssh.listen(
        sock=sock,
        server_factory=factory,
        server_host_keys=[(host.key, host.certificate)],
        **offered(),
        compression_algs=["none"],
        login_timeout=login_grace.total_seconds(),
        keepalive_interval=limits.KEEPALIVE_INTERVAL.total_seconds(),
        keepalive_count_max=limits.KEEPALIVE_MISSES,
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_host=None,
        agent_forwarding=False,
        x11_forwarding=False,
        server_version="Skerry",
        allow_pty=False,
        line_editor=False,
        sftp_factory=None,
        backlog=_ACCEPTED_AT_ONCE,
    )
    sock.listen(_BACKLOG)  # the library tells the kernel the number above, too
    return door
