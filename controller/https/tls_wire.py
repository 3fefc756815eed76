"""A TLS connection whose handshake is done, driven by asyncio.

asyncio begins TLS by itself or not at all: it takes no `ssl.SSLSocket`. So this one is read and written here, without
blocking, as often as the loop says that its socket is ready. What waits to be written is bounded by who writes: it asks
`waiting`, or awaits `drained`, and a buffer that grows beyond its bound ends the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from datetime import timedelta

from protocol import limits

_PIECE = 64 * 1024
_WRITES_PER_TURN = 4
_LOW = 64 * 1024
# A peer that takes nothing for so long is gone, or as good as.
_STALL_MAX = timedelta(seconds=60)
_GOODBYE = timedelta(seconds=2)


class TlsWire:
    """One connection, in the running loop. To be used from that loop's thread alone.

    Args:
        sock: non-blocking, its handshake done. It is not closed here: `gone` says that it is done with.
        early: what was read of it before.
        gone: called once, when it is not touched any more.
        behind_max: bytes that may wait to be written; more end the connection.
    """

    def __init__(
        self,
        sock: ssl.SSLSocket,
        early: bytes = b"",
        gone: Callable[[], None] = lambda: None,
        behind_max: int = 2 * limits.SOCKET_BEHIND,
    ) -> None:
        self._sock = sock
        self._early = early
        self._gone = gone
        self._behind_max = behind_max
        self._loop = asyncio.get_running_loop()
        self._out = bytearray()
        self._readers: set[asyncio.Future[None]] = set()
        self._writers: set[asyncio.Future[None]] = set()
        self._drained = asyncio.Event()
        self._drained.set()
        self._writing = False
        self.is_lost = False
        self._is_released = False
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_STALL_MAX.total_seconds() * 1000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @property
    def waiting(self) -> int:
        """How many bytes wait to be written."""
        return len(self._out)

    async def read(self) -> bytes:
        """Return what has come, when something has; nothing at the end, or once the connection is lost."""
        await asyncio.sleep(0)  # a peer that always has more to say must not keep the loop
        if self._early:
            early, self._early = self._early, b""
            return early
        while not self.is_lost:
            try:
                return self._sock.recv(_PIECE)
            except ssl.SSLWantReadError:
                await self._ready(self._readers)
            except ssl.SSLWantWriteError:
                await self._ready(self._writers)
            except (OSError, ValueError):
                self.abort()
        return b""

    def write(self, data: bytes) -> None:
        """Send `data`, or keep it until it can be sent. What is written to a lost connection is dropped."""
        if self.is_lost:
            return
        self._out += data
        self._flush()
        if len(self._out) > self._behind_max:
            self.abort()

    async def drained(self) -> None:
        """Wait until little waits to be written, or the connection is lost."""
        await self._drained.wait()

    async def close(self, within: timedelta = _GOODBYE) -> None:
        """Send what waits and an end (RFC 8446 section 6.1), wait a little for the peer's, and let the socket go."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                await self._flushed()
                self._end_our_side()
                await self._peer_gone()
        self.abort()

    def abort(self) -> None:
        """Let the socket go at once."""
        self.is_lost = True
        self._out.clear()
        self._drained.set()
        if self._is_released:
            return
        self._is_released = True
        fd = self._sock.fileno()
        if fd >= 0:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
        for waiter in self._readers | self._writers:
            _wake(waiter)
        self._gone()

    # --- inside ---------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send as much as the socket takes."""
        try:
            for _ in range(_WRITES_PER_TURN):
                if not self._out:
                    break
                del self._out[: self._sock.send(self._out[:_PIECE])]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except (OSError, ValueError):
            self.abort()
            return
        self._after_flush()

    def _after_flush(self) -> None:
        if len(self._out) <= _LOW:
            self._drained.set()
        else:
            self._drained.clear()
        if bool(self._out) != self._writing:
            self._writing = bool(self._out)
            self._watch_writing()

    def _watch_writing(self) -> None:
        if self._writing or self._writers:
            self._loop.add_writer(self._sock.fileno(), self._on_writable)
        else:
            self._loop.remove_writer(self._sock.fileno())

    def _on_writable(self) -> None:
        for waiter in list(self._writers):
            _wake(waiter)
        if self._out:
            self._flush()

    def _on_readable(self) -> None:
        for waiter in list(self._readers):
            _wake(waiter)

    async def _ready(self, waiters: set[asyncio.Future[None]]) -> None:
        """Wait until the socket can be read or written, or the connection is lost."""
        waiter = self._loop.create_future()
        waiters.add(waiter)
        if waiters is self._readers:
            self._loop.add_reader(self._sock.fileno(), self._on_readable)
        else:
            self._watch_writing()
        try:
            await waiter
        finally:
            waiters.discard(waiter)
            if not self._is_released:
                self._unwatch()

    def _unwatch(self) -> None:
        if not self._readers:
            self._loop.remove_reader(self._sock.fileno())
        self._watch_writing()

    async def _flushed(self) -> None:
        while self._out and not self.is_lost:
            await self._ready(self._writers)

    def _end_our_side(self) -> None:
        if self.is_lost:
            return
        with contextlib.suppress(ssl.SSLError, OSError, ValueError):
            self._sock.unwrap()  # sends close_notify; does not wait for the peer's
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_WR)

    async def _peer_gone(self) -> None:
        """Throw away what still comes, below TLS, until the peer's end."""
        while not self.is_lost:
            try:
                if not socket.socket.recv(self._sock, _PIECE):
                    return
            except BlockingIOError:
                await self._ready(self._readers)
            except (OSError, ValueError):
                return


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
