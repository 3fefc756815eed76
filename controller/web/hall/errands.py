"""What is done with a connection that a ticket has opened: a terminal or a file, from the answer to the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from websockets.server import ServerProtocol

from controller.audit import AuditError
from controller.https.tls_wire import TlsWire
from controller.policy.ticket import Order
from controller.web.hall.files import Moved, serve_file
from controller.web.hall.guest import GOING_AWAY, NORMAL, Ending, Guest
from controller.web.hall.hall import LOG, Hall
from controller.web.hall.road import Traveller
from controller.web.hall.terminal import serve_terminal
from controller.web.hall.web_socket import WebSocket
from protocol import events
from protocol.access import AccessTarget
from protocol.events import Json

_KINDS = {
    ("upload", True): events.FILE_UPLOAD,
    ("upload", False): events.FILE_UPLOAD_FAILED,
    ("download", True): events.FILE_DOWNLOAD,
    ("download", False): events.FILE_DOWNLOAD_FAILED,
}
_BROKEN_OFF = Ending(GOING_AWAY, "the browser went before the end")


@dataclass(frozen=True, slots=True)
class SocketErrand:
    """Serves one WebSocket.

    Attributes:
        protocol, answer: of its opening handshake.
        node: where it leads.
    """

    hall: Hall
    protocol: ServerProtocol
    answer: bytes
    order: Order
    node: AccessTarget
    traveller: Traveller

    async def __call__(self, guest: Guest, wire: TlsWire) -> None:
        """Serve it to its end."""
        wire.write(self.answer)
        socket = WebSocket(wire, self.protocol)
        moved = Moved()
        ending = await _until_end(guest, socket, self._work(guest, socket, moved))
        if not guest.ending.done() and not socket.is_over:
            # The node and the proxy may have been quicker than we to end what a lock or a reset is on: say that, then.
            await self.hall.check_attendance(guest)
            ending = guest.ending.result() if guest.ending.done() else ending
        if self.order.kind != "terminal":
            await self._tell(ending, moved)
        socket.send_text(json.dumps({"type": "end", "code": ending.code, "text": ending.text}))
        await socket.close(ending.code, ending.text)

    def _work(self, guest: Guest, socket: WebSocket, moved: Moved) -> Coroutine[Any, Any, Ending]:
        road = self.hall.road
        if self.order.kind == "terminal":
            return serve_terminal(guest, socket, self.order, road, self.traveller)
        return serve_file(guest, socket, self.order, road, self.traveller, moved)

    async def _tell(self, ending: Ending, moved: Moved) -> None:
        """Tell the audit log how a file fared."""
        is_done = ending.code == NORMAL
        fields: dict[str, Json] = {
            "user": self.traveller.who.user,
            "login": self.order.login,
            "server_id": self.node.node_id,
            "server_hostname": self.node.name,
            "action": self.order.kind,
            "path": self.order.path,
            "bytes": moved.count,
            "addr.remote": self.traveller.origin.address,
        }
        fields |= {} if is_done else {"error": ending.text}
        try:
            await asyncio.to_thread(self.hall.audit.write, _KINDS[self.order.kind, is_done], fields)
        except AuditError as err:
            LOG.error("%s", err)


async def _until_end(guest: Guest, socket: WebSocket, work: Coroutine[Any, Any, Ending]) -> Ending:
    """Return how `work` ends, or why it was ended before: by the hall, or as the browser is gone."""
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work, name="work")
        waking = group.create_task(socket.stay_awake(), name="waking")
        waited: set[asyncio.Future[Any]] = {working, waking, guest.ending}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()
        if not working.done():
            working.cancel()
    if guest.ending.done():
        return guest.ending.result()
    return _BROKEN_OFF if working.cancelled() else working.result()
