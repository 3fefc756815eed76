"""Work that may be told to stop: what it returns, what it raises, and that it is over afterwards."""

from __future__ import annotations

import asyncio

import pytest

from edge_agent.interruption import unless

LONG = 600.0


async def work(begun: asyncio.Event, over: asyncio.Event) -> str:
    """Go on until cancelled."""
    try:
        begun.set()
        await asyncio.Event().wait()
    finally:
        over.set()
    return "never"


async def failing() -> None:
    await asyncio.sleep(0)
    raise OSError(28, "No space left on device")


async def answering() -> str:
    await asyncio.sleep(0)
    return "done"


async def test_what_the_work_returns_is_returned() -> None:
    assert await unless(asyncio.Event(), answering(), LONG) == "done"
    assert await unless(asyncio.Event(), answering(), None) == "done"


async def test_what_the_work_raises_is_raised_as_it_is() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        await unless(asyncio.Event(), failing(), LONG)


async def test_work_is_over_when_somebody_says_stop() -> None:
    stopped, begun, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(unless(stopped, work(begun, over), LONG))
        await begun.wait()
        stopped.set()
    assert waiting.result() is None
    assert over.is_set()


async def test_work_is_over_when_its_time_is() -> None:
    begun, over = asyncio.Event(), asyncio.Event()
    assert await unless(asyncio.Event(), work(begun, over), 0.01) is None
    assert over.is_set() or not begun.is_set()


async def test_work_is_over_when_whoever_waits_for_it_is_cancelled() -> None:
    begun, over = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(unless(asyncio.Event(), work(begun, over), None))
        await begun.wait()
        waiting.cancel()
    assert waiting.cancelled()
    assert over.is_set()


async def test_where_stop_was_said_before_nothing_is_waited_for() -> None:
    stopped, begun, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    stopped.set()
    assert await unless(stopped, work(begun, over), None) is None
    assert over.is_set() or not begun.is_set()
