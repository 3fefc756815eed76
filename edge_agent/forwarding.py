"""A TCP connection forwarded through a channel (`ssh -L`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asyncssh.forward import SSHForwarder

if TYPE_CHECKING:
    import asyncssh


class Forwarding(SSHForwarder):
    """One end of a forwarded connection; the library's, which forgets to close where the far server ends first.

    It waits for its transport to close once both directions have ended, which asyncio does not do by itself for a
    socket that was kept open after its end of file. Here both ends are closed then, what was written being sent.
    """

    def __init__(self, peer: SSHForwarder | None = None) -> None:
        super().__init__(peer)
        self._holders: set[str] = set()

    def pause_reading(self) -> None:
        """Read no more: the other end is full."""
        self.hold("peer")

    def resume_reading(self) -> None:
        """Read on."""
        self.release("peer")

    def hold(self, why: str) -> None:
        """Read no more for the reason `why`."""
        if not self._holders and self._transport:
            self._transport.pause_reading()
        self._holders.add(why)

    def release(self, why: str) -> None:
        """Take back a `hold`."""
        self._holders.discard(why)
        if not self._holders and self._transport:
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """Pass the end of one direction on, and close when both have ended."""
        more = super().eof_received()
        if not more:
            self.close()
        return more


async def forward(host: str, port: int) -> tuple[Forwarding, asyncssh.SSHTCPSession[bytes]]:
    """Connect to `host` and `port`; return that end, and the session for the channel. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    _, outside = await loop.create_connection(Forwarding, host, port)
    session = Forwarding(outside)
    return outside, session  # type: ignore[return-value]  # a session in all but name, as the library uses it
