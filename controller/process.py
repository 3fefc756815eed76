"""One child process of the supervisor: started with its sockets, watched, ended."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from controller import role

LOG = logging.getLogger("CONTROLLER")
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Program:
    """What a process runs, and what it is handed.

    Attributes:
        sockets: listening sockets, by number.
        variables: asked at every start for what its environment holds beside our own.
        is_role: whether it is one of the controller's, which says when it is ready and holds the lifeline; any
            other is ended by the system when its supervisor is gone.
    """

    name: str
    command: tuple[str, ...]
    sockets: tuple[int, ...] = ()
    variables: Callable[[], Mapping[str, str]] = dict
    is_role: bool = True


@contextmanager
def lifeline() -> Iterator[int]:
    """Yield the end of a pipe that reads end-of-file once this process is gone, for every child to hold."""
    read, write = os.pipe()
    try:
        yield read
    finally:
        os.close(read)
        os.close(write)


def _end_with_parent() -> None:
    """Have the system end this process when its parent ends, however that ends (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time signal has no name of its own


class Process:
    """One run of a program."""

    def __init__(self, program: Program, running: asyncio.subprocess.Process, ready: int) -> None:
        self._program = program
        self._running = running
        self._ready = ready

    @classmethod
    async def start(cls, program: Program, life: int) -> Process:
        """Start `program` in a session of its own: a Ctrl-C at the terminal is the supervisor's to hand on.

        Raises:
            OSError: it cannot be started.
        """
        ready, says_ready = os.pipe()
        ours = {role.LIFELINE: str(life), role.READY: str(says_ready)} if program.is_role else {}
        try:
            running = await asyncio.create_subprocess_exec(
                *program.command,
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **program.variables(), **ours},
                pass_fds=(life, says_ready, *program.sockets) if program.is_role else (),
                start_new_session=True,
                preexec_fn=None if program.is_role else _end_with_parent,
            )
        except BaseException:
            os.close(ready)
            raise
        finally:
            os.close(says_ready)
        LOG.info("%s started, pid %d", program.name, running.pid)
        return cls(program, running, ready)

    async def wait_ready(self) -> bool:
        """Wait until the process says that it serves; False where it ended instead. To be called once."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._ready, readable.set)
        try:
            await readable.wait()
            return os.read(self._ready, 16) != b""
        finally:
            loop.remove_reader(self._ready)
            os.close(self._ready)

    async def wait(self) -> str:
        """Wait until the process has ended, and return how, in words."""
        status = await self._running.wait()
        return f"killed by {_signal_name(-status)}" if status < 0 else f"exit status {status}"

    async def end(self, patience: timedelta) -> None:
        """Ask the process to end (SIGTERM), and end it (SIGKILL) where it has not after `patience`."""
        with suppress(ProcessLookupError):
            self._running.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience.total_seconds()):
                await self._running.wait()
        except TimeoutError:
            LOG.warning("%s did not end within %d s: killed", self._program.name, patience.total_seconds())
            with suppress(ProcessLookupError):
                self._running.kill()
            await self._running.wait()
