"""SSH through a channel of another SSH connection, with packets that fit into one another.

asyncssh takes a connection as ``tunnel=``, and then opens channels with its default packet size: each full
inner packet is cut in two. A tunnel is any object with these methods; `Tunnel` opens wider channels.
"""

from __future__ import annotations

from typing import Any

import asyncssh

# An inner packet of 32 KiB and its overhead fit into one packet of the outer connection.
MAX_PACKET = 34_000
WINDOW = 2 * 1024 * 1024


class Tunnel:
    """`connection`, to be given as ``tunnel=`` to `asyncssh.connect` and `asyncssh.listen`."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection
        self.logger = connection.logger

    async def create_connection(self, factory: Any, host: str, port: int) -> Any:  # noqa: ANN401 - the library's own
        """Open a channel to `host` and `port` as the far end names them."""
        return await self._connection.create_connection(factory, host, port, window=WINDOW, max_pktsize=MAX_PACKET)

    async def create_server(self, factory: Any, host: str, port: int) -> Any:  # noqa: ANN401 - the library's own
        """Have the far end open channels to us under `host` and `port`."""
        return await self._connection.create_server(factory, host, port, window=WINDOW, max_pktsize=MAX_PACKET)
