"""Sessions of two minutes, as people have them: real programs on a device's terminal, and somebody who types.

The sessions that the dictionary was trained on hold a pager and `ip` as well, on other texts, and nothing else of this.
"""

from __future__ import annotations

import random
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pexpect

from benchmarks.contenders import Contender
from benchmarks.program import PATIENCE, ROOT, BenchError, surroundings

_SIZE = (36, 110)
_DASHBOARD = """
import curses, random, time

def run(screen):
    chance, started = random.Random(7), time.monotonic()
    curses.curs_set(0)
    for number in range(1, 5):
        curses.init_pair(number, number, curses.COLOR_BLACK)
    places, things = ("bow", "stern", "engine", "mast"), ("oil", "heat", "wind", "fuel")
    names = [f"{place} {thing}" for place in places for thing in things]
    levels = [chance.uniform(20, 80) for _ in names]
    while True:
        screen.addstr(0, 0, f"MV Gannet  up {time.monotonic() - started:6.1f} s", curses.A_REVERSE)
        for row, name in enumerate(names):
            levels[row] = min(99.0, max(1.0, levels[row] + chance.gauss(0, 1.5)))
            filled = int(levels[row] / 2)
            colour = curses.color_pair(2 if levels[row] < 70 else 3 if levels[row] < 85 else 1)
            screen.addstr(row + 2, 0, f"{name:<14}{levels[row]:6.2f} ")
            screen.addstr("#" * filled, colour)
            screen.addstr("." * (50 - filled))
        screen.refresh()
        time.sleep(1)

curses.wrapper(run)
"""
_DEBUGGED = """
def tide(hours):
    heights = []
    for hour in range(hours):
        phase = hour % 12
        height = 3.2 + 0.4 * (phase - 6) ** 2 / 6
        heights.append(round(height, 2))
    return heights

class Berth:
    def __init__(self, name, depth):
        self.name, self.depth = name, depth
        self.ships = {}

    def moor(self, ship, draught):
        if draught > self.depth:
            raise ValueError(f"{ship} draws {draught} m, and {self.name} has {self.depth}")
        self.ships[ship] = draught
        return len(self.ships)

quay = Berth("north quay", 6.5)
for ship, draught in [("Gannet", 4.1), ("Petrel", 3.3), ("Fulmar", 5.9), ("Skua", 7.2)]:
    try:
        quay.moor(ship, draught)
    except ValueError as err:
        print("refused:", err)
print(tide(24))
"""
_QUERIES = (
    ".headers on",
    ".mode column",
    "create table ship(name text, flag text, tons int, built int);",
    "insert into ship values('Gannet','NO',4100,1998),('Petrel','IS',880,2004),('Fulmar','FO',12040,2011);",
    "insert into ship values('Skua','DK',310,1987),('Tern','NO',2950,2015),('Puffin','GB',640,1979);",
    "select * from ship order by tons desc;",
    "select flag, count(*) as ships, sum(tons) as tons from ship group by flag;",
    "with recursive n(x) as (select 1 union all select x+1 from n where x<30) select x, x*x, x*x*x from n;",
    "select name, 2026-built as age from ship where tons > 500 order by age;",
    "selct name from ship;",
    "explain query plan select * from ship where name='Skua';",
    "update ship set tons=tons+15 where flag='NO';",
    "select printf('%-10s %8.1f kt', name, tons/1000.0) as line from ship;",
    "with recursive n(x) as (select 1 union all select x+1 from n where x<200) select group_concat(x, ' ') from n;",
)
_DEBUGGING = (
    "b 20",
    "c",
    "p quay.ships",
    "w",
    "l 1, 20",
    "n",
    "n",
    "s",
    "a",
    "p draught",
    "pp vars(self)",
    "r",
    "c",
    "ll",
)
_PAGING = (
    " ",
    " ",
    "/async\r",
    "n",
    "n",
    " ",
    "b",
    "50g",
    " ",
    "G",
    "b",
    "/def .*start\r",
    "n",
    " ",
    " ",
    "1G",
    " ",
    " ",
)
_TESTS = ("tests/protocol/test_names.py", "tests/protocol/test_addresses.py", "tests/protocol/test_durations.py")
_NETWORK = (
    "ip -s link",
    "ip route show table all | tail -n 20",
    "cat /proc/net/sockstat /proc/net/netstat | cut -c 1-160",
    "ip -br address",
    "for n in 1 2 3 4 5 6; do ip -s -s link show lo; sleep 1; done",
    "cat /proc/net/snmp | cut -c 1-150",
    "ip neigh; ip rule",
    "cat /proc/interrupts | head -n 30",
)


