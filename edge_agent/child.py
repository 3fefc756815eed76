"""A program run for somebody: started as that user, on a terminal or on three pipes, and reaped."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.accounts import Account
from edge_agent.terminal_modes import apply_modes, set_size
from edge_agent.threshold import Person, Threshold

TerminalSize = tuple[int, int, int, int]
_PIPE_SIZE = 256 * 1024
_LAST_LOOK = 0.2
# The signals that RFC 4254 section 6.10 has names for; others go by a name of their own, with an @.
_NAMED = frozenset(["ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"])
# Those a client may send.
SENDABLE = frozenset(["ABRT", "ALRM", "HUP", "INT", "KILL", "QUIT", "TERM", "USR1", "USR2"])


@dataclass(frozen=True, slots=True)
class Terminal:
    """A pseudo-terminal as it was asked for: type, size (columns, rows, pixels) and modes by opcode."""

    kind: str
    size: TerminalSize
    modes: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Program:
    """What is to be run.

    Attributes:
        path: the executable.
        argv: its arguments, its own name first.
        environment: the whole of it.
        directory: where it starts.
        terminal: the terminal it runs on; None for pipes.
    """

    account: Account
    path: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    terminal: Terminal | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: by exit code, or by a signal (its name without SIG) with or without a core.

    Neither where it was left running, as under `nohup`.
    """

    code: int | None
    signal: str | None = None
    core_dumped: bool = False

    def describe(self) -> str:
        """Return it as a shell would say it."""
        if self.is_left:
            return "left running"
        return f"exit status {self.code}" if self.signal is None else f"ended by signal {self.signal}"

    @property
    def is_left(self) -> bool:
        """Whether it runs on without us."""
        return self.code is None and self.signal is None


@dataclass(slots=True)
class Child:
    """A running program.

    Attributes:
        input: where to write to; None where it is closed.
        outputs: what to read from: the terminal, or standard output and standard error.
        terminal: the terminal's master side, which is then also `input` and the one output.
    """

    pid: int
    input: int | None
    outputs: tuple[int, ...]
    terminal: int | None
    process: subprocess.Popen[bytes]


class Children:
    """Watches programs and says when they have ended. One for an event loop.

    Attributes:
        threshold: what programs that are run for somebody pass.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, threshold: Threshold | None = None) -> None:
        self.threshold = threshold or Threshold()
        self._loop = loop
        self._watched: dict[int, tuple[subprocess.Popen[bytes], Callable[[Ended], None]]] = {}
        # SIGCHLD rather than a pidfd: kernels before 5.3 are still at sea.
        loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def watch(self, process: subprocess.Popen[bytes], ended: Callable[[Ended], None]) -> None:
        """Call `ended` when `process` has."""
        self._watched[process.pid] = (process, ended)
        self._loop.call_soon(self._reap)  # it may have ended before anyone watched

    def close(self) -> None:
        """Watch no more; what is just ending is waited for, briefly."""
        self._loop.remove_signal_handler(signal.SIGCHLD)
        for process, _ in self._watched.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_LOOK)

    def _reap(self) -> None:
        for pid, (process, ended) in list(self._watched.items()):
            try:
                found, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                found, status = pid, 0
            if found:
                del self._watched[pid]
                process.returncode = os.waitstatus_to_exitcode(status)
                ended(_ended(status))


def _ended(status: int) -> Ended:
    if not os.WIFSIGNALED(status):
        return Ended(os.waitstatus_to_exitcode(status))
    return Ended(None, _signal_name(os.WTERMSIG(status)), os.WCOREDUMP(status))


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        name = f"RT{number}"
    return name if name in _NAMED else f"{name}@skerry"


def spawn(program: Program, threshold: Threshold) -> Child:
    """Start `program`. Raises `OSError`, also for what went wrong in the new process before it ran."""
    if program.terminal:
        return _spawn_on_terminal(program, program.terminal, threshold)
    return _spawn_on_pipes(program, threshold)


def _spawn_on_pipes(program: Program, threshold: Threshold) -> Child:
    pairs: list[tuple[int, int]] = []
    try:
        pairs.extend(os.pipe2(os.O_CLOEXEC) for _ in range(3))
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = pairs
        process = _cross(program, threshold, (in_read, out_write, err_write))
    except BaseException:
        _close(*(fd for pair in pairs for fd in pair))
        raise
    _close(in_read, out_write, err_write)
    for fd in (in_write, out_read, err_read):
        os.set_blocking(fd, False)
    for fd in (in_write, out_read):
        with suppress(OSError):  # past the user's allowance: smaller pipes do as well
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    return Child(process.pid, in_write, (out_read, err_read), None, process)


def _spawn_on_terminal(program: Program, terminal: Terminal, threshold: Threshold) -> Child:
    master, slave = os.openpty()
    try:
        _hand_over(slave, program.account)
        apply_modes(slave, terminal.modes)
        set_size(slave, terminal.size)
        path = os.ttyname(slave)
        process = _cross(program, threshold, (slave, slave, slave), {"SSH_TTY": path, "TERM": terminal.kind})
    except BaseException:
        _close(master)
        raise
    finally:
        _close(slave)
    os.set_blocking(master, False)
    return Child(process.pid, master, (master,), master, process)


def _hand_over(slave: int, account: Account) -> None:
    if os.geteuid() == 0:
        os.fchown(slave, account.uid, _tty_group(account.gid))
        os.fchmod(slave, 0o620)


def _tty_group(otherwise: int) -> int:
    """Return the group `tty`, whose members (write, wall) may put messages on a terminal."""
    import grp

    try:
        return grp.getgrnam("tty").gr_gid
    except KeyError:
        return otherwise


def _cross(
    program: Program, threshold: Threshold, streams: tuple[int, int, int], more: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    account = program.account
    return threshold.cross(
        program.argv,
        program.path,
        person=Person(account.uid, account.gid, account.groups),
        directory=program.directory,
        environment=dict(program.environment) | dict(more or {}),
        streams=streams,
        on_terminal=more is not None,
    )


def signal_as(account: Account, group: int, name: str, threshold: Threshold) -> subprocess.Popen[bytes]:
    """Send a process group a signal with the rights of `account` and no others: the kernel decides. Raises `OSError`.

    Of a group that a program of ours has started, members may have become another user's (`sudo`). What sends it
    belongs to the user, who may look into it (proc(5), `/proc/PID/root`): so it leaves the sandbox as programs do.
    """
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        return threshold.cross(
            ("/bin/sh", "-c", 'kill "-$1" "-$2"', "kill", name, str(group)),
            "/bin/sh",
            person=Person(account.uid, account.gid, account.groups),
            directory="/",
            environment={},
            streams=(nothing, nothing, nothing),
            on_terminal=False,
        )
    finally:
        _close(nothing)


def _close(*fds: int) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)


def ignores_hangup(pid: int) -> bool:
    """Tell whether a process has chosen to outlive its terminal, as under `nohup`."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigIgn:"):
                return bool(int(line.split()[1], 16) & 1 << (signal.SIGHUP - 1))
    except (OSError, ValueError, IndexError):
        pass
    return False
