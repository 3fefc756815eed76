"""Standard input and output as one channel to a node: what `tsh proxy ssh` is."""

from __future__ import annotations

import asyncio

import asyncssh

from protocol.table import escape_text
from tsh.client import FAILED, PACKET, WINDOW, Client
from tsh.error import TshError
from tsh.stream import Sink, Source


class _Relay(asyncssh.SSHTCPSession[bytes]):
    def __init__(self) -> None:
        self._sink = Sink(1, self._on_sink)
        self._source = Source(0, self._on_data)
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self._changed = asyncio.Event()
        self._closed = False

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._channel = chan

    def session_started(self) -> None:
        self._source.start()

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - the library's
        self._sink.write(data)
        if self._sink.stalled and self._channel:
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        if self._channel:
            self._channel.close()  # a node that says no more has ended the SSH connection: there is no other half
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the library's
        self._source.pause()
        self._closed = True
        self._changed.set()

    def pause_writing(self) -> None:
        self._source.pause()

    def resume_writing(self) -> None:
        if not self._closed:
            self._source.start()

    def _on_sink(self) -> None:
        self._changed.set()
        if self._channel and not self._closed:
            if self._sink.broken:
                self._channel.abort()
            else:
                self._channel.resume_reading()

    def _on_data(self, data: bytes) -> None:
        if self._channel and not self._closed:
            if data:
                self._channel.write(data)
            else:
                self._channel.write_eof()

    async def finished(self) -> None:
        while not (self._closed and (self._sink.broken or not self._sink.stalled)):
            await self._changed.wait()
            self._changed.clear()

    def close(self) -> None:
        self._closed = True
        self._source.pause()
        self._sink.close()


async def relay(client: Client, host: str, port: int) -> int:
    """Relay until either side ends. Raises `TshError`."""
    async with client.proxy() as outer:
        session = _Relay()
        try:
            await outer.create_connection(lambda: session, host, port, window=WINDOW, max_pktsize=PACKET)
            await session.finished()
        except asyncssh.ChannelOpenError as err:
            if outer.is_closed():  # the library blames the channel
                raise TshError(f"Connection to {host} lost: the proxy closed the connection", FAILED) from err
            raise TshError(escape_text(err.reason, keep="\n"), FAILED) from err
        finally:
            session.close()
    return 0
