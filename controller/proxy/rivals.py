"""Two connections that claim to be one node: whether both live, and what generation they bring.

A connection that is displaced is asked whether it is there before it is sent away. What a device has left behind, when
its link broke or it was started anew, answers nothing; a second device does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import asyncssh

from controller.audit import AuditError
from controller.origin import Origin
from controller.policy.clone import note_contest
from controller.proxy.tunnels import TunnelLink
from controller.store.interface import StoreError
from protocol.names import NodeId

LOG = logging.getLogger("PROXY")
_DISPLACED = "displaced by a newer connection of this node"
_TURNS = "two connections take its tunnel from each other, and both answer"
# A device on a slow radio link answers within this.
_PATIENCE = 5.0
# So many are asked at a time, and of so many nodes it is remembered; the rest are sent away unasked.
_ASKED_MAX = 1_000
_REMEMBERED_MAX = 10_000


class Rivals:
    """Sends displaced connections away, and reports a node of which there are two. To be used in the event loop.

    Args:
        report: `Enrolment.report_clone`; called on a thread.
    """

    def __init__(self, report: Callable[[NodeId, str, Origin], object], *, patience: float = _PATIENCE) -> None:
        self._report = report
        self._patience = patience
        self._contests: dict[NodeId, tuple[float, ...]] = {}
        self._displaced: asyncio.Queue[tuple[TunnelLink, str]] = asyncio.Queue(_ASKED_MAX)
        self._found: asyncio.Queue[tuple[NodeId, str, str]] = asyncio.Queue(_ASKED_MAX)
        self._asked = 0

    def displace(self, link: TunnelLink, newer: str) -> None:
        """Send a connection away for one from the address `newer`, soon: it is asked first whether it lives."""
        try:
            self._displaced.put_nowait((link, newer))
        except asyncio.QueueFull:
            _send_away(link)

    def found(self, node_id: NodeId, address: str, reason: str) -> None:
        """Report a node of which there are two, soon."""
        with suppress(asyncio.QueueFull):  # there will be another sign
            self._found.put_nowait((node_id, address, reason))

    async def run(self) -> None:
        """Ask and report, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell(), name="clones")
            while True:
                link, newer = await self._displaced.get()
                if self._asked >= _ASKED_MAX:
                    _send_away(link)
                    continue
                self._asked += 1
                tasks.create_task(self._part(link, newer), name=f"displaced {link.node_id}")

    async def _part(self, link: TunnelLink, newer: str) -> None:
        try:
            if await self._answers(link.connection):
                self._note(link, newer)
        finally:
            self._asked -= 1
            _send_away(link)

    async def _answers(self, connection: asyncssh.SSHServerConnection) -> bool:
        try:
            async with asyncio.timeout(self._patience):
                # Any answer will do (RFC 4254, section 4). Of a connection that ends the library makes one up.
                await connection._make_global_request(b"keepalive@openssh.com")  # noqa: SLF001 - the library asks for itself alone
        except (TimeoutError, asyncssh.Error, OSError):
            return False
        return not connection.is_closed()

    def _note(self, link: TunnelLink, newer: str) -> None:
        if len(self._contests) >= _REMEMBERED_MAX:
            self._contests.clear()
        now = asyncio.get_running_loop().time()
        self._contests[link.node_id], is_sign = note_contest(self._contests.get(link.node_id, ()), now)
        if is_sign:
            self.found(link.node_id, link.address, f"{_TURNS}: {link.address} and {newer}")

    async def _tell(self) -> None:
        while True:
            node_id, address, reason = await self._found.get()
            try:
                await asyncio.to_thread(self._report, node_id, reason, Origin(via="ssh", address=address))
            except (AuditError, StoreError) as err:
                LOG.error("node %s may have been copied (%s), and is not locked yet: %s", node_id, reason, err)  # noqa: TRY400 - one line


def _send_away(link: TunnelLink) -> None:
    # Not "by application": see `Lobby.clear`.
    link.connection.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, _DISPLACED)
