"""`tctl` and `tsh` in a process of its own each time, forked from one that has loaded already what every command loads.

Loading it takes nine tenths of what a command takes, and the tests run hundreds. The module of a `tctl` command itself
is loaded by each process anew. What depends on how a program is loaded is tried with the program as people start it.
"""

from __future__ import annotations

import atexit
import importlib
import io
import json
import math
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "controller.tctl")
_WORD_MAX = 1 << 20
_PATIENCE = 60.0


@dataclass(frozen=True)
class Kind:
    """A program: its module, and what every command of it loads before it does anything, and takes its time from."""

    module: str
    loaded: tuple[str, ...]
    has_ssh: bool = False


TCTL, TSH = "tctl", "tsh"
KINDS: Mapping[str, Kind] = {
    TCTL: Kind("controller.tctl", ("controller.tctl.host",)),
    TSH: Kind(
        "tsh",
        tuple(f"tsh.{name}" for name in ("commands.login", "commands.ls", "commands.ssh", "session", "sign_in")),
        has_ssh=True,
    ),
}


class WarmProgram:
    """The process that forks, and the way to it. It ends when `close` is called, or this process does."""

    def __init__(self, name: str = TCTL) -> None:
        self._name = name
        self._way, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._way.settimeout(2 * _PATIENCE)
        with theirs:
            command = [sys.executable, "-m", "tests.harness.warm_program", name, str(theirs.fileno())]
            # Its standard streams are pipes, as those of its children are: Python looks once at what they are.
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=plain_environment() | {"LC_ALL": "C.UTF-8"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the program with these arguments to its end, in this process's environment where none is given."""
        return as_text(self.converse(*arguments, environment=environment))

    def converse(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        typed: bytes = b"",
        timeout: float = _PATIENCE,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end, with `typed` on standard input; whoever hangs ends by SIGALRM. Several may run at once.

        Raises `subprocess.TimeoutExpired` where something it has left behind holds its pipes even so.
        """
        word = json.dumps([arguments, dict(environment or plain_environment()), str(Path.cwd()), math.ceil(timeout)])
        ours, theirs = _pipes()
        socket.send_fds(self._way, [word.encode()], theirs)
        for fd in theirs:
            os.close(fd)
        command = [sys.executable, "-m", KINDS[self._name].module, *arguments]
        try:
            out, err, status = exchange(ours[0], typed, ours[1:], math.ceil(timeout) + _PATIENCE)
        except TimeoutError:
            raise subprocess.TimeoutExpired(command, timeout) from None
        assert status, f"the process that forks ended before {command} did"
        return subprocess.CompletedProcess(command, int(status), out, err)

    def close(self) -> None:
        self.let_go()
        assert self._process.returncode == 0

    def let_go(self) -> None:
        """Do as `close` does, however the process has ended."""
        self._way.close()
        self._process.communicate(timeout=_PATIENCE)


def as_text(done: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[str]:
    """Return the same with its output as text, ends of lines as Python's own text files have them."""
    out, err = (io.TextIOWrapper(io.BytesIO(said), encoding="utf-8").read() for said in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def _pipes() -> tuple[list[int], list[int]]:
    """Return our ends and theirs of standard input, output, errors, and the exit status."""
    (read, write), *answers = (os.pipe() for _ in range(4))
    return [write, *(ours for ours, _ in answers)], [read, *(theirs for _, theirs in answers)]


def exchange(into: int, typed: bytes, answers: Sequence[int], patience: float) -> list[bytes]:
    """Write `typed`, and return what each of `answers` gives until its end; all of them are closed then.

    Raises `TimeoutError` where one has not ended after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    said: dict[int, list[bytes]] = {fd: [] for fd in answers}
    os.set_blocking(into, False)
    with selectors.DefaultSelector() as events:
        for fd in answers:
            events.register(fd, selectors.EVENT_READ)
        events.register(into, selectors.EVENT_WRITE)
        try:
            while any(fd in events.get_map() for fd in answers):
                for fd in _ready(events, deadline):
                    if fd == into:
                        more = typed = _write_some(into, typed)
                    else:
                        more = os.read(fd, 1 << 16)
                        said[fd].append(more)
                    if not more:
                        events.unregister(fd)
                        os.close(fd)
        finally:
            for left in [fd for fd in (into, *answers) if fd in events.get_map()]:
                os.close(left)
    return [b"".join(said[fd]) for fd in answers]


def _ready(events: selectors.BaseSelector, deadline: float) -> list[int]:
    ready = events.select(max(0.0, deadline - time.monotonic()))
    if not ready:
        raise TimeoutError
    return [key.fd for key, _ in ready]


def _write_some(fd: int, text: bytes) -> bytes:
    """Write what goes in at once, and return the rest; nothing where nobody wants to know."""
    try:
        return text[os.write(fd, text) :] if text else b""
    except BrokenPipeError:
        return b""


_running: dict[str, WarmProgram] = {}
_starting = threading.Lock()


def warm_program(name: str = TCTL) -> WarmProgram:
    """Return the one of this process, which ends with it; one that has ended before is followed by another."""
    with _starting:
        warm = _running.get(name)
        if warm is None or warm.has_ended:
            if warm is not None:
                atexit.unregister(warm.close)
                warm.let_go()
            warm = _running[name] = WarmProgram(name)
            atexit.register(warm.close)
        return warm


def plain_environment() -> dict[str, str]:
    """Return this process's environment without what would change what `tctl` says."""
    return {name: value for name, value in os.environ.items() if name not in {"SUDO_USER", "PYTHONUNBUFFERED"}}


def _become(name: str, word: bytes, fds: list[int]) -> None:
    """Be the program from here on; this does not return."""
    arguments, environment, directory, patience = json.loads(word)
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    for fd in fds:  # the status is the parent's to tell
        os.close(fd)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    signal.alarm(patience)  # whoever hangs ends
    sys.argv = [name, *arguments]
    runpy.run_module(KINDS[name].module, run_name="__main__", alter_sys=True)


class _Nursery:
    """The children, and whom their ends are told."""

    def __init__(self, name: str, way: socket.socket) -> None:
        self._name, self._way = name, way
        self._events = selectors.DefaultSelector()
        self._events.register(way, selectors.EVENT_READ)

    def serve(self) -> None:
        """Fork a program for each word that comes, and tell each one's exit status; return when nobody asks."""
        while True:
            for key, _ in self._events.select():
                if key.data is not None:
                    self._bury(key.fd, *key.data)
                elif not self._bear():
                    return

    def _bear(self) -> bool:
        word, fds, _, _ = socket.recv_fds(self._way, _WORD_MAX, 4)
        if not word:
            return False
        child = os.fork()
        if child == 0:
            self._leave()
            _become(self._name, word, fds)
        for fd in fds[:3]:
            os.close(fd)
        self._events.register(os.pidfd_open(child), selectors.EVENT_READ, (child, fds[3]))
        return True

    def _leave(self) -> None:
        """Let go of all that is the parent's: the end of another child is told once nobody holds its pipe open."""
        for key in list(self._events.get_map().values()):
            os.close(key.fd)
            if key.data is not None:
                os.close(key.data[1])
        self._way.detach()
        self._events.close()

    def _bury(self, handle: int, child: int, answer: int) -> None:
        self._events.unregister(handle)
        os.close(handle)
        _, status = os.waitpid(child, 0)
        with os.fdopen(answer, "wb") as stream:
            stream.write(str(os.waitstatus_to_exitcode(status)).encode())


def _load(kind: Kind) -> None:
    if kind.has_ssh:
        from protocol.ssh.lean import load_asyncssh

        load_asyncssh()
    for module in kind.loaded:
        importlib.import_module(module)


if __name__ == "__main__":
    _load(KINDS[sys.argv[1]])
    with socket.socket(fileno=int(sys.argv[2])) as given:
        _Nursery(sys.argv[1], given).serve()
