"""Fewer, larger packets and writes for one asyncssh connection: the relay is the hot path.

Three habits of the library cost most of the time when SSH runs inside SSH channels. It sends an empty
SSH_MSG_IGNORE before every packet, against a weakness of CBC ciphers (RFC 4253 section 9.2 with RFC 4251
section 9.3.1) that AEAD ciphers do not have; and it writes each packet by itself. An inner packet of 32 KiB
so becomes six outer ones. And for every packet it moves all that was read and is not parsed yet, which asyncio
makes up to 256 KiB. `hasten` changes all three on one connection object; tests/protocol/ssh/test_packets.py
holds it against the installed release. Skerry offers no CBC cipher anywhere.
"""

# ruff: noqa: SLF001 - reaching into the library's connection is what this file is for; see above
from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from asyncssh.constants import MSG_IGNORE

if TYPE_CHECKING:
    import asyncssh

# The most that waits for the end of a turn of the event loop, beside what flow control allows per channel.
_GATHER = 128 * 1024
# The most that is read at once: two full packets and their overhead.
_READ_MAX = 72 * 1024


def hasten(connection: asyncssh.SSHClientConnection | asyncssh.SSHServerConnection) -> None:
    """Make `connection` send less and copy less; to be called from `connection_made`."""
    here: Any = connection
    send_packet = here.send_packet
    gatherer = _Gatherer(here)

    def send_but_ignore(pkttype: int, *args: bytes, handler: Any = None) -> None:  # noqa: ANN401 - the library's own
        if pkttype != MSG_IGNORE:
            send_packet(pkttype, *args, handler=handler)

    transport = here._transport
    if hasattr(transport, "max_size"):  # a socket of asyncio's own; a channel or another loop's has none
        transport.max_size = _READ_MAX
    here.send_packet = send_but_ignore
    here._send = gatherer.send


class _Gatherer:
    """Joins the packets of one turn of the event loop into one write."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - reached into, see above
        self._connection = connection
        self._waiting: list[bytes] = []
        self._size = 0
        self._transport: Any = None

    def send(self, data: bytes) -> None:
        """Keep `data` for the end of this turn, or write at once where much is waiting."""
        if self._connection._transport is None:
            return
        if not self._waiting:
            # Kept from now on: after a farewell the library forgets its transport before our turn ends.
            self._transport = self._connection._transport
            self._connection._loop.call_soon(self._flush)
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _GATHER:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        with suppress(ConnectionError):  # as the library does: connection_lost tells
            self._transport.write(memoryview(data))
