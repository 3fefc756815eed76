"""A WebSocket (RFC 6455) on a kept connection: whole messages in and out, each of bounded size.

The rules of the protocol are those of the library's sans-I/O part; here is what carries its bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from datetime import timedelta

from websockets.datastructures import Headers
from websockets.exceptions import InvalidState, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from controller.https.tls_wire import TlsWire
from protocol import limits

# The library tells its own log of each connection: nobody wants to hear that.
_LOG = logging.getLogger("WEB.socket")
_LOG.setLevel(logging.WARNING)
# How often the browser is asked whether it is there, and how often it may miss that.
_PING = timedelta(seconds=20)
_MISSES = 2
_CLOSING = timedelta(seconds=3)
# A message comes in so many parts at most: the smallest, or empty, ones would take far more room than their bytes.
_PARTS_MAX = 1024
# What of a request the handshake is about (section 4.2.1); all else, the cookie above all, is none of the library's.
_HEADERS = ("Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version")
_REASON_MAX = 120  # bytes; RFC 6455 section 5.5 leaves 123


def handshake(headers: Mapping[str, str]) -> tuple[ServerProtocol, bytes] | None:
    """Return the protocol and what answers the opening handshake; None where the request is none (section 4.2.1)."""
    protocol = ServerProtocol(max_size=limits.SOCKET_MESSAGE_MAX, logger=_LOG)
    # The library's reader of the connection begins with the request: it is given the one that gunicorn has read.
    sent = {name.lower(): value for name, value in headers.items()}
    wanted = {name: sent[name.lower()] for name in _HEADERS if name.lower() in sent}
    protocol.receive_data(Request("/", Headers(wanted)).serialize())
    request = next((event for event in protocol.events_received() if isinstance(event, Request)), None)
    if request is None:
        return None
    protocol.send_response(protocol.accept(request))
    answer = b"".join(protocol.data_to_send())
    return (protocol, answer) if protocol.state is OPEN else None


class WebSocket:
    """One WebSocket, its handshake answered."""

    def __init__(self, wire: TlsWire, protocol: ServerProtocol) -> None:
        self._wire = wire
        self._protocol = protocol
        self._parts: list[bytes] = []
        self._part_count = 0
        self._opcode: Opcode | None = None
        self._ready: list[str | bytes] = []
        self._is_over = False
        self._unanswered = 0

    @property
    def waiting(self) -> int:
        """How many bytes wait to be sent."""
        return self._wire.waiting

    @property
    def is_over(self) -> bool:
        """Whether the browser is gone, or has said goodbye."""
        return self._is_over or self._wire.is_lost

    async def receive(self) -> str | bytes | None:
        """Return the next message, text or binary; None at the end, which a message that breaks the rules is, too."""
        while not self._ready:
            if self._is_over:
                return None
            data = await self._wire.read()
            self._unanswered = 0
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
                self._is_over = True
            self._take_events()
            self._send_pending()
        return self._ready.pop(0)

    def send_text(self, text: str) -> None:
        """Send a text message."""
        self._send(text.encode(), is_text=True)

    def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""
        self._send(data, is_text=False)

    async def drained(self) -> None:
        """Wait until little waits to be sent, or the browser is gone."""
        await self._wire.drained()

    async def stay_awake(self) -> None:
        """Ask the browser now and then whether it is there, and give the connection up where it is not."""
        while not self.is_over:
            await asyncio.sleep(_PING.total_seconds())
            if self._unanswered >= _MISSES:
                self._wire.abort()
                return
            self._unanswered += 1
            with contextlib.suppress(InvalidState):
                self._protocol.send_ping(b"")
            self._send_pending()

    async def close(self, code: int, reason: str = "") -> None:
        """Say goodbye with a code and a reason, wait a little for the browser's, and end."""
        cut = reason.encode()[:_REASON_MAX].decode(errors="ignore")
        with contextlib.suppress(InvalidState, ProtocolError):
            self._protocol.send_close(code, cut)
        self._send_pending()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING.total_seconds()):
                while not self._is_over:
                    self._ready.clear()
                    await self.receive()
        await self._wire.close()

    def _send(self, data: bytes, *, is_text: bool) -> None:
        if self.is_over:
            return
        with contextlib.suppress(InvalidState):
            if is_text:
                self._protocol.send_text(data)
            else:
                self._protocol.send_binary(data)
        self._send_pending()

    def _send_pending(self) -> None:
        for data in self._protocol.data_to_send():
            if data:  # an empty one stands for the end, which `close` and the peer see to
                self._wire.write(data)

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        if self._protocol.state is not OPEN:
            self._is_over = True

    def _take(self, frame: Frame) -> None:
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY}:
            self._opcode, self._parts, self._part_count = frame.opcode, [], 0
        elif frame.opcode is not Opcode.CONT:
            return
        self._part_count += 1
        if self._part_count > _PARTS_MAX:
            self._parts = []
            self._protocol.fail(1008, "a message in too many parts")
            return
        if frame.data:
            self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        whole, self._parts = b"".join(self._parts), []
        if self._opcode is Opcode.BINARY:
            self._ready.append(whole)
            return
        try:
            self._ready.append(whole.decode())
        except UnicodeDecodeError:
            self._protocol.fail(1007, "text that is not UTF-8")
