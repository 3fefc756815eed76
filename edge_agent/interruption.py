"""Waiting that ends when the agent is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unless(stopped: asyncio.Event, work: Coroutine[Any, Any, T], seconds: float | None) -> T | None:
    """Return what `work` returns; None where `stopped` is set or `seconds` are over before, and `work` is cancelled."""
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work)
        waiting = group.create_task(stopped.wait())
        await asyncio.wait((working, waiting), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        working.cancel()
    return None if working.cancelled() else working.result()
