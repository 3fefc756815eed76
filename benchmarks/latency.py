"""How long a person waits for the shortest command, from typing it to the prompt: `tsh ssh NODE true`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders import Contender, openssh, skerry
from benchmarks.pair import Goal, Row, take_turns
from benchmarks.program import seconds
from benchmarks.throughput import CIPHER

_A_TURN = 5


def measure(directory: Path, *, turns: int, quick: bool) -> list[Row]:
    """Return the rows: our command against OpenSSH's on both settings. A turn is the best of several runs."""
    runs = 1 if quick else _A_TURN
    with ExitStack() as stack:
        ours = stack.enter_context(skerry(directory / "skerry"))
        same = stack.enter_context(openssh(directory / "same", cipher=CIPHER))
        default = stack.enter_context(openssh(directory / "default"))
        found = take_turns(
            {
                ours.name: lambda: _milliseconds(ours, runs),
                same.name: lambda: _milliseconds(same, runs),
                default.name: lambda: _milliseconds(default, runs),
            },
            turns,
        )
    goal = Goal("ratio", "at most", 0.6)
    return [
        Row("ssh NODE true", "ms", found[ours.name], found[same.name], same.name, goal),
        Row("ssh NODE true", "ms", found[ours.name], found[default.name], default.name),
    ]


def _milliseconds(road: Contender, runs: int) -> float:
    return 1000 * min(seconds(road.ssh("true"), road.variables) for _ in range(runs))
