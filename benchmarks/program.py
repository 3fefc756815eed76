"""Programs that a benchmark starts: with what surroundings, until when, and how they are ended."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PATIENCE = 60.0
_POLL = 0.02
# An installed program finds its bytecode written; a variable that forbids it would have us measure the compiler.
_LEFT_OUT = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPATH")


class BenchError(Exception):
    """A benchmark cannot go on; the message says what was being done and what came of it."""


def surroundings(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a measured program."""
    kept = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    return {**kept, "PATH": f"{BIN}:{os.environ.get('PATH', '')}", **(variables or {})}


def start(
    stack: ExitStack, command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program that keeps running, its log in a file; it ends with `stack`."""
    file = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(
        command,
        env=surroundings(variables),
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=file,
        start_new_session=True,
    )
    stack.callback(end, process)
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program, gently first."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(command: Sequence[str], answers: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed. Raises `BenchError` where it fails."""
    done = subprocess.run(
        command,
        env=surroundings(variables),
        input="".join(f"{answer}\n" for answer in answers),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"`{' '.join(command[:3])} …` ended with status {done.returncode}: {done.stdout.strip()}")
    return done.stdout


def seconds(
    command: Sequence[str],
    variables: Mapping[str, str] | None = None,
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> float:
    """Run a program to its end and return how long that took, start to exit. Raises `BenchError` where it fails."""
    environment = surroundings(variables)
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
    with process:
        _, said = process.communicate(timeout=10 * PATIENCE)
    took = time.perf_counter() - begin
    if process.returncode:
        text = said.decode(errors="replace").strip()
        raise BenchError(f"`{' '.join(command[:3])} …` ended with status {process.returncode}: {text}")
    return took


def wait_for(log: Path, pattern: str, what: str) -> str:
    """Wait until `log` holds a match, and return it. Raises `BenchError` where none comes."""
    deadline = time.monotonic() + PATIENCE
    text = ""
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8", errors="replace")
        found = re.search(pattern, text)
        if found:
            return found.group()
        time.sleep(_POLL)
    raise BenchError(f"{what} did not happen within {PATIENCE:.0f} s; its log ends: {text[-500:]}")


def wait_for_port(port: int, what: str) -> None:
    """Wait until something on 127.0.0.1 accepts at `port` and says a first byte. Raises `BenchError`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as probe:
                if probe.recv(1):
                    return
        except OSError:
            pass
        time.sleep(_POLL)
    raise BenchError(f"{what} does not answer at port {port}")


def free_port() -> int:
    """Return a port that is free on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
