"""The warden ends what a lock forbids: people's connections, channels to a locked node, and that node's tunnel.

Whoever comes while a lock holds is turned back at the door; the warden sees to those who were in already. A node that
is connected hears of a lock too, and tells the person in their own terminal: it is given a moment for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import asyncssh

from controller.locks import Locks
from controller.proxy.tunnels import Device
from controller.store.interface import StoreError
from protocol import limits
from protocol.locks import Lock, describe_lock
from protocol.names import NodeId, UserName

LOG = logging.getLogger("PROXY")
# From a lock to the end: a look, and this. It is less than a second with some to spare.
_FAREWELL = timedelta(milliseconds=400)
_TOLD_MAX = 10_000


class Guest(Protocol):
    """A person who is in."""

    @property
    def user(self) -> UserName:
        """Who it is."""
        ...

    @property
    def nodes(self) -> Collection[NodeId]:
        """Which nodes they have channels to."""
        ...

    def lock_out(self, lock: Lock) -> None:
        """End the connection."""
        ...

    def part_from(self, node: NodeId, lock: Lock) -> None:
        """End the channels to one node; the connection too, where it has no others."""
        ...


class TunnelView(Protocol):
    """The connections of nodes, as far as the warden goes."""

    def devices(self) -> Iterable[Device]:
        """Return every one that has proved who it is."""
        ...


@dataclass(frozen=True, slots=True)
class _Ban:
    """Who is locked at one moment."""

    users: Mapping[str, Lock]
    nodes: Mapping[str, Lock]


class Warden:
    """Knows who is in, and looks at the locks four times a second: at their stamp, while nobody changes any."""

    def __init__(self, locks: Locks, tunnels: TunnelView) -> None:
        self._locks = locks
        self._tunnels = tunnels
        self._guests: set[Guest] = set()
        self._acted_on: object = None
        self._told: set[tuple[NodeId, str]] = set()
        self._is_blind = False

    def on(self, *, user: str | None = None, node: str | None = None) -> Lock | None:
        """Return a lock in force on either. Raises `StoreError`: who cannot tell lets nobody in."""
        return self._locks.find(user=user, node=node)

    def on_logins(self, logins: Collection[str]) -> Sequence[Lock]:
        """Return the locks in force on any of these logins. Raises `StoreError`."""
        return [lock for lock in self._locks.list() if lock.kind == "login" and lock.value in logins]

    def is_news(self, node_id: NodeId, lock: Lock) -> bool:
        """Tell whether this lock turns this node back for the first time: it goes on trying for as long as it holds."""
        if len(self._told) >= _TOLD_MAX:
            self._told.clear()
        before = len(self._told)
        self._told.add((node_id, lock.lock_id))
        return len(self._told) > before

    def enter(self, guest: Guest) -> None:
        """Mind a person who has come in."""
        self._guests.add(guest)

    def leave(self, guest: Guest) -> None:
        """Forget a person who is gone."""
        self._guests.discard(guest)

    async def run(self, over: asyncio.Event) -> None:
        """Look, until `over` is set."""
        while not over.is_set():
            if self._is_there_news():
                await _pause(over, _FAREWELL)
                self._act()
            await _pause(over, limits.CONTROL_LOOK)

    def _is_there_news(self) -> bool:
        try:
            is_known = self._locks.stamp() == self._acted_on
        except StoreError as err:
            self._complain(err)
            return False
        self._is_blind = self._is_blind and not is_known
        return not is_known

    def _complain(self, err: StoreError) -> None:
        """Say once that the locks cannot be read, until they can."""
        if not self._is_blind:
            LOG.error("cannot tell who is locked out; whoever is in stays, and nobody is let in: %s", err)
        self._is_blind = True

    def _act(self) -> None:
        try:
            stamp, ban = self._locks.stamp(), self._ban()
        except StoreError as err:
            self._complain(err)
            return
        self._acted_on, self._is_blind = stamp, False
        if not ban.users and not ban.nodes:
            return
        for guest in list(self._guests):
            self._mind(guest, ban)
        for device in list(self._tunnels.devices()):
            if lock := ban.nodes.get(device.node_id):
                LOG.info("tunnel door: node %s: %s: its connection from %s is cut", *_words(device, lock))
                device.connection.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, describe_lock(lock))

    def _ban(self) -> _Ban:
        locks = self._locks.list()
        return _Ban(
            {lock.value: lock for lock in reversed(locks) if lock.kind == "user"},
            {lock.value: lock for lock in reversed(locks) if lock.kind == "node"},
        )

    @staticmethod
    def _mind(guest: Guest, ban: _Ban) -> None:
        if lock := ban.users.get(guest.user):
            guest.lock_out(lock)
            return
        for node in set(guest.nodes):
            if lock := ban.nodes.get(node):
                guest.part_from(node, lock)


def _words(device: Device, lock: Lock) -> tuple[str, str, str]:
    return device.node_id, describe_lock(lock), device.address


async def _pause(over: asyncio.Event, span: timedelta) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(span.total_seconds()):
            await over.wait()
