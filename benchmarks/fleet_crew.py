"""The simulated fleet, as the benchmark has it: processes full of agents, which are asked how far they are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.fleet_agents import Orders
from benchmarks.program import ROOT, BenchError, surroundings

# More processes than cores only cost memory; fewer agents in each make the collector's rounds short.
_AGENTS_EACH = 1250
_LEAST = 2


class Crew:
    """All agents of a fleet."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    @property
    def pids(self) -> list[int]:
        """The processes that the agents live in."""
        return [process.pid for process in self._processes]

    def ask(self, question: str) -> Counter[str]:
        """Ask every process (``count``, ``meter`` or ``tidy``), and return the sums. Raises `BenchError`."""
        found: Counter[str] = Counter()
        for process in self._processes:  # all are asked before any is listened to
            self._say(process, question)
        for process in self._processes:
            found.update(self._hear(process))
        return found

    def _say(self, process: subprocess.Popen[str], question: str) -> None:
        assert process.stdin
        try:
            process.stdin.write(f"{question}\n")
            process.stdin.flush()
        except OSError as err:
            raise BenchError(f"the simulated agents have ended: {err.strerror}") from None

    def _hear(self, process: subprocess.Popen[str]) -> dict[str, int]:
        assert process.stdout
        answer = process.stdout.readline()
        if not answer:
            raise BenchError("the simulated agents have ended; their log is in agents.log")
        found: dict[str, int] = json.loads(answer)
        return found


@contextmanager
def crew(directory: Path, size: int, web: str, pin: str, token: str) -> Iterator[Crew]:
    """Run `size` agents whose data directories are in `directory`; each joins where it has not."""
    count = max(_LEAST, -(-size // _AGENTS_EACH))
    with ExitStack() as stack:
        log = stack.enter_context((directory / "agents.log").open("ab"))
        processes: list[subprocess.Popen[str]] = []
        for number in range(count):
            first, end = (size * step // count for step in (number, number + 1))
            orders = Orders(web, pin, token, str(directory), first, end - first)
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.fleet_agents", orders.to_text()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=surroundings(),
            )
            stack.callback(_end, process)
            processes.append(process)
        yield Crew(processes)


def _end(process: subprocess.Popen[str]) -> None:
    """Have the agents say goodbye, and wait for that."""
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.close()
        process.wait(30)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()
    process.stdout.close()
