"""What an agent takes: at rest, and with eight sessions open. OpenSSH's processes beside it, for comparison.

The agent's own processes are counted: the agent, and the worker that speaks HTTPS for it while there is something
to send. What runs in a session is the person's, not the agent's. RSS counts shared pages in each process that maps
them; PSS shares them out, which is what a further process really costs.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Contender, openssh, skerry
from benchmarks.pair import Goal, Row
from benchmarks.program import BenchError, surroundings

SESSIONS = 8
_SETTLE = 40.0
_POLL = 0.1
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Footprint:
    """What some processes take, in MiB."""

    rss: float
    pss: float


def measure(directory: Path, *, turns: int, quick: bool) -> list[Row]:  # noqa: ARG001 - as the others
    """Return the rows. A turn is one agent and one pair of OpenSSH's processes, started anew."""
    idle: list[tuple[Footprint, Footprint]] = []
    busy: list[tuple[Footprint, Footprint]] = []
    for turn in range(1 if quick else 3):
        with ExitStack() as stack:
            roads = (
                stack.enter_context(skerry(directory / f"skerry-{turn}")),
                stack.enter_context(openssh(directory / f"openssh-{turn}")),
            )
            wait_until_settled(roads[0])
            idle.append((_footprint(roads[0], 0), _footprint(roads[1], 0)))
            for road in roads:
                stack.enter_context(sessions(road))
            wait_until_settled(roads[0])
            busy.append((_footprint(roads[0], SESSIONS), _footprint(roads[1], SESSIONS)))
    return _rows(idle, busy)


def _rows(idle: list[tuple[Footprint, Footprint]], busy: list[tuple[Footprint, Footprint]]) -> list[Row]:
    rival = "sshd and ssh -R"
    each = [
        tuple((more.rss - less.rss) / SESSIONS for less, more in zip(*pair, strict=True))
        for pair in zip(idle, busy, strict=True)
    ]
    return [
        Row("idle, RSS", "MiB", *_both(idle, "rss"), rival, Goal("ours", "at most", 40)),
        Row("idle, PSS", "MiB", *_both(idle, "pss"), rival),
        Row("8 sessions, RSS", "MiB", *_both(busy, "rss"), rival),
        Row("8 sessions, PSS", "MiB", *_both(busy, "pss"), rival),
        Row(
            "a further session, RSS",
            "MiB",
            [pair[0] for pair in each],
            [pair[1] for pair in each],
            rival,
            Goal("ours", "at most", 2),
        ),
    ]


def _both(pairs: list[tuple[Footprint, Footprint]], which: str) -> tuple[list[float], list[float]]:
    return [getattr(pair[0], which) for pair in pairs], [getattr(pair[1], which) for pair in pairs]


@contextmanager
def sessions(road: Contender) -> Iterator[None]:
    """Hold sessions open, each of which has answered once."""
    opened: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(SESSIONS):
            session = subprocess.Popen(
                road.ssh("echo here; exec cat"),
                env=surroundings(road.variables),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            opened.append(session)
        for session in opened:
            if not session.stdout or session.stdout.readline() != b"here\n":
                raise BenchError(f"{road.name}: a session did not open")
        yield
    finally:
        for session in opened:
            with suppress(OSError):
                session.communicate(timeout=30)


def wait_until_settled(road: Contender) -> None:
    """Wait until the agent has said all it had to say: its worker has ended."""
    deadline = time.monotonic() + _SETTLE
    while workers(road.device[0]):
        if time.monotonic() > deadline:
            return  # then it is part of what is measured
        time.sleep(_POLL)


def _footprint(road: Contender, sessions: int) -> Footprint:
    own = list(road.device)
    if road.name == "Skerry":
        own += workers(road.device[0])
    else:
        # sshd forks two processes for each session's connection; the second is the first's child.
        found = [below for pid in road.device for below in _descendants(pid) if _name(below) == "sshd"]
        if sessions and len(found) < sessions:
            raise BenchError(f"{road.name}: {len(found)} processes for {sessions} sessions")
        own += found
    return Footprint(sum(field(pid, "Rss") for pid in own), sum(field(pid, "Pss") for pid in own))


def workers(agent: int) -> list[int]:
    """Return the pids of an agent's own worker processes."""
    return [pid for pid in _descendants(agent) if b"edge_agent" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _descendants(pid: int) -> list[int]:
    below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return below + [further for child in below for further in _descendants(child)]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def field(pid: int, name: str) -> float:
    """Return one field of the kernel's sum over a process's mappings, in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / _KIB
    raise BenchError(f"the kernel tells no {name} of process {pid}; user {os.getuid()} may not read it")
