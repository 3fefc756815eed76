"""A fleet of simulated agents and one controller on this machine: joining, at rest, and coming back after a crash.

The agents take processor time of the same cores as the controller: all the times here are of both together.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import fleet_crew
from benchmarks.contenders import sign_in
from benchmarks.fleet_controller import Controller, Usage, processor_seconds, wait_until
from benchmarks.fleet_crew import Crew
from benchmarks.pair import Goal, Row
from benchmarks.program import BIN, BenchError, run, surroundings
from controller.fleet import Fleet

_HOUR = 3600.0
_POLL = 0.5
_PATIENCE = 1800.0
_MOST = 0.95
_A_TURN = 5
# What is under way when the last agent is online: first heartbeats, documents, the memory that joining took.
_SETTLE = 5.0
# A megabyte a day.
DAY = Goal("ours", "at most", 1000 / 24)
GIBIBYTE = Goal("ours", "at most", 1024)
BACK = Goal("ours", "at most", 60)


@dataclass(frozen=True, slots=True)
class Size:
    """How large a fleet is, and how it is measured.

    Attributes:
        agents: how many.
        joining: how many of them join at the web door; the rest was enrolled before.
        rest: for how many seconds they are watched at rest.
    """

    agents: int
    joining: int
    rest: float


# Two keepalives of each agent's tunnel, one of the proxy's, and a pulse at least are in the time of rest.
SIZES = (Size(1000, 1000, 300), Size(5000, 500, 300))
QUICK = (Size(100, 20, 5),)


def measure(directory: Path, *, turns: int, quick: bool) -> list[Row]:  # noqa: ARG001 - a turn takes a quarter of an hour
    """Return the rows of every size."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows: list[Row] = []
    for size in QUICK if quick else SIZES:
        rows += Harbour(directory / str(size.agents), size).measure()
    return rows


