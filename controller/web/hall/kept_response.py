"""An answer of the application's that hands its connection over to the hall."""

from __future__ import annotations

from typing import Any

from flask import Response

from controller.https.kept import HandOver
from controller.https.tls_wire import TlsWire
from controller.web import visit
from controller.web.hall.guest import Guest
from controller.web.hall.hall import Errand, Hall
from controller.web.hall.places import Place


class KeptResponse(Response):
    """An answer without an end: its head goes out with the door's own headers, and the errand sends the rest.

    Args:
        hall: who takes the connection over.
        place: that it takes there.
        errand: what is done with it.
        has_head: whether the head is ours to send; a WebSocket's errand answers the handshake itself.
    """

    def __init__(self, hall: Hall, place: Place, errand: Errand, *, has_head: bool = True, mimetype: str = "") -> None:
        super().__init__(mimetype=mimetype or None)
        self._hall = hall
        self._place = place
        self._errand = errand
        self._has_head = has_head
        self._token = visit.session_token().reveal()

    def __call__(self, environ: Any, start_response: Any) -> Any:  # noqa: ARG002, ANN401 - PEP 3333
        """Answer with a `HandOver`."""
        head = self._head() if self._has_head else b""

        async def errand(guest: Guest, wire: TlsWire) -> None:
            wire.write(head)
            await self._errand(guest, wire)

        return HandOver(self._hall, lambda kept: self._hall.take(kept, self._place, self._token, errand))

    def _head(self) -> bytes:
        lines = [f"{name}: {value}" for name, value in self.headers if name != "Content-Length"]
        return "\r\n".join([f"HTTP/1.1 {self.status}", *lines, "Connection: close", "", ""]).encode("latin-1")
