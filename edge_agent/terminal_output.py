"""What a terminal prints, made into pieces worth sending.

The kernel hands a terminal's output over in pieces of at most 4 KiB, and each piece that travels by itself costs as
much as a whole packet. So while output streams, it is gathered: until it fills two packets, or for a moment
that nobody sees. What comes after a pause, the echo of a key above all, goes at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# What the kernel hands over at once, at most; and two packets of the channel, which the next piece must not overflow.
PIECE = 4096
_PACKETS = 64 * 1024
MOMENT = 0.002


class TerminalOutput:
    """Gathers output for `emit`, which gets at least one byte a call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, emit: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._emit = emit
        self._pieces: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._quiet_from = 0.0

    def add(self, data: bytes) -> None:
        """Take `data`: it is emitted now or within `MOMENT` seconds."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _PACKETS - PIECE:
            self.flush()
        elif self._timer is None:
            if self._loop.time() >= self._quiet_from:
                self.flush()
            else:
                self._timer = self._loop.call_at(self._quiet_from, self.flush)

    def flush(self) -> None:
        """Emit what is there."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._size = 0
            self._quiet_from = self._loop.time() + MOMENT
            self._emit(data)
