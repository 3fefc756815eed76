"""The node's own door: SSH on the device's own network, off unless the settings name an address.

Whoever comes in here is judged by the same rules as those who come through the tunnel, is recorded like them, and needs
no controller to be there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from contextlib import suppress

from edge_agent.policy.complaint import Complaints
from edge_agent.policy.lobby import Guest, decide_entry, network_of
from edge_agent.side_thread import SideThread
from edge_agent.ssh_server import NodeConnection, NodeServer
from protocol import limits
from protocol.addresses import join_address
from protocol.decision import Refused

_log = logging.getLogger("skerry.agent")
_BACKLOG = 64
# How soon to try again where the address is not there yet, or the system has nothing to spare.
_AGAIN = limits.RECONNECT_MAX.total_seconds()
_SHORTAGE = 1.0
_COMPLAINT = 60.0


class NodeDoor:
    """Listens, and hands over to the node's SSH server."""

    def __init__(self, address: tuple[str, int], server: NodeServer) -> None:
        """Take note of host and port to listen at. An empty host is every address of the device."""
        self._address = address
        self._server = server
        self._complained = float("-inf")
        self._turned_away = 0

    async def run(self) -> None:
        """Take connections in until cancelled. An address that cannot be had is tried for again and again."""
        complaints = Complaints()
        while True:
            try:
                listener = await self._listen()
            except OSError as err:
                where = join_address(*self._address)
                reason = str(err.strerror or err).partition(" (while")[0]  # where is said already
                level = logging.ERROR if complaints.is_news(reason, time.monotonic()) else logging.DEBUG
                _log.log(level, "cannot listen on %s (listen_addr): %s; trying again", where, reason)
                await asyncio.sleep(_AGAIN)
                continue
            with listener:
                _log.info("people on this device's network reach it at %s", join_address(*listener.getsockname()[:2]))
                await self._serve(listener)

    async def _listen(self) -> socket.socket:
        """Return a listening socket. A name is looked up aside: that may take its time. Raises `OSError`."""
        host, port = self._address
        if not host or _is_numeric(host):
            return _listen(host, port)
        aside = SideThread("listen_addr")
        try:
            return await aside.submit(lambda: _listen(host, port))
        finally:
            aside.close()

    async def _serve(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, origin = await loop.sock_accept(listener)
            except OSError as err:
                self._complain(f"no connection can be taken: {err.strerror}")
                await asyncio.sleep(_SHORTAGE)
                continue
            with suppress(OSError):  # it is gone again
                await self._take(peer, _plain(origin))

    async def _take(self, peer: socket.socket, origin: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        waiting = dict(enumerate(self._server.waiting(direct=True)))
        guests = [Guest(number, network_of(each.origin[0]), each.since) for number, each in waiting.items()]
        answer = decide_entry(guests, network_of(origin[0]), loop.time())
        if isinstance(answer, Refused):
            peer.close()
            self._complain(f"a connection from {origin[0]} was turned away: {answer.reason} ({answer.check})")
            return
        if answer.value is not None:
            waiting[answer.value].abort()
        await self._hand_over(peer, origin)

    async def _hand_over(self, peer: socket.socket, origin: tuple[str, int]) -> None:
        try:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            here = _plain(peer.getsockname())
            connection: NodeConnection = self._server.accept_direct(origin, here)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, peer)
        except BaseException:
            peer.close()
            raise

    def _complain(self, text: str) -> None:
        """Say it, at most once a minute."""
        now = time.monotonic()
        if now - self._complained < _COMPLAINT:
            self._turned_away += 1
            return
        more = f"; {self._turned_away} more since" if self._turned_away else ""
        _log.warning("node door: %s%s", text, more)
        self._complained, self._turned_away = now, 0


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `OSError`."""
    found = socket.getaddrinfo(host or "::", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    both = family == socket.AF_INET6 and ipaddress.ip_address(str(address[0])).is_unspecified
    if not host and not socket.has_dualstack_ipv6():
        family, address, both = socket.AF_INET, ("0.0.0.0", port), False  # noqa: S104 - what the settings ask for
    listener = socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    listener.setblocking(False)
    return listener


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _plain(address: tuple[str, int]) -> tuple[str, int]:
    """Return host and port; an IPv4 address is one, also where it came to an IPv6 socket."""
    host, port = address[:2]
    with suppress(ValueError):
        parsed = ipaddress.ip_address(host)
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            host = str(parsed.ipv4_mapped)
    return host, port
