"""Real processes, kept running by a real crew."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from controller.cluster import utc_now
from controller.crew import Crew, Watch
from controller.policy.supervision import Limits
from controller.process import NOTHING_SHARED, Program, lifeline
from tests.harness.running_program import await_pid_end, children_of

ROOT = Path(__file__).parents[2]
PATIENCE = 60
# For roles that are to be found silent; and for those that beat, which a loaded machine may keep from it for a while.
SHORT = Limits(serving=timedelta(seconds=3), starting=timedelta(seconds=PATIENCE))
LONG = Limits(serving=timedelta(seconds=30), starting=timedelta(seconds=PATIENCE))
ROLE = "import signal, time, os, sys; from controller.role import beat, say_ready; "
# Nothing outlives for long a test that was killed.
TURN = "say_ready()\nfor _ in range(3000): beat(); time.sleep(0.2)"


def role(code: str, name: str = "web") -> Program:
    return Program(name, (sys.executable, "-c", ROLE + code), variables=lambda: {"PYTHONPATH": str(ROOT)})


@dataclass
class Port:
    """A crew at work, and what became of it."""

    crew: Crew
    stop: asyncio.Event
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not is_so():
                await self.changed.wait()
                self.changed.clear()

    def pid(self, name: str = "web") -> int | None:
        process = self.crew.of(name)
        return process.pid if process is not None and process.is_ready else None


@asynccontextmanager
async def at_work(
    *programs: Program, limits: Limits = LONG, hung: Callable[[str, timedelta], object] = print
) -> AsyncIterator[Port]:
    stop, changed = asyncio.Event(), asyncio.Event()
    with lifeline() as life:
        watch = Watch(life, NOTHING_SHARED, limits, timedelta(seconds=20), utc_now, hung)
        crew = Crew(programs, watch, stop, changed.set)
        async with asyncio.TaskGroup() as tasks:
            for program in programs:
                tasks.create_task(crew.keep(program, lambda: False))
            try:
                yield Port(crew, stop, changed)
            finally:
                stop.set()


async def test_a_role_that_is_stopped_is_killed_and_begun_anew(caplog: pytest.LogCaptureFixture) -> None:
    async with at_work(role(TURN), limits=Limits(timedelta(seconds=10), timedelta(seconds=PATIENCE))) as port:
        await port.until(port.pid)
        first = port.pid()
        assert first
        os.kill(first, signal.SIGSTOP)
        await port.until(lambda: port.pid() not in {None, first})
    assert re.search(r"web has not answered for \d+ s: it hangs, and is ended", caplog.text)
    assert "web did not end within 5 s: killed" in caplog.text
    assert "web ended (killed by SIGKILL): starting it again in 0 s" in caplog.text


async def test_a_role_whose_loop_is_blocked_is_ended_though_its_process_is_alive(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[tuple[str, bool]] = []

    def note(name: str, silence: timedelta) -> None:
        told.append((name, silence >= SHORT.serving))

    async with at_work(role("say_ready(); beat(); time.sleep(600)"), limits=SHORT, hung=note) as port:
        await port.until(port.pid)
        first = port.pid()
        await port.until(lambda: port.pid() not in {None, first})
        assert port.crew.describe()[0]["hung"] == len(told) >= 1
    assert told[0] == ("web", True)
    assert re.search(r"web has not answered for \d+ s: it hangs, and is ended", caplog.text)
    assert "web ended (killed by SIGTERM)" in caplog.text  # it was asked first


async def test_what_a_hung_role_has_started_goes_with_it() -> None:
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork() and say_ready(); time.sleep(600)"
    async with at_work(role(code), limits=SHORT) as port:
        await port.until(port.pid)
        first = port.pid()
        assert first
        (child,) = children_of(first)
        await port.until(lambda: port.pid() not in {None, first})
        await asyncio.to_thread(await_pid_end, child)


async def test_a_role_that_beats_is_left_alone() -> None:
    async with at_work(role(TURN), role("say_ready(); sys.exit(3)", "api")) as port:
        await port.until(lambda: port.pid("web"))
        first = port.pid("web")
        await port.until(lambda: port.crew.is_ready and port.crew.of("api") is None)
        assert port.crew.summary() == "1 of 2 processes run"
        assert port.pid("web") == first


async def test_a_role_that_has_not_begun_to_serve_is_given_time() -> None:
    slow = "beat(); time.sleep(6); " + TURN  # twice as long as one that serves may be silent
    async with at_work(role(slow), limits=SHORT) as port:
        await port.until(lambda: port.crew.of("web"))
        first = port.crew.of("web")
        assert not port.crew.is_ready
        await port.until(lambda: port.crew.is_ready or port.crew.of("web") is not first)
        assert port.crew.of("web") is first


async def test_a_program_that_is_no_role_says_nothing_and_is_left_alone() -> None:
    broker = Program("broker", (sys.executable, "-c", "import time; time.sleep(600)"), is_role=False)
    async with at_work(broker) as port:
        await port.until(lambda: port.crew.of("broker"))
        assert port.crew.is_ready  # of roles there is none
        (described,) = port.crew.describe()
        assert described == {"name": "broker", "pid": port.crew.of("broker").pid, "ready": False, "hung": 0}  # type: ignore[union-attr]  # it is there
    async with at_work(broker, role(TURN), limits=Limits(timedelta(0), timedelta(0))) as port:
        await port.until(lambda: port.crew.of("broker"))
        described = port.crew.describe()[0]
        for _ in range(2):  # a role beside it is ended at the first look, and so it would be
            await port.until(lambda: port.crew.of("web"))
            await port.until(lambda: port.crew.of("web") is None)
        assert port.crew.describe()[0] == described


def answering(door: Path, heard: Callable[[int], object]) -> Program:
    """Return a program that says its number to whoever dials `door`, and is asked so; `heard` is told each answer."""
    code = (
        "import os, socket, sys\n"
        "path, door = sys.argv[1], socket.socket(socket.AF_UNIX)\n"
        "os.path.exists(path) and os.unlink(path); door.bind(path); door.listen()\n"
        "while True: door.accept()[0].send(str(os.getpid()).encode())"
    )

    async def ask() -> bool:
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_unix_connection(door)
                try:
                    said = await reader.read(20)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        heard(int(said))
        return True

    command = (sys.executable, "-c", code, str(door))
    return Program("broker", command, is_role=False, last_signal=signal.SIGKILL, ask=ask)


async def test_a_program_that_is_asked_and_answers_no_more_is_killed_and_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(starting=timedelta(seconds=PATIENCE), asked=timedelta(seconds=15))
    answered: asyncio.Queue[int] = asyncio.Queue()
    told: list[str] = []
    program = answering(tmp_path / "door", answered.put_nowait)
    async with at_work(program, limits=limits, hung=lambda name, _: told.append(name)), asyncio.timeout(PATIENCE):
        first = await answered.get()
        os.kill(first, signal.SIGSTOP)
        while await answered.get() == first:
            pass
    assert set(told) == {"broker"}
    assert re.search(r"broker has not answered for \d+ s: it hangs, and is ended", caplog.text)
    assert "broker ended (killed by SIGKILL): starting it again in 0 s" in caplog.text


async def test_a_program_that_falls_is_described_as_down_until_it_is_begun_again() -> None:
    async with at_work(role("sys.exit(3)")) as port:
        await port.until(lambda: port.crew.of("web"))
        await port.until(lambda: port.crew.of("web") is None)
        assert port.crew.describe() == [{"name": "web", "pid": None, "ready": False, "hung": 0}]
        assert port.crew.summary() == "0 of 1 processes run"
        assert not port.crew.is_ready
