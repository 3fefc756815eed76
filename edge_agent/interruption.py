"""Waiting that ends when the agent is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Failed:
    """What went wrong in the work: a task group would wrap it in a group of its own."""

    error: Exception


async def unless(stopped: asyncio.Event, work: Coroutine[Any, Any, T], seconds: float | None) -> T | None:
    """Return what `work` returns; None where `stopped` is set or `seconds` are over before, and `work` is cancelled.

    What `work` raises is raised as it is.
    """
    async with asyncio.TaskGroup() as group:
        working = group.create_task(_caught(work))
        waiting = group.create_task(stopped.wait())
        await asyncio.wait((working, waiting), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        working.cancel()
    if working.cancelled():
        return None
    result = working.result()
    if isinstance(result, _Failed):
        raise result.error
    return result


async def beside(company: Coroutine[Any, Any, None], work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, or raise what it raises, as it is; `company` runs beside it until then."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(company)
        result = await _caught(work)
        running.cancel()
    if isinstance(result, _Failed):
        raise result.error
    return result


async def _caught(work: Coroutine[Any, Any, T]) -> T | _Failed:
    try:
        return await work
    except Exception as err:  # noqa: BLE001 - it is raised again, outside the group
        return _Failed(err)