@dataclass
class Typist:
    """Somebody at a terminal, who types as people do."""

    terminal: pexpect.spawn
    chance: random.Random
    until: float

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.until

    def watch(self, seconds: float) -> None:
        """Look at what is printed for a while."""
        end = min(time.monotonic() + seconds, self.until)
        while (left := end - time.monotonic()) > 0:
            with suppress(pexpect.TIMEOUT):
                self.terminal.read_nonblocking(65536, left)

    def type(self, text: str, *, end: str = "\r") -> None:
        """Type one key after the other, and look at what comes of it."""
        for key in text + end:
            if self.is_over:
                return
            self.terminal.send(key)
            self.watch(self.chance.lognormvariate(-1.9, 0.5))
        self.watch(self.chance.uniform(1, 4))

    def type_all(self, lines: tuple[str, ...], *, end: str = "\r") -> None:
        """Type line after line, from the start again, until the time is up."""
        while True:
            for line in lines:
                if self.is_over:
                    return
                self.type(line, end=end)


@dataclass(frozen=True)
class Kind:
    """One kind of session: what runs on the device, and what the person does."""

    command: Callable[[Path], str]
    work: Callable[[Typist], None]


def _written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def _run_tests(typist: Typist) -> None:
    pytest = f"{sys.executable} -m pytest -v -p no:cacheprovider -p no:xdist -p no:hypothesispytest"
    typist.type_all(tuple(f"{pytest} {path}" for path in _TESTS))


KINDS: Mapping[str, Kind] = {
    "tests": Kind(lambda _: f"cd {ROOT}; exec sh -i", _run_tests),
    "pager": Kind(
        lambda _: f"LESSSECURE=1 exec less {ROOT}/edge_agent/session.py", lambda who: who.type_all(_PAGING, end="")
    ),
    "debugger": Kind(
        lambda folder: f"exec {sys.executable} -m pdb {_written(folder, 'berth.py', _DEBUGGED)}",
        lambda who: who.type_all(_DEBUGGING),
    ),
    "dashboard": Kind(
        lambda folder: f"exec {sys.executable} {_written(folder, 'dashboard.py', _DASHBOARD)}",
        lambda who: who.watch(who.until - time.monotonic()),
    ),
    "database": Kind(lambda _: "exec sqlite3", lambda who: who.type_all(_QUERIES)),
    "network": Kind(lambda _: "exec sh -i", lambda who: who.type_all(_NETWORK)),
}


def hold(road: Contender, folder: Path, seconds: float) -> dict[str, str]:
    """Have one session of each kind at once, `seconds` long each; return their ids by kind. Raises `BenchError`."""
    with ThreadPoolExecutor(len(KINDS)) as people:
        held = {name: people.submit(_hold_one, road, folder, name, seconds) for name in KINDS}
        return {name: one.result() for name, one in held.items()}


def _hold_one(road: Contender, folder: Path, name: str, seconds: float) -> str:
    kind, mark = KINDS[name], folder / f"{name}.session"
    remote = f'echo "$SSH_SESSION_ID" >{mark}; {kind.command(folder)}'
    command = road.ssh(remote, road.force_pty)
    environment = {**surroundings(road.variables), "TERM": "xterm-256color"}
    terminal = pexpect.spawn(command[0], command[1:], env=environment, dimensions=_SIZE, timeout=PATIENCE)
    terminal.delaybeforesend = None
    try:
        with suppress(pexpect.TIMEOUT, pexpect.EOF):
            terminal.expect(r"\S")
        if not mark.exists():
            raise BenchError(f"the session with the {name} did not begin: {terminal.before!r}")
        chance = random.Random(name)  # noqa: S311 - the same every time
        with suppress(pexpect.EOF):
            kind.work(Typist(terminal, chance, time.monotonic() + seconds))
        if not terminal.isalive():
            raise BenchError(f"the session with the {name} ended by itself")
    finally:
        terminal.close(force=True)
    return mark.read_text(encoding="ascii").strip()
