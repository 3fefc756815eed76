"""The agent before it is a node: it waits for its controller or for an approval, and says so to whoever asks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine
from typing import TypeVar

from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.interruption import beside
from edge_agent.service_manager import ServiceManager
from edge_agent.status import FILE, StatusBoard, first_status, runtime_directory
from edge_agent.upkeep import Upkeep

T = TypeVar("T")


async def attend(
    settings: Settings, waiting: str, work: Callable[[Callable[[str], None]], Coroutine[object, object, T]]
) -> T:
    """Return what `work` returns; it is told where to say what it waits for.

    Args:
        settings: what the agent runs by.
        waiting: what it waits for at first.
        work: what is to be done before there is a node.
    """
    clock, manager = Clock(settings.data_dir), ServiceManager.from_environment()
    runtime = runtime_directory(os.environ, settings.data_dir)
    status = first_status(settings.web_address, settings.severity, None, clock.now(), waiting)
    board = StatusBoard(runtime / FILE, status, manager, clock.now)
    upkeep = Upkeep(settings, board, manager, runtime, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        return await beside(upkeep.run(), work(lambda reason: board.tunnel(False, reason)))
    finally:
        board.close()
