"""`tctl` in a process of its own each time, forked from one that has loaded already what every command loads.

Loading it takes nine tenths of what a command takes, and the tests run hundreds. The module of the command itself is
loaded by each process anew. What depends on how the program is loaded is tried with the program as people start it.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What every command loads before it does anything, and what it takes its time from.
LOADED = "controller.tctl.host"
COMMAND = (sys.executable, "-m", "controller.tctl")
_WORD_MAX = 1 << 20
_PATIENCE = 60.0


class WarmProgram:
    """The process that forks, and the way to it. It ends when `close` is called, or this process does."""

    def __init__(self) -> None:
        self._way, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._way.settimeout(2 * _PATIENCE)
        self._turn = threading.Lock()
        with theirs:
            command = [sys.executable, "-m", "tests.harness.warm_program", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=plain_environment(), stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `tctl` with these arguments to its end, in this process's environment where none is given."""
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as out,
            tempfile.TemporaryFile("w+", encoding="utf-8") as err,
        ):
            word = json.dumps([arguments, dict(environment or plain_environment())]).encode()
            with self._turn:
                socket.send_fds(self._way, [word], [out.fileno(), err.fileno()])
                status = int(self._way.recv(_WORD_MAX))
            for stream in (out, err):
                stream.seek(0)
            return subprocess.CompletedProcess([*COMMAND, *arguments], status, out.read(), err.read())

    def close(self) -> None:
        self._way.close()
        assert self._process.wait(_PATIENCE) == 0


@cache
def warm_program() -> WarmProgram:
    """Return the one of this process, which ends with it."""
    warm = WarmProgram()
    atexit.register(warm.close)
    return warm


def plain_environment() -> dict[str, str]:
    """Return this process's environment without what would change what `tctl` says."""
    return {name: value for name, value in os.environ.items() if name not in {"SUDO_USER", "PYTHONUNBUFFERED"}}


def _become(arguments: list[str], environment: Mapping[str, str], out: int, err: int) -> None:
    """Be `tctl` from here on; this does not return."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.environ.clear()
    os.environ.update(environment)
    signal.alarm(int(_PATIENCE))  # whoever hangs ends
    sys.argv = ["tctl", *arguments]
    runpy.run_module("controller.tctl", run_name="__main__", alter_sys=True)


def serve(way: socket.socket) -> None:
    """Fork a `tctl` for each word that comes, and answer with its exit status; return when nobody is left to ask."""
    while True:
        word, fds, _, _ = socket.recv_fds(way, _WORD_MAX, 2)
        if not word:
            return
        child = os.fork()
        if child == 0:
            way.close()
            _become(*json.loads(word), *fds)
        for fd in fds:
            os.close(fd)
        _, status = os.waitpid(child, 0)
        way.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    importlib.import_module(LOADED)
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given)
