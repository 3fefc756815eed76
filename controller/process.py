"""One child process of the supervisor: started with its sockets, watched, ended."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from controller import role
from protocol import service_manager

LOG = logging.getLogger("CONTROLLER")
_PR_SET_PDEATHSIG = 1
_LINE_MAX = 4096
_PULSES_MAX = 64 * 1024  # what a pipe holds
# What of our own service manager's variables a role has a use for: the master key lies there, and its log goes there.
_FOR_ROLES = (service_manager.CREDENTIALS, "JOURNAL_STREAM")
NOTHING_SHARED: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Program:
    """What a process runs, and what it is handed.

    Attributes:
        sockets: listening sockets, by number.
        variables: asked at every start for what its environment holds beside our own.
        directory: where it is started; None for where we were.
        user: the numbers of the user and the group that it runs as; None for ours.
        limits: asked at every start for what it may take of the system, by RLIMIT number of `resource`: soft limits,
            which end at the hard ones.
        log: where what it writes to standard error goes, line by line; None for our own standard error.
        is_role: whether it is one of the controller's, which says when it is ready and holds the lifeline; any
            other is ended by the system when its supervisor is gone.
        last_signal: what it is ended with.
        ask: for one that is no role, and so says nothing by itself: asks whether it answers; None where nobody can.
    """

    name: str
    command: tuple[str, ...]
    sockets: tuple[int, ...] = ()
    variables: Callable[[], Mapping[str, str]] = dict
    is_role: bool = True
    directory: Path | None = None
    user: tuple[int, int] | None = None
    limits: Callable[[], Mapping[int, int]] = dict
    log: Callable[[str], object] | None = None
    last_signal: signal.Signals = signal.SIGTERM
    ask: Callable[[], Awaitable[bool]] | None = None


@contextmanager
def lifeline() -> Iterator[int]:
    """Yield the end of a pipe that reads end-of-file once this process is gone, for every child to hold."""
    read, write = os.pipe()
    try:
        yield read
    finally:
        os.close(read)
        os.close(write)


def _end_with_parent(number: signal.Signals) -> None:
    """Have the system end this process when its parent ends, however that ends (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def _prepared(program: Program) -> Callable[[], None] | None:
    """Return what a child does before it becomes `program`; None for nothing."""
    if program.is_role:
        return None
    wanted = dict(program.limits())

    def prepare() -> None:
        _end_with_parent(program.last_signal)
        for number, limit in wanted.items():
            _, hard = resource.getrlimit(number)
            most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(number, (most, hard))

    return prepare


def _as_user(user: tuple[int, int] | None) -> dict[str, Any]:
    """Return by which arguments a process is started as `user`, and in no other group than its own."""
    return {} if user is None else {"user": user[0], "group": user[1], "extra_groups": ()}


def _environment(program: Program) -> dict[str, str]:
    """Return our own environment without what the service manager tells us alone, and with what `program` asks for."""
    ours = service_manager.without_service_variables(os.environ)
    if program.is_role:
        ours |= {name: os.environ[name] for name in _FOR_ROLES if name in os.environ}
    return {**ours, **program.variables()}


class _Pipes:
    """The pipes by which a role says that it is ready, and that its loop turns: our ends, and for a while its own."""

    def __init__(self) -> None:
        self.ready, self.says_ready = os.pipe()
        try:
            self.pulse, self.beats = os.pipe()
        except BaseException:
            self.close_theirs(self.ready, self.says_ready)
            raise
        for end in (self.pulse, self.beats):  # neither waits for the other
            os.set_blocking(end, False)

    def variables(self) -> dict[str, str]:
        return {role.READY: str(self.says_ready), role.PULSE: str(self.beats)}

    def close_theirs(self, *ours: int) -> None:
        for end in ours or (self.says_ready, self.beats):
            os.close(end)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time signal has no name of its own


class Process:
    """One run of a program."""

    def __init__(self, program: Program, running: asyncio.subprocess.Process, ready: int, pulse: int) -> None:
        self._program = program
        self._running = running
        self._ready = ready
        self._pulse: int | None = pulse
        self.is_ready = False

    @property
    def pid(self) -> int:
        """Its number."""
        return self._running.pid

    @classmethod
    async def start(cls, program: Program, life: int, shared: Mapping[str, int] = NOTHING_SHARED) -> Process:
        """Start `program` in a session of its own: a Ctrl-C at the terminal is the supervisor's to hand on.

        Args:
            program: what to run.
            life: the pipe that `lifeline` yielded.
            shared: descriptors that every role is handed, by the name of the variable that tells it the number.

        Raises:
            OSError: it cannot be started.
        """
        pipes = _Pipes()
        ours = {role.LIFELINE: str(life), **pipes.variables(), **{name: str(fd) for name, fd in shared.items()}}
        handed = (life, pipes.says_ready, pipes.beats, *shared.values(), *program.sockets)
        try:
            running = await asyncio.create_subprocess_exec(
                *program.command,
                stdin=asyncio.subprocess.DEVNULL,
                env=_environment(program) | (ours if program.is_role else {}),
                pass_fds=handed if program.is_role else (),
                start_new_session=True,
                preexec_fn=_prepared(program),
                cwd=program.directory,
                stderr=None if program.log is None else asyncio.subprocess.PIPE,
                limit=_LINE_MAX,
                **_as_user(program.user),
            )
        except BaseException:
            pipes.close_theirs(pipes.ready, pipes.pulse)
            raise
        finally:
            pipes.close_theirs()
        LOG.info("%s started, pid %d", program.name, running.pid)
        return cls(program, running, pipes.ready, pipes.pulse)

    async def wait_ready(self) -> bool:
        """Wait until the process says that it serves; False where it ended instead. To be called once."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._ready, readable.set)
        try:
            await readable.wait()
            self.is_ready = os.read(self._ready, 16) != b""
            return self.is_ready
        finally:
            loop.remove_reader(self._ready)
            os.close(self._ready)

    def take_pulses(self) -> bool:
        """Tell whether the process has said, since the last call, that its loop turns."""
        if self._pulse is None:
            return False
        try:
            return os.read(self._pulse, _PULSES_MAX) != b""
        except BlockingIOError:
            return False

    async def relay_log(self) -> None:
        """Hand on what the process writes to standard error, until it has ended. To be called once."""
        if self._running.stderr is None or self._program.log is None:
            return
        while True:
            try:
                line = await self._running.stderr.readuntil()
            except asyncio.LimitOverrunError as err:
                line = await self._running.stderr.readexactly(err.consumed)
            except asyncio.IncompleteReadError as err:
                line = err.partial
            if not line:
                return
            self._program.log(line.decode("utf-8", "replace").strip())

    def reload(self) -> None:
        """Have the process read its configuration again (SIGHUP); nothing where it has ended."""
        with suppress(ProcessLookupError):
            self._running.send_signal(signal.SIGHUP)

    async def wait(self) -> str:
        """Wait until the process has ended, and return how, in words."""
        status = await self._running.wait()
        self._hang_up()
        return f"killed by {_signal_name(-status)}" if status < 0 else f"exit status {status}"

    async def end(self, patience: timedelta) -> None:
        """Ask the process to end (by its `last_signal`), and end it (SIGKILL) where it has not after `patience`.

        What it has started goes with it, then, as far as that has stayed in its group.
        """
        with suppress(ProcessLookupError):
            self._running.send_signal(self._program.last_signal)
        try:
            async with asyncio.timeout(patience.total_seconds()):
                await self._running.wait()
        except TimeoutError:
            LOG.warning("%s did not end within %d s: killed", self._program.name, patience.total_seconds())
            with suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)  # it leads a group of its own
            await self._running.wait()
        self._hang_up()

    def _hang_up(self) -> None:
        pulse, self._pulse = self._pulse, None
        if pulse is not None:
            os.close(pulse)
