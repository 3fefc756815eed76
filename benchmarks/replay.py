"""How long a viewer waits: `tsh play` of a large recording opened, and taken to its middle and to its end."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect

from benchmarks.contenders import Contender
from benchmarks.pair import Row, take_turns
from benchmarks.program import BIN, PATIENCE, BenchError, seconds, surroundings
from benchmarks.recorded import stored, wait_until_uploaded

_SECONDS = 20  # so long the session lasts; a key takes the viewer 5 s ahead
_RIGHT, _END = "\x1b[C", "\x1b[F"
_PROGRAM = """
import sys, time
size, log, begun = {size} // {seconds}, open({log!r}, "rb").read(), time.monotonic()
for second in range({seconds}):
    time.sleep(max(0.0, begun + second - time.monotonic()))
    sys.stdout.buffer.write(b"=== second %d ===\\n" % second + log[:size])
    sys.stdout.buffer.flush()
print("=== the end ===")
"""


def measure(road: Contender, directory: Path, turns: int, size: int) -> list[Row]:
    """Return the rows, for a recording of `size` bytes of output. `directory` holds a large file named ``log``."""
    session = _record(road, directory, size)
    packed, contents = stored(road, session)
    lines = sum(map(len, contents)) / 1e6
    found = take_turns(
        {
            "open": lambda: _open(road, session),
            "middle": lambda: _seek(road, session, _RIGHT * 2, b"=== second 10 ==="),
            "end": lambda: _seek(road, session, _END, b"=== the end ==="),
            "text": lambda: size / 1e6 / seconds(_play(session, "--format", "text"), road.variables),
        },
        turns,
    )
    named = f"{size / 1e6:.0f} MB of output"
    return [
        Row(f"{named}, as event lines", "MB", [lines]),
        Row(f"{named}, as recorded", "MB", [packed / 1e6]),
        Row(f"{named}: tsh play, to the first output", "s", found["open"]),
        Row(f"{named}: from there to the middle", "s", found["middle"]),
        Row(f"{named}: from there to the end", "s", found["end"]),
        Row(f"{named}: tsh play --format text", "MB/s", found["text"]),
    ]


def _record(road: Contender, directory: Path, size: int) -> str:
    program, mark = directory / "bulk.py", directory / "bulk.session"
    program.write_text(_PROGRAM.format(size=size, seconds=_SECONDS, log=str(directory / "log")), encoding="utf-8")
    remote = f'echo "$SSH_SESSION_ID" >{mark}; exec {sys.executable} {program}'
    subprocess.run(
        road.ssh(remote, road.force_pty),
        env=surroundings(road.variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=10 * PATIENCE,
        check=True,
    )
    wait_until_uploaded(road)
    return mark.read_text(encoding="ascii").strip()


def _play(session: str, *options: str) -> list[str]:
    return [str(BIN / "tsh"), "play", session, *options]


@contextmanager
def _viewer(road: Contender, session: str) -> Iterator[pexpect.spawn]:
    command = _play(session)
    terminal = pexpect.spawn(command[0], command[1:], env=surroundings(road.variables), dimensions=(24, 80))
    terminal.delaybeforesend = None
    try:
        yield terminal
    finally:
        terminal.close(force=True)


def _open(road: Contender, session: str) -> float:
    begun = time.perf_counter()
    with _viewer(road, session) as terminal:
        _await(terminal, b"=== second 0 ===")
        return time.perf_counter() - begun


def _seek(road: Contender, session: str, keys: str, mark: bytes) -> float:
    with _viewer(road, session) as terminal:
        _await(terminal, b"=== second 0 ===")
        begun = time.perf_counter()
        terminal.send(keys)
        _await(terminal, mark)
        return time.perf_counter() - begun


def _await(terminal: pexpect.spawn, mark: bytes) -> None:
    """Read until `mark` has been shown. Raises `BenchError` where it never is."""
    tail = b""
    while mark not in tail:
        if not select.select([terminal.child_fd], [], [], PATIENCE)[0]:
            raise BenchError(f"`tsh play` never showed {mark.decode()}; last it showed {tail[-200:]!r}")
        try:
            tail = tail[-len(mark) :] + os.read(terminal.child_fd, 65536)
        except OSError:
            raise BenchError(f"`tsh play` ended before it showed {mark.decode()}: {tail[-200:]!r}") from None
