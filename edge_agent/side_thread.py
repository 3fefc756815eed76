"""A thread that does one thing after the other for the event loop, where the disk may take its time, or never answer.

It starts with the first thing and ends with `close`. A process that ends does not wait for it, as it would for those of
`asyncio.to_thread`: a disk that hangs must not keep the agent from being started again.
"""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class SideThread:
    """One thread. It is used from one event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: _Running | None = None

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have the thread do `work`, after all else it was given.

        Where the thread cannot even be started, the future says so with an `OSError`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        try:
            running = self._running = self._running or _Running(self._name)
        except RuntimeError:
            future.set_exception(OSError(errno.EAGAIN, "the device cannot start another thread"))
            return future
        running.todo.put(lambda: _do(work, loop, future))
        return future

    @property
    def is_running(self) -> bool:
        """Whether the thread was started and not told to end."""
        return self._running is not None

    def busy_for(self) -> float:
        """Return for how many seconds the thread has been at what it is doing."""
        since = self._running.since if self._running else None
        return time.monotonic() - since if since is not None else 0.0

    def close(self) -> None:
        """Have the thread end when it has done all it was given. What is submitted after that begins another."""
        if self._running:
            self._running.todo.put(None)
            self._running = None


class _Running:
    """The thread, what it has to do, and since when it has been at one thing. Raises `RuntimeError`: none to be had."""

    def __init__(self, name: str) -> None:
        self.todo: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.since: float | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        while (work := self.todo.get()) is not None:
            self.since = time.monotonic()
            work()
            self.since = work = None  # nothing of it is kept in memory meanwhile


def _do(work: Callable[[], T], loop: asyncio.AbstractEventLoop, future: asyncio.Future[T]) -> None:
    try:
        settle: Callable[[], None] = partial(future.set_result, work())
    except BaseException as err:  # noqa: BLE001 - whoever waits for the future is to hear of it
        settle = partial(future.set_exception, err)
    with suppress(RuntimeError):  # the loop is closed: the agent ends, and nobody waits any more
        loop.call_soon_threadsafe(_settle, future, settle)


def _settle(future: asyncio.Future[T], settle: Callable[[], None]) -> None:
    if not future.done():
        settle()
