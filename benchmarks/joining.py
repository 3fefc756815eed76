"""Twenty people in one session, of whom one hangs: how long the others wait for the echo of a key.

Everybody's client is a connection of its own through the controller to the real agent; all of them run in this process,
which shares the cores with the rest. The session prints all the while. Beside it stands the same session with one
person in it.

And what the end of a terminal's output, which every session with a terminal keeps, costs the agent's loop: to take
64 KiB, and to make a snapshot, of what costs most of all that programs say in fact.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh

from benchmarks.contenders import NODE, USER, skerry
from benchmarks.pair import Goal, Row
from protocol import limits
from protocol.joining import MODE_VARIABLE, SESSION_VARIABLE
from protocol.screen_tail import ScreenTail

PARTIES = 20
_KEYS = 400
_PATIENCE = 60.0
_PAUSE = 0.01
_PIECE = 64 * 1024
# Content that is nothing but escape sequences.
_SAID = {
    "cursor off and on": b"\x1b[?25l\x1b[?25h",
    "margins": b"\x1b[1;24r",
    "resets": b"\x1bc",
    "cursor off, text, on": b"\x1b[?25lworking\x1b[?25h",
    "emptying": b"\x1b[H\x1b[J",
    "there and back": b"\x1b[?47h\x1b[?47lx",
}
# Raw, so that the program sends each key back; it says something forty times a second beside, and much at first.
_PROGRAM = (
    "stty raw -echo; echo id-$SSH_SESSION_ID; "
    "(read -r go < $FIFO; yes 0123456789 | head -c 2000000; echo poured; "
    "while sleep 0.025; do echo 0123456789 0123456789 0123456789 0123456789; done) & exec cat"
)


class Client(asyncssh.SSHClientSession[bytes]):
    """One person's."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.changed = asyncio.Event()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Keep what came."""
        del datatype
        self.seen += data
        self.changed.set()

    async def find(self, text: bytes) -> None:
        """Wait for `text`, and forget what came before its end."""
        async with asyncio.timeout(_PATIENCE):
            while (at := self.seen.find(text)) < 0:
                self.changed.clear()
                await self.changed.wait()
        del self.seen[: at + len(text)]

    async def line(self) -> bytes:
        """Return what comes up to the end of a line."""
        async with asyncio.timeout(_PATIENCE):
            while (at := self.seen.find(b"\n")) < 0:
                self.changed.clear()
                await self.changed.wait()
        return bytes(self.seen[:at]).strip()


def measure(directory: Path, *, turns: int, quick: bool) -> list[Row]:
    """Return the rows: median and 95th percentile of the echo, for nineteen of twenty, and for one alone."""
    keys = _KEYS // 8 if quick else _KEYS
    alone: list[tuple[float, float]] = []
    many: list[tuple[float, float]] = []
    with skerry(directory / "skerry") as road:
        for turn in range(turns + 1):
            pair = [asyncio.run(_measure(road.directory, parties, keys)) for parties in (1, PARTIES)]
            if turn:  # the first does not count
                alone.append(pair[0])
                many.append(pair[1])
    rival = "one person alone"
    return [
        Row(f"echo of a key, {PARTIES} there, one hangs, p50", "ms", *_both(many, alone, 0), rival),
        Row(
            f"echo of a key, {PARTIES} there, one hangs, p95",
            "ms",
            *_both(many, alone, 1),
            rival,
            Goal("ours", "at most", 50),
        ),
        *_tails(turns),
    ]


def _tails(turns: int) -> list[Row]:
    """Return the rows of the screen's tail: the slowest of all contents in each turn."""
    took = [[_tail(said) for said in _SAID.values()] for _ in range(turns)]
    return [
        Row("64 KiB of escape sequences taken", "ms", [max(a for a, _ in turn) for turn in took], goal=_at_most(30)),
        Row("snapshot of escape sequences", "ms", [max(b for _, b in turn) for turn in took], goal=_at_most(60)),
    ]


def _at_most(number: float) -> Goal:
    return Goal("ours", "at most", number)


def _tail(said: bytes) -> tuple[float, float]:
    """Return for how many milliseconds of the processor 64 KiB are taken, and a snapshot is made."""
    piece = (said * (_PIECE // len(said) + 1))[:_PIECE]
    tail = ScreenTail()
    adding = []
    for _ in range(2 * limits.SCREEN_TAIL_MAX // _PIECE):
        began = time.thread_time()
        tail.add(piece)
        adding.append(time.thread_time() - began)
    began = time.thread_time()
    tail.snapshot()
    return 1000 * max(adding), 1000 * (time.thread_time() - began)


def _both(
    many: list[tuple[float, float]], alone: list[tuple[float, float]], which: int
) -> tuple[list[float], list[float]]:
    return [pair[which] for pair in many], [pair[which] for pair in alone]


async def _measure(directory: Path, parties: int, keys: int) -> tuple[float, float]:
    """Return median and 95th percentile in milliseconds."""
    fifo = directory / "begin"
    if not fifo.exists():
        os.mkfifo(fifo)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(_client(directory))
        channel, owner = await _open(first, _PROGRAM.replace("$FIFO", f"'{fifo}'"), {}, 2**21)
        await owner.find(b"id-")
        session = (await owner.line()).decode()
        people = [(channel, owner)]
        for number in range(1, parties):
            connection = await stack.enter_async_context(_client(directory))
            said = {SESSION_VARIABLE: session, MODE_VARIABLE: "peer" if number < parties - 1 else "observer"}
            people.append(await _open(connection, None, said, 2**21 if number < parties - 1 else 2**15))
        hanging = people.pop() if parties > 1 else None
        if hanging:
            await hanging[1].find(b"joined as observer")
            hanging[0].pause_reading()
        await asyncio.to_thread(fifo.write_text, "go\n")
        for _, client in people:
            await client.find(b"poured")
        return await _type(people, keys)


async def _type(people: list[tuple[Any, Client]], keys: int) -> tuple[float, float]:
    took = []
    for number in range(keys):
        channel, client = people[number % len(people)]
        key = bytes([0x80 + number % 0x40])  # nothing that is printed otherwise
        began = time.perf_counter()
        channel.write(key)
        await client.find(key)
        took.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(_PAUSE)
        for _, other in people:
            other.seen.clear()
    return statistics.median(took), statistics.quantiles(took, n=20)[-1]


@asynccontextmanager
async def _client(directory: Path) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Yield a connection to the node, through the controller's door."""
    addresses = json.loads((directory / "controller" / "addresses.json").read_text(encoding="utf-8"))
    key = directory / "tsh" / "keys" / "127.0.0.1" / USER
    pair = (str(key), f"{key}-cert.pub")
    common: dict[str, Any] = {"config": [], "client_keys": [pair], "known_hosts": None, "agent_path": None}
    host, port = addresses["ssh"]
    async with (
        asyncssh.connect(host, port, username=USER, **common) as door,
        asyncssh.connect(NODE, 3022, tunnel=door, username=getpass.getuser(), **common) as connection,
    ):
        yield connection


async def _open(
    connection: asyncssh.SSHClientConnection, command: str | None, said: dict[str, str], window: int
) -> tuple[Any, Client]:
    client = Client()
    channel, _ = await connection.create_session(
        lambda: client,
        command,
        env=dict(said.items()),
        term_type="xterm",
        term_size=(80, 24),
        encoding=None,
        window=window,
    )
    return channel, client
