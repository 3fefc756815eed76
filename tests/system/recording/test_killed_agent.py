"""The agent is killed while a program prints: what is on record reaches to the last two seconds, and verifies."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.tctl.error import INTERRUPTED
from protocol import limits
from protocol.recording import verdict
from tests.harness.real_cluster import LOGIN, Agent, Person, RealCluster
from tests.harness.recordings import Archive, await_empty
from tests.harness.running_program import BIN, PATIENCE
from tests.harness.stalls import Stalls

pytestmark = pytest.mark.system
KILLS = 50
DEVICES = 2
_COUNT = """
import itertools, os, time
print("session", os.environ["SSH_SESSION_ID"], flush=True)
for number in itertools.count():
    print("line", number, flush=True)
    time.sleep(0.005)
"""


@dataclass(frozen=True)
class Cut:
    """One kill, and what the person had seen: when each line arrived, by this machine's monotonic clock."""

    session: str
    killed: float
    lines: list[float]

    def seen_before(self, instant: float) -> int:
        """Return how many of the lines had arrived by then."""
        return sum(arrived <= instant for arrived in self.lines)


class Watcher:
    """A person's `tsh` at a program that counts; every line is noted with the time at which it arrived."""

    def __init__(self, person: Person, agent: Agent, program: Path, *options: str) -> None:
        remote = f"exec {sys.executable} '{program}'"
        command = [str(BIN / "tsh"), "ssh", *options, f"{LOGIN}@{agent.name}", remote]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, env=person.environment, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet
        )
        assert self._process.stdout
        self._output = self._process.stdout
        told = re.match(rb"session ([0-9a-f-]{36})", self._output.readline())
        assert told, "the session never began"
        self.session = told[1].decode()
        self.lines: list[float] = []
        self._begun = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._begun.wait(PATIENCE)

    def finish(self) -> None:
        """Wait until the output has ended, and end the program."""
        self._reader.join(PATIENCE)
        self._process.kill()
        self._process.communicate()

    def _read(self) -> None:
        for number, line in enumerate(self._output):
            if line.rstrip() != f"line {number}".encode():  # the last one may be torn
                break
            self.lines.append(time.monotonic())
            self._begun.set()


def kill_during_output(
    cluster: RealCluster, alice: Person, agent: Agent, program: Path, chance: random.Random
) -> list[Cut]:
    """Kill one agent over and over, while a program prints, on pipes and on terminals. In the end it does not run."""
    cuts = []
    for number in range(KILLS // DEVICES):
        if number:
            cluster.restart_agent(agent)
        watcher = Watcher(alice, agent, program, *(["-t"] if number % 2 else []))
        time.sleep(chance.uniform(0, 3.5))  # that it is any instant is what is tried
        killed = time.monotonic()
        agent.program.kill()
        watcher.finish()
        cuts.append(Cut(watcher.session, killed, watcher.lines))
    return cuts


def recorded_lines(output: str) -> int:
    """Return how many whole lines of the program are on record, and see that none is missing before the last."""
    told = output.replace("\r\n", "\n").split("\n")
    assert output == "" or told[0].startswith("session "), output[:200]
    whole = told[1:-1]
    assert whole == [f"line {number}" for number in range(len(whole))]
    assert len(told) == 1 or f"line {len(whole)}".startswith(told[-1])
    return len(whole)


@pytest.mark.timeout(600)
def test_nothing_older_than_two_seconds_is_lost_when_the_agent_is_killed(
    cluster: RealCluster, alice: Person, archive: Archive, chance: random.Random
) -> None:
    program = cluster.folder / "count.py"
    program.write_text(_COUNT, encoding="utf-8")
    agents = [cluster.start_agent(f"edge-{number}") for number in range(1, DEVICES + 1)]
    chances = [random.Random(chance.random()) for _ in agents]  # noqa: S311 - to be repeated
    with Stalls() as stalls, ThreadPoolExecutor(DEVICES) as people:
        work = [
            people.submit(kill_during_output, cluster, alice, agent, program, own)
            for agent, own in zip(agents, chances, strict=True)
        ]
        cuts = [cut for done in work for cut in done.result()]
    for agent in agents:  # by this thread: what another one started would be ended with that thread
        cluster.restart_agent(agent)
    assert len({cut.session for cut in cuts}) == KILLS
    promised = limits.RECORDING_LOSS_MAX.total_seconds()
    missing = []
    for cut in cuts:
        archive.await_state(cut.session, "interrupted")
        found = verdict.examine([archive.data(cut.session)], archive.signer(cut.session))
        assert found.state == "interrupted", found.describe()
        recorded = recorded_lines(archive.contents(cut.session).output())
        # Where the machine gave nobody a turn for a while, that while is not the agent's.
        stalled = stalls.worst(cut.killed - 2 * promised, cut.killed)
        missing.append(cut.seen_before(cut.killed - promised - stalled) - recorded)
    print(f"lines on record beyond what was promised, kill by kill: {[-number for number in missing]}")
    assert max(missing) <= 0, f"lines lost of those seen {promised:.0f} s before each kill: {missing}"
    for agent in agents:
        await_empty(agent)
    for kind in ("session.upload", "recording.interrupted"):
        assert sorted(event["sid"] for event in cluster.events(kind)) == sorted(cut.session for cut in cuts)
    assert not cluster.events("recording.gap", "recording.refused")
    told = cluster.tctl("recordings", "verify", cuts[-1].session, status=INTERRUPTED)
    assert told.stdout.startswith("interrupted: ")
