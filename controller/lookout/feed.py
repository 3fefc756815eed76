"""The socket at which the controller's other processes learn who is there: `controller.presence.wire` says how."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from controller import unix_door
from controller.presence.history import NodeHistory
from controller.presence.wire import (
    HEALTH,
    ONCE,
    SOCKET,
    News,
    history_answer,
    parse_history_question,
)
from protocol.names import NodeId

_REQUEST_SECONDS = 5.0
_REQUEST_MAX = 1024
_FOLLOWERS_MAX = 100
# A follower that leaves so much unread is let go, and may come back.
_UNREAD_MAX = 32 * 1024 * 1024
_SNAPSHOT_SECONDS = 30.0


def bind(data_dir: Path) -> socket.socket:
    """Return the listening socket, for its owner alone. Raises `OSError`."""
    return unix_door.bind(data_dir, SOCKET)


def _no_history(_node_id: NodeId) -> None:
    return None


class Feed:
    """Those who follow, and those who ask.

    Args:
        snapshot: returns all that is known now.
        history: returns the last day of one node.
    """

    def __init__(
        self, snapshot: Callable[[], News], history: Callable[[NodeId], NodeHistory | None] = _no_history
    ) -> None:
        self._snapshot = snapshot
        self._history = history
        self._followers: set[asyncio.StreamWriter] = set()
        self._asking: set[asyncio.StreamWriter] = set()

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    async def run(self, sock: socket.socket) -> None:
        """Serve until cancelled."""
        server = await asyncio.start_unix_server(self._serve, sock=sock, limit=_REQUEST_MAX)
        try:
            async with server:
                await server.serve_forever()
        finally:
            for writer in (*self._followers, *self._asking):
                writer.transport.abort()

    def tell(self, news: News) -> None:
        """Send a line to everyone who follows."""
        if not self._followers:
            return
        line = news.encode()
        for writer in tuple(self._followers):
            if writer.transport.get_write_buffer_size() > _UNREAD_MAX:
                writer.transport.abort()
            else:
                writer.write(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._asking) + len(self._followers) >= _FOLLOWERS_MAX:
            writer.transport.abort()
            return
        self._asking.add(writer)
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await reader.readline()
            if not request.endswith(b"\n"):
                return
            answer, is_all = self._answer(request)
            writer.write(answer)
            if is_all:
                async with asyncio.timeout(_SNAPSHOT_SECONDS):
                    await writer.drain()
                return
            self._followers.add(writer)
            while await reader.read(_REQUEST_MAX):
                pass  # a follower has nothing more to say; its end is what is waited for
        except (TimeoutError, ValueError, OSError):
            pass
        finally:
            self._followers.discard(writer)
            self._asking.discard(writer)
            writer.close()

    def _answer(self, request: bytes) -> tuple[bytes, bool]:
        """Return the answer to a request, and whether that is all; else changes follow."""
        asked = parse_history_question(request)
        if asked is not None:
            return history_answer(self._history(asked)), True
        news = self._snapshot()
        if request == HEALTH:
            news = News("changes", {}, news.broker)
        return news.encode(), request in (ONCE, HEALTH)
