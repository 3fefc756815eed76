"""What every process of the controller does besides its role.

It says when it is ready and, again and again from its own loop, that this loop still turns; it logs by the level that
all share; and it ends with its supervisor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import threading
from collections.abc import Coroutine
from contextlib import suppress
from functools import cache

from controller.log import LevelBoard
from controller.policy.supervision import PULSE as _PULSE_TIME

LIFELINE = "SKERRY_LIFELINE_FD"
READY = "SKERRY_READY_FD"
PULSE = "SKERRY_PULSE_FD"
LEVEL = "SKERRY_LOG_LEVEL_FD"
SETTINGS = "SKERRY_SETTINGS_FD"


def say_ready() -> None:
    """Tell the supervisor that this process serves; a second call, or one without a supervisor, does nothing."""
    fd = os.environ.pop(READY, "")
    if fd:
        os.write(int(fd), b"ready\n")
        os.close(int(fd))


def beat() -> None:
    """Tell the supervisor that this process's own loop turns, which is to call this at least every few seconds.

    Where nobody takes the pulses from the pipe, further ones are left out.
    """
    follow_level()
    fd = os.environ.get(PULSE, "")
    if fd:
        with suppress(OSError):
            os.write(int(fd), b".")


def follow_level() -> None:
    """Log by the level that the supervisor says by now."""
    board = _board(os.environ.get(LEVEL, ""))
    if board is not None:
        board.follow()


def keep_settings(text: str) -> int:
    """Return the descriptor of memory that holds the settings, for every role to run by. Raises `OSError`.

    The file may be edited, and be wrong for a while: a role that falls then must be able to come back.
    """
    fd = os.memfd_create("skerry-settings")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(text.encode())
    return fd


def kept_settings() -> str | None:
    """Return the settings that the supervisor keeps; None without one. Raises `OSError`."""
    fd = os.environ.get(SETTINGS, "")
    return os.pread(int(fd), os.fstat(int(fd)).st_size, 0).decode() if fd else None


@cache
def _board(fd: str) -> LevelBoard | None:
    return LevelBoard(int(fd)) if fd else None


async def beating(work: Coroutine[object, object, None]) -> None:
    """Do `work`, and beat from the same event loop until that is done. Raises what `work` raises."""
    async with asyncio.TaskGroup() as tasks:
        pulse = tasks.create_task(_beat_on(), name="pulse")
        try:
            await work
        finally:
            pulse.cancel()


async def _beat_on() -> None:
    while True:
        beat()
        await asyncio.sleep(_PULSE_TIME.total_seconds())


def raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def hold_lifeline() -> None:
    """End this process (SIGTERM to itself) when the supervisor is gone, however it went.

    The supervisor holds the other end of a pipe and never writes: end of file means that it is no more.
    """
    fd = os.environ.get(LIFELINE, "")
    if not fd:
        return

    def watch() -> None:
        while os.read(int(fd), 1):
            pass
        logging.getLogger("ROLE").warning("the supervisor is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
