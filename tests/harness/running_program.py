"""A real program that a test runs beside itself: started, listened to line by line, ended by its pid."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
PATIENCE = 30.0


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what would steer the programs, their folder first on the PATH."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SKERRY_", "SSH_", "COV_", "PYTEST_"))
    }
    return kept | {"PATH": f"{BIN}:{kept.get('PATH', '')}", "LC_ALL": "C.UTF-8", "TERM": "xterm"} | more


def await_pid_end(pid: int, timeout: float = PATIENCE) -> None:
    """Wait until a process that is not our child is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([handle], [], [], timeout)
    finally:
        os.close(handle)
    assert ended, f"process {pid} is still there after {timeout:.0f} s"


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Keep processes from doing anything."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for pid in pids:
            _await_standstill(pid)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _await_standstill(pid: int) -> None:
    """Wait until the kernel has stopped a process that was told to stop."""
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "TtZX":
        assert time.monotonic() < deadline, f"process {pid} does not stop"
        time.sleep(0.001)


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


class RunningProgram:
    """One process, its output as lines. Output ends when the last of its descendants has closed it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.command = tuple(command)
        self._lines: list[str] = []
        self._over = False
        self._heard = threading.Condition()
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],  # it also ends where this process is killed
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean_environment() if environment is None else environment,
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
        self._listener = threading.Thread(target=self._listen, name=f"log of {name}", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        with self._heard:
            return "\n".join(self._lines)

    def mark(self) -> int:
        """Return the place in the log after all that was said so far."""
        with self._heard:
            return len(self._lines)

    def find(self, pattern: str, since: int = 0) -> list[re.Match[str]]:
        """Return the matches of `pattern` in the lines said after `since`, one a line."""
        with self._heard:
            return [found for line in self._lines[since:] if (found := re.search(pattern, line))]

    def await_line(self, pattern: str, timeout: float = PATIENCE, *, since: int = 0) -> re.Match[str]:
        """Wait until a line after `since` matches, and return the match."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._heard:
            while True:
                for line in self._lines[since:]:
                    if found := wanted.search(line):
                        return found
                left = deadline - time.monotonic()
                if self._over or left <= 0:
                    why = "it ended" if self._over else f"not within {timeout:.0f} s"
                    said = "\n".join(self._lines[-40:])
                    raise AssertionError(f"{self.name} never said {pattern!r} ({why}); it said:\n{said}")
                self._heard.wait(left)

    def await_end(self, timeout: float = PATIENCE) -> int:
        """Wait until the process has ended, and return its exit status, negative for a signal."""
        return self._process.wait(timeout)

    def await_silence(self, timeout: float = PATIENCE) -> None:
        """Wait until nobody holds its output open any more: it and all it started are gone."""
        self._listener.join(timeout)
        assert not self._listener.is_alive(), f"{self.name} or a child of it is still there after {timeout:.0f} s"

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, patience: float = PATIENCE) -> int:
        """End it gently, and surely."""
        if self.is_running:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it at once (SIGKILL)."""
        self._process.kill()
        return self._process.wait(PATIENCE)

    def _listen(self) -> None:
        assert self._process.stdout
        with self._process.stdout as output:
            for line in output:
                with self._heard:
                    self._lines.append(line.rstrip("\n"))
                    self._heard.notify_all()
        with self._heard:
            self._over = True
            self._heard.notify_all()
