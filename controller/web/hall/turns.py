"""Turns: so many at once of each key, the others wait in line, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Line:
    free: asyncio.Semaphore
    wanting: int = field(default=0)


class Turns:
    """Turns at something. To be used in one loop.

    Args:
        at_once: how many of one key have their turn at the same time.
        patience: for how many seconds one waits for it.
    """

    def __init__(self, at_once: int, patience: float) -> None:
        self._at_once = at_once
        self._patience = patience
        self._lines: dict[Hashable, _Line] = {}

    @asynccontextmanager
    async def of(self, key: Hashable) -> AsyncIterator[None]:
        """Have a turn. Raises `TimeoutError` where none comes in time."""
        line = self._lines.setdefault(key, _Line(asyncio.Semaphore(self._at_once)))
        line.wanting += 1
        try:
            async with asyncio.timeout(self._patience):
                await line.free.acquire()
            try:
                yield
            finally:
                line.free.release()
        finally:
            line.wanting -= 1
            if not line.wanting:
                del self._lines[key]
