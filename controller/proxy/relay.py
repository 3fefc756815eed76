"""The relay: what comes from one end goes to the other, no faster than that end takes it.

Two `RelayEnd`s stand back to back, one on the person's channel, one on the node's. No streams and no
tasks: a block goes from one channel's `data_received` straight into the other's `write`. When the far
channel's send buffer is full, reading from the near one stops; SSH's own window then stops the peer. So
a reader that stalls holds at most one window and one send buffer, and other channels go on.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh

Channel = asyncssh.SSHTCPChannel[bytes]


class Relays:
    """Counts what is being relayed, so that a stopping proxy knows when it may go."""

    def __init__(self) -> None:
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return self._open

    def opened(self) -> None:
        """Count one relay more."""
        self._open += 1
        self._idle.clear()

    def closed(self) -> None:
        """Count one relay less."""
        self._open -= 1
        if not self._open:
            self._idle.set()

    async def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is relayed, for at most `seconds`; return whether that came to be."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


class RelayEnd(asyncssh.SSHTCPSession[bytes]):
    """One end of a relayed channel.

    Until both ends are there neither reads: a node's greeting waits in its channel, within the window,
    while the person's channel is still being confirmed, and nothing is lost.
    """

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self._other: RelayEnd | None = None
        self.gone = False
        self.ended = False

    def join(self, other: RelayEnd) -> None:
        """Stand back to back with `other`."""
        self._other, other._other = other, self

    def connection_made(self, chan: Any) -> None:  # noqa: ANN401 - asyncssh's own signature
        """Take the channel; with both there, let them flow."""
        self.channel = chan
        chan.pause_reading()
        other = self._other
        if other is None:
            return
        if other.gone:
            chan.close()
        elif other.channel is not None:
            other.channel.resume_reading()
            chan.resume_reading()

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - asyncssh's own signature
        """Hand on what the peer sent."""
        far = self._far()
        if far is not None and not far.is_closing():
            far.write(data)

    def eof_received(self) -> bool:
        """Hand on that the peer will send no more; the other direction stays open.

        With both directions over, both channels are closed: OpenSSH's ``-W`` waits for that and never asks for it.
        """
        self.ended = True
        far = self._far()
        if far is not None:
            far.write_eof()
        if self._other is not None and self._other.ended:
            for channel in (self.channel, far):
                if channel is not None:
                    channel.close()
        return True

    def pause_writing(self) -> None:
        """Stop reading from the other end: this end's send buffer is full."""
        far = self._far()
        if far is not None:
            far.pause_reading()

    def resume_writing(self) -> None:
        """Go on reading from the other end."""
        far = self._far()
        if far is not None:
            far.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh's own signature
        """Close the other end too, after what is on its way to it."""
        far = self._far()
        self.channel, self.gone = None, True
        if far is not None:
            far.close()

    def _far(self) -> Channel | None:
        """Return the other end's channel, also one that only receives any more: it is still to be paused and closed."""
        return None if self._other is None else self._other.channel
