"""Fifty open terminals, all printing: what pages cost meanwhile, what a keystroke takes, and how much memory it is.

Our way (a connection is handed to one event loop) beside a thread per terminal with simple-websocket, on the same
worker; each first without terminals. See ADR 13. The rival is installed by hand: pip install simple-websocket.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import math
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.pair import Goal, Row
from benchmarks.program import ROOT, BenchError
from benchmarks.terminals_door import TERMINALS
from tests.harness.running_door import make_identity

_PAGES = 60
# Asked before anything is measured: the first pages of a fresh door are its slowest.
_WARM_UP = 20
# Between two pages: a phase lasts some seconds, so that what had gathered before it does not count for much.
_PAUSE = 0.05
# name, how it is served, threads: our door has 16, and a thread per terminal needs one for each beside those.
_VARIANTS = (("one loop", "loop", 16), ("a thread each, 16", "thread", 16), ("a thread each, 66", "thread", 66))


@dataclass
class Found:
    """One turn of one variant; times in ms, memory in MiB. A page that took longer than 10 s counts as 10 s.

    `served` terminals echoed a key while pages were asked for, and `printed` kB came from all of them in a second: a
    way that serves fewer, or less of what they print, is no faster for it.
    """

    served: int
    printed: float
    page: float
    page_p95: float
    echo_p95: float
    memory: float


def measure(directory: Path, *, turns: int, quick: bool) -> list[Row]:
    """Return the rows, a variant's beside the same door's without terminals."""
    rows = []
    for name, variant, threads in _VARIANTS:
        if variant == "thread" and importlib.util.find_spec("simple_websocket") is None:
            continue
        found = [_turn(directory, variant, threads, quick=quick) for _ in range(turns)]
        alone, busy = [pair[0] for pair in found], [pair[1] for pair in found]
        goal = Goal("ours", "at most", 300) if variant == "loop" else None
        rows += [
            Row(f"terminals served, {name}", f"of {TERMINALS}", [each.served for each in busy]),
            Row(f"printed in all, {name}", "kB/s", [each.printed for each in busy]),
            Row(f"page, {name}: median", "ms", [each.page for each in busy], [each.page for each in alone], "idle"),
            Row(
                f"page, {name}: p95", "ms", [each.page_p95 for each in busy], [e.page_p95 for e in alone], "idle", goal
            ),
            Row(f"keystroke, {name}: p95", "ms", [each.echo_p95 for each in busy]),
            Row(
                f"memory for {TERMINALS}, {name}",
                "MiB",
                [b.memory - a.memory for a, b in zip(alone, busy, strict=True)],
            ),
        ]
    return rows


def _turn(directory: Path, variant: str, threads: int, *, quick: bool) -> tuple[Found, Found]:
    with _door(directory, variant, threads) as door:
        return asyncio.run(_measure(door, 0, quick=quick)), asyncio.run(_measure(door, TERMINALS, quick=quick))


@dataclass
class _Door:
    port: int
    pid: int
    trust: ssl.SSLContext

    def memory(self) -> float:
        """Return the resident memory of the worker, MiB."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        pages = Path(f"/proc/{children[0]}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * 4096 / (1 << 20)


@contextmanager
def _door(directory: Path, variant: str, threads: int) -> Iterator[_Door]:
    identity = make_identity(directory, "localhost")
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        port = listener.getsockname()[1]
        given = [variant, str(threads), str(listener.fileno()), str(identity.cert), str(identity.key)]
        command = [sys.executable, "-m", "benchmarks.terminals_door", *given]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[listener.fileno()], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise BenchError(f"the door of {variant} did not start")
        yield _Door(port, process.pid, ssl.create_default_context(cafile=str(identity.cert)))
    finally:
        process.terminate()
        process.wait(timeout=60)


async def _measure(door: _Door, terminals: int, *, quick: bool) -> Found:
    if not terminals:
        for _ in range(_WARM_UP):
            await _page(door)
    seats = [_Seat() for _ in range(terminals)]
    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(_terminal(door, seat)) for seat in seats]
        await _seated(seats)
        for seat in seats:
            seat.echoes.clear()
            seat.heard = 0
        began = time.perf_counter()
        pages = [await _paced(door) for _ in range(10 if quick else _PAGES)]
        lasted = time.perf_counter() - began
        memory = door.memory()
        for watcher in watchers:
            watcher.cancel()
    echoes = [echo for seat in seats for echo in seat.echoes]
    served = sum(1 for seat in seats if seat.echoes)
    printed = sum(seat.heard for seat in seats) / lasted / 1000
    return Found(served, printed, statistics.median(pages), _p95(pages), _p95(echoes) if echoes else math.nan, memory)


@dataclass
class _Seat:
    """One terminal's client: what it has heard, and how long its keys took."""

    heard: int = 0
    echoes: list[float] = field(default_factory=list)


async def _seated(seats: list[_Seat]) -> None:
    """Wait until every terminal has echoed a key; after a while, go on with those that have."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            while not all(seat.echoes for seat in seats):  # noqa: ASYNC110 - fifty clients' doing; some may never come
                await asyncio.sleep(0.05)


async def _terminal(door: _Door, seat: _Seat) -> None:
    address = f"wss://localhost:{door.port}/socket"
    try:
        async with connect(address, ssl=door.trust, compression=None, open_timeout=10, proxy=None) as terminal:
            while True:
                seat.echoes.append(await _echo(terminal, seat))
    except (OSError, TimeoutError, WebSocketException):
        return  # no thread was free for it, or it was cut off: it is not counted as served


async def _echo(terminal: ClientConnection, seat: _Seat) -> float:
    for _ in range(4):
        seat.heard += len(await terminal.recv())
    began = time.perf_counter()
    await terminal.send(b"k")
    while (heard := await terminal.recv()) != b"k":
        seat.heard += len(heard)
    return 1000 * (time.perf_counter() - began)


async def _paced(door: _Door) -> float:
    await asyncio.sleep(_PAUSE)
    return await _page(door)


async def _page(door: _Door) -> float:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(
                "localhost", door.port, ssl=door.trust, family=socket.AF_INET
            )
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await reader.read(-1)
            writer.close()
    except (OSError, TimeoutError):
        return 10_000.0
    return 1000 * (time.perf_counter() - began)


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]
