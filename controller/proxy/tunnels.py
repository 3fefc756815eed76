"""The tunnels that nodes hold to this proxy: at most one a node, the newest.

A second connection of the same node displaces the first, and the node stays online throughout: it goes
offline only when the connection that is its tunnel *now* ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncssh

from controller.presence import Tunnel
from protocol.names import NodeId


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    """A connection of a node that has proved who it is, whether it asked to be reached or not."""

    node_id: NodeId
    connection: asyncssh.SSHServerConnection
    address: str


@dataclass(frozen=True, slots=True, eq=False)
class TunnelLink:
    """One node's connection to the tunnel door. `forward` is what the node asked to be forwarded."""

    node_id: NodeId
    connection: asyncssh.SSHServerConnection
    forward: tuple[str, int]
    address: str


class Tunnels:
    """All tunnels, and since when each node has one or has none."""

    def __init__(self, view: Mapping[NodeId, Tunnel], clock: Callable[[], datetime]) -> None:
        self._devices: set[Device] = set()
        self._links: dict[NodeId, TunnelLink] = {}
        self._view = dict(view)
        self._changed: set[NodeId] = set()
        self._clock = clock

    def __len__(self) -> int:
        return len(self._links)

    def enter(self, device: Device) -> None:
        """Know of a node's connection, from when it has proved who it is."""
        self._devices.add(device)

    def leave(self, device: Device) -> None:
        """Forget a connection, which is gone."""
        self._devices.discard(device)

    def devices(self) -> list[Device]:
        """Return every connection of a node that has proved who it is: tunnels, displaced ones, and those to be."""
        return list(self._devices)

    def register(self, link: TunnelLink) -> TunnelLink | None:
        """Make `link` its node's tunnel; return the one it displaces, which is the caller's to close."""
        displaced = self._links.get(link.node_id)
        self._links[link.node_id] = link
        if displaced is None:
            self._turn(link.node_id, Tunnel("up", self._clock()))
        return displaced

    def unregister(self, link: TunnelLink) -> bool:
        """Take `link` out; return whether its node is offline now."""
        if self._links.get(link.node_id) is not link:
            return False  # it was displaced before it ended
        del self._links[link.node_id]
        self._turn(link.node_id, Tunnel("down", self._clock()))
        return True

    def get(self, node_id: NodeId) -> TunnelLink | None:
        """Return the node's tunnel, or None."""
        return self._links.get(node_id)

    def all(self) -> list[TunnelLink]:
        """Return every tunnel."""
        return list(self._links.values())

    def known(self) -> frozenset[NodeId]:
        """Return every node that is connected, holds a tunnel, or ever held one."""
        return frozenset(self._view).union(device.node_id for device in self._devices)

    def forget(self, node_id: NodeId) -> None:
        """Forget a node that is no more. Its connections are the caller's to close."""
        self._view.pop(node_id, None)
        self._changed.discard(node_id)
        self._links.pop(node_id, None)

    def down_since(self, node_id: NodeId) -> datetime | None:
        """Return since when the node has none; None where it never had one."""
        tunnel = self._view.get(node_id)
        return tunnel.since if tunnel else None

    def take_changes(self) -> dict[NodeId, Tunnel]:
        """Return what changed since the last call, for the store."""
        changes = {node_id: self._view[node_id] for node_id in self._changed}
        self._changed.clear()
        return changes

    def put_back(self, changes: Mapping[NodeId, Tunnel]) -> None:
        """Take changes back that could not be stored: the newest state of those nodes is stored next time."""
        self._changed.update(changes)

    def _turn(self, node_id: NodeId, tunnel: Tunnel) -> None:
        self._view[node_id] = tunnel
        self._changed.add(node_id)
