"""What recording costs: throughput, bytes, memory, and the time until a viewer sees something."""

from __future__ import annotations

import base64
import os
import random
import threading
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import memory, replay, sessions
from benchmarks.contenders import Contender, skerry
from benchmarks.pair import Goal, Row, take_turns
from benchmarks.program import run
from benchmarks.recorded import gzip_size, stored, wait_until_uploaded
from benchmarks.throughput import download

_MIB = 1024 * 1024
_UNRECORDED = "not recorded"
_MINUTES = 2
_UPLOADED = 32 * _MIB


def measure(directory: Path, *, turns: int, quick: bool) -> list[Row]:
    """Return the rows: cost in throughput, size of sessions, opening and seeking, memory."""
    with ExitStack() as stack:
        recorded = stack.enter_context(skerry(directory / "recorded", name="recorded", recording="best_effort"))
        plain = stack.enter_context(skerry(directory / "plain", name=_UNRECORDED, recording="off"))
        rows = _memory(recorded, plain, quick=quick)
        rows += _cost((recorded, plain), directory, turns, (256 if not quick else 16) * _MIB)
        rows += _sizes(recorded, directory, 10 if quick else _MINUTES * 60)
        rows += replay.measure(recorded, directory, turns, (100 if not quick else 5) * 10**6)
    return rows


# --- throughput -------------------------------------------------------------------------------------------------------


def _cost(roads: tuple[Contender, Contender], directory: Path, turns: int, size: int) -> list[Row]:
    log = directory / "log"
    log.write_bytes(log_text(size))
    goal = Goal("ratio", "at least", 0.9)
    rows = []
    for what, options, source in (
        ("download of a log", (), str(log)),
        ("download of a log, PTY", (roads[0].force_pty,), str(log)),
        ("download of zeros", (), "/dev/zero"),
    ):
        found = take_turns({road.name: _job(road, size, options, source) for road in roads}, turns)
        rows.append(Row(what, "MB/s", found[roads[0].name], found[_UNRECORDED], _UNRECORDED, goal))
    return rows


def _job(road: Contender, size: int, options: Sequence[str], source: str) -> Callable[[], float]:
    """Return what downloads once, and then waits for the upload, so that it is not in the next one's way."""

    def job() -> float:
        speed = download(road, size, *options, source=source)
        wait_until_uploaded(road)
        return speed

    return job


def log_text(size: int) -> bytes:
    """Return `size` bytes of a log that nobody kept: lines like others, each with numbers of its own."""
    chance = random.Random(size)  # noqa: S311 - the same every time
    services = ("pump", "radar", "gyro", "bilge", "winch", "galley")
    words = ("pressure", "within", "bounds", "retry", "sensor", "lost", "restored", "valve", "opened", "timeout")
    block = b"".join(
        f"2026-03-{chance.randrange(1, 29):02} {chance.randrange(24):02}:{chance.randrange(60):02}:"
        f"{chance.uniform(0, 60):09.6f} {chance.choice(services)}[{chance.randrange(32768)}]: "
        f"{' '.join(chance.choices(words, k=6))} ({chance.randbytes(4).hex()})\n".encode()
        for _ in range(20_000)
    )
    return (block * (size // len(block) + 1))[:size]


# --- size -------------------------------------------------------------------------------------------------------------


def _sizes(road: Contender, directory: Path, seconds: float) -> list[Row]:
    """Return what six sessions take, whole, beside gzip's stream of the same lines, flushed at the same instants."""
    held = sessions.hold(road, directory, seconds)
    wait_until_uploaded(road)
    found = {kind: stored(road, session) for kind, session in held.items()}
    ours = {kind: size / 1024 for kind, (size, _) in found.items()}
    theirs = {
        rival: {kind: gzip_size(pieces, flush) / 1024 for kind, (_, pieces) in found.items()}
        for rival, flush in (("gzip -6, Z_SYNC_FLUSH", zlib.Z_SYNC_FLUSH), ("gzip -6, Z_FULL_FLUSH", zlib.Z_FULL_FLUSH))
    }
    goal = Goal("ratio", "at most", 1 / 1.5)
    rows = [
        Row("2-minute sessions", "KiB", list(ours.values()), list(by_kind.values()), rival, goal)
        for rival, by_kind in theirs.items()
    ]
    for rival, by_kind in theirs.items():
        rows += [Row(f"session: {kind}", "KiB", [ours[kind]], [by_kind[kind]], rival) for kind in held]
    return rows


# --- memory -----------------------------------------------------------------------------------------------------------


def _memory(recorded: Contender, plain: Contender, *, quick: bool) -> list[Row]:
    roads = (recorded, plain)
    for road in roads:
        run([*road.command, road.target, "echo warm"], variables=road.variables)
        wait_until_uploaded(road)
        memory.wait_until_settled(road)
    before = [memory.field(road.device[0], "Rss") for road in roads]
    with ExitStack() as stack:
        for road in roads:
            stack.enter_context(memory.sessions(road))
        each = [
            (memory.field(road.device[0], "Rss") - less) / memory.SESSIONS
            for road, less in zip(roads, before, strict=True)
        ]
    wait_until_uploaded(recorded)
    agent, worker = _while_uploading(recorded, quick=quick)
    return [
        Row("agent at rest, had a session, RSS", "MiB", [before[0]], [before[1]], _UNRECORDED),
        Row("a further session, RSS", "MiB", [each[0]], [each[1]], _UNRECORDED, Goal("ours", "at most", 2)),
        Row("uploading, agent, RSS", "MiB", [agent]),
        Row("uploading, its workers, RSS", "MiB", [worker]),
    ]


def _while_uploading(road: Contender, *, quick: bool) -> tuple[float, float]:
    """Return the most that the agent and its workers took while a large session was recorded and uploaded, in MiB."""
    most, over = [0.0, 0.0], threading.Event()
    noise, size = road.directory / "noise", _UPLOADED // (8 if quick else 1)
    noise.write_bytes(base64.b64encode(os.urandom(size))[:size])

    def watch() -> None:
        while not over.wait(0.05):
            agent = road.device[0]
            try:
                below = sum(memory.field(pid, "Rss") for pid in memory.workers(agent))
            except OSError:
                continue  # it ended as it was looked at
            most[:] = max(most[0], memory.field(agent, "Rss")), max(most[1], below)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        download(road, size, source=str(noise))
        wait_until_uploaded(road)
    finally:
        over.set()
        watcher.join()
    return most[0], most[1]