@dataclass
class Harbour:
    """One fleet and its controller, and what was found out about them."""

    directory: Path
    size: Size
    rows: list[Row] = field(default_factory=list)
    connected: float | None = None  # since when all agents have both connections; None while they have not

    def measure(self) -> list[Row]:
        """Return the rows."""
        print(f"fleet: {self.size.agents} agents", flush=True)
        controller = Controller(self.directory)
        with controller.running():
            empty = controller.usage()
        controller.enrol(self.directory / "agents", range(self.size.agents - self.size.joining))
        with controller.running(), ExitStack() as stack:
            crew, variables = self._begin(controller, stack)
            self._wait_for_all(controller, crew)
            crew.ask("tidy")
            self._at_rest(controller, crew, empty)
            self._listing(controller, variables)
            self._crash(controller, crew)
        return self.rows

    def _note(self, what: str, unit: str, value: float, goal: Goal | None = None) -> None:
        self.rows.append(Row(f"{self.size.agents}: {what}", unit, [value], goal=goal))
        print(f"  {what}: {value:.3g} {unit}", flush=True)

    def _begin(self, controller: Controller, stack: ExitStack) -> tuple[Crew, dict[str, str]]:
        web, pin, token = controller.invite()
        variables = {"SKERRY_HOME": str(self.directory / "tsh")}
        sign_in(controller.tctl, self.directory, variables, (web, pin, "operator"))
        agents = self.directory / "agents"
        agents.mkdir(exist_ok=True)
        return stack.enter_context(fleet_crew.crew(agents, self.size.agents, web, pin, token)), variables

    # --- coming -------------------------------------------------------------------------------------------------------

    def _wait_for_all(self, controller: Controller, crew: Crew) -> None:
        fleet = _watch(controller)
        before = controller.usage()
        begin = time.monotonic()
        wait_until(lambda: crew.ask("count")["joined"] == self.size.agents, "joining", _PATIENCE, _POLL)
        self._note(f"{self.size.joining} join at the web door", "s", time.monotonic() - begin)
        wait_until(lambda: self._online(fleet, crew) == self.size.agents, "being online", _PATIENCE, _POLL)
        self._note("start of the agents to all online", "s", time.monotonic() - begin)
        self._note("busy meanwhile", "s", total(controller.usage().busy) - total(before.busy))

    def _online(self, fleet: Fleet, crew: Crew) -> int:
        """Return how many are online, as the controller sees it and as they see it: the lower of both."""
        count = crew.ask("count")
        own = min(count["tunnels"], count["connected"])
        if own == self.size.agents and self.connected is None:
            self.connected = time.monotonic()
        return min(own, sum(view.status == "online" for view in fleet.all()))

    # --- at rest ------------------------------------------------------------------------------------------------------

    def _at_rest(self, controller: Controller, crew: Crew, empty: Usage) -> None:
        time.sleep(_SETTLE)
        crew.ask("meter")
        before, begin, theirs = controller.usage(), time.monotonic(), _busy(crew)
        time.sleep(self.size.rest)
        after, metered, took = controller.usage(), crew.ask("meter"), time.monotonic() - begin
        if metered["sockets"] != 2 * self.size.agents:
            raise BenchError(f"{metered['sockets']} of {2 * self.size.agents} connections stood for {took:.0f} s")
        self._note_memory(after, empty)
        for role in sorted(after.busy):
            self._note(f"at rest, {role}", "% of a core", 100 * (after.busy[role] - before.busy[role]) / took)
        all_of_it = total(after.busy) - total(before.busy)
        self._note("at rest, controller in all", "% of a core", 100 * all_of_it / took)
        self._note("at rest, the agents in all", "% of a core", 100 * (_busy(crew) - theirs) / took)
        self._note(
            "one agent's traffic at rest", "kB/h", metered["bytes"] / self.size.agents / took * _HOUR / 1000, DAY
        )

    def _note_memory(self, full: Usage, empty: Usage) -> None:
        for role in sorted(full.pss):
            more = (full.pss[role] - empty.pss[role]) * 1024 / self.size.agents
            self._note(f"{role}, PSS", "MiB", full.pss[role])
            self._note(f"{role}, PSS a node", "KiB", more)
        self._note("controller in all, PSS", "MiB", total(full.pss), GIBIBYTE)
        self._note("controller in all, RSS", "MiB", total(full.rss))
        self._note("controller empty, PSS", "MiB", total(empty.pss))
        per_node = (total(full.pss) - total(empty.pss)) * 1024 / self.size.agents
        self._note("controller in all, PSS a node", "KiB", per_node)

    # --- tsh ls -------------------------------------------------------------------------------------------------------

    def _listing(self, controller: Controller, variables: dict[str, str]) -> None:
        lines = run([str(BIN / "tsh"), "ls"], variables=variables).splitlines()
        if sum("Tunnel" in line for line in lines) != self.size.agents:
            raise BenchError(f"`tsh ls` printed {len(lines)} lines for {self.size.agents} nodes")
        before = controller.usage().busy
        turns = [_time([str(BIN / "tsh"), "ls"], variables) for _ in range(_A_TURN)]
        served = total(controller.usage().busy) - total(before)
        self._note("tsh ls", "ms", 1000 * min(wall for wall, _ in turns))
        self._note("tsh ls, its processor time", "ms", 1000 * min(busy for _, busy in turns))
        self._note("tsh ls, the controller's, with all else it does", "ms", 1000 * served / _A_TURN)

    # --- a crash ------------------------------------------------------------------------------------------------------

    def _crash(self, controller: Controller, crew: Crew) -> None:
        begin, theirs, self.connected = time.monotonic(), _busy(crew), None
        controller.kill()
        self._note("kill -9 to the last process gone", "s", time.monotonic() - begin)
        controller.start()
        self._note("kill -9 to the new controller ready", "s", time.monotonic() - begin)
        fleet = _watch(controller)
        most = self.size.agents * _MOST
        wait_until(lambda: self._online(fleet, crew) >= most, "most coming back", _PATIENCE, _POLL)
        self._note("kill -9 to 95 % back", "s", time.monotonic() - begin)
        wait_until(lambda: self._online(fleet, crew) == self.size.agents, "all coming back", _PATIENCE, _POLL)
        self._note("kill -9 to all back", "s", time.monotonic() - begin, BACK)
        if self.connected is not None:
            self._note("kill -9 to all connected, by their own account", "s", self.connected - begin)
        busy = controller.usage().busy
        for role in sorted(busy):
            self._note(f"busy until all were back, {role}", "s", busy[role])
        self._note("busy until all were back, the agents", "s", _busy(crew) - theirs)


def _watch(controller: Controller) -> Fleet:
    """Return the controller's view of its fleet, kept up to date as the web door keeps it."""
    cluster = controller.open()
    cluster.mirror.follow()
    return cluster.fleet


def total(figures: Counter[str]) -> float:
    """Return the sum over all roles."""
    return float(sum(figures.values()))


def _busy(crew: Crew) -> float:
    return sum(processor_seconds(pid) for pid in crew.pids)


def _time(command: list[str], variables: dict[str, str]) -> tuple[float, float]:
    """Run a program; return the seconds that it took, and the processor time. Raises `BenchError`."""
    begin = time.perf_counter()
    with subprocess.Popen(command, env=surroundings(variables), stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"`{' '.join(command)}` ended with status {process.returncode}")
    return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime
