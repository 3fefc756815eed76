"""The processes that a supervisor keeps running: started, listened to, started again when they fall or fall silent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from controller.policy.supervision import (
    ASK_AGAIN,
    HUNG_PATIENCE,
    PULSE,
    Limits,
    Restarts,
    Silence,
    decide_restart,
    listen,
)
from controller.process import Process, Program

LOG = logging.getLogger("CONTROLLER")


@dataclass(frozen=True, slots=True)
class Watch:
    """How a crew is kept.

    Attributes:
        life: the pipe that every role holds.
        shared: the descriptors that every role is handed, by variable.
        limits: for how long a role may be silent.
        drain: how long a process may take to end when all do.
        clock: the time, UTC.
        hung: told of each process that was ended because it said nothing, and for how long it had not.
    """

    life: int
    shared: Mapping[str, int]
    limits: Limits
    drain: timedelta
    clock: Callable[[], datetime]
    hung: Callable[[str, timedelta], object] = lambda _name, _silence: None


class Crew:
    """What is to run, and what does.

    Args:
        programs: all of it.
        watch: how it is kept.
        stop: set when it is time to end.
        changed: told when a process has begun, is ready, or has ended.
    """

    def __init__(
        self, programs: Iterable[Program], watch: Watch, stop: asyncio.Event, changed: Callable[[], None]
    ) -> None:
        self._programs = {program.name: program for program in programs}
        self._watch = watch
        self._stop = stop
        self._changed = changed
        self._running: dict[str, Process] = {}
        self._were_ready: set[str] = set()
        self._hung: dict[str, int] = {}

    @property
    def programs(self) -> Iterable[Program]:
        """What is to run."""
        return self._programs.values()

    @property
    def is_ready(self) -> bool:
        """Whether every role has served at least once."""
        return self._were_ready >= {program.name for program in self.programs if program.is_role}

    def of(self, name: str) -> Process | None:
        """Return the process of that name, while it runs."""
        return self._running.get(name)

    def summary(self) -> str:
        """Return how many of the processes run, in words: of a role, that it serves."""
        up = [name for name, process in self._running.items() if process.is_ready or not self._programs[name].is_role]
        return f"{len(up)} of {len(self._programs)} processes run"

    def describe(self) -> list[dict[str, Any]]:
        """Return of each process name, pid (None: down), whether it is a role that serves, and how often it hung."""
        described = []
        for name in self._programs:
            process = self._running.get(name)
            pid, is_ready = (None, False) if process is None else (process.pid, process.is_ready)
            described.append({"name": name, "pid": pid, "ready": is_ready, "hung": self._hung.get(name, 0)})
        return described

    async def keep(self, program: Program, took_down: Callable[[], bool]) -> None:
        """Run `program`, again and again, until it is time to stop.

        `took_down` tells, once, whether somebody ended it on purpose: then it did not fall.
        """
        restarts = Restarts(self._watch.clock())
        while not self._stop.is_set():
            ending = await self._run_once(program)
            if self._stop.is_set():
                return
            if took_down():
                continue
            delay, falls = decide_restart(restarts, self._watch.clock())
            LOG.error("%s ended (%s): starting it again in %d s", program.name, ending, delay.total_seconds())
            with suppress(TimeoutError):
                async with asyncio.timeout(delay.total_seconds()):
                    await self._stop.wait()
            restarts = Restarts(self._watch.clock(), falls)

    async def _run_once(self, program: Program) -> str:
        try:
            process = await Process.start(program, self._watch.life, self._watch.shared)
        except OSError as err:
            return f"it cannot be started: {err.strerror or err}"
        self._running[program.name] = process
        self._changed()
        try:
            return await self._see_out(program, process)
        finally:
            del self._running[program.name]
            self._changed()

    async def _see_out(self, program: Program, process: Process) -> str:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(process.relay_log())
            beside = [tasks.create_task(self._note_ready(program, process)), tasks.create_task(self._stop.wait())]
            if program.is_role:
                beside.append(tasks.create_task(self._heed(program, process, process.take_pulses)))
            elif program.ask is not None:
                answers = _Answers(program.ask)
                beside += [
                    tasks.create_task(answers.ask_on()),
                    tasks.create_task(self._heed(program, process, answers.take)),
                ]
            ended = tasks.create_task(process.wait())
            await asyncio.wait((beside[1], ended), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await process.end(self._watch.drain)
            for task in beside:
                task.cancel()
        return ended.result()

    async def _note_ready(self, program: Program, process: Process) -> bool:
        if await process.wait_ready():
            self._were_ready.add(program.name)
            self._changed()
        return process.is_ready

    async def _heed(self, program: Program, process: Process, is_heard: Callable[[], bool]) -> bool:
        """End a program that says no more that its loop turns: stopped, blocked or spinning, it serves nobody.

        `is_heard` tells whether it has said so since the last call.
        """
        silence, is_ready = Silence(time.monotonic()), False
        while silence.lasted < self._watch.limits.of(is_ready=is_ready, is_asked=not program.is_role):
            await asyncio.sleep(PULSE.total_seconds())
            now_heard = is_heard()
            is_ready = process.is_ready or (not program.is_role and (is_ready or now_heard))
            silence = listen(silence, time.monotonic(), is_heard=now_heard)
        if not self._stop.is_set():
            seconds = silence.lasted.total_seconds()
            LOG.error("%s has not answered for %d s: it hangs, and is ended", program.name, seconds)
            self._hung[program.name] = self._hung.get(program.name, 0) + 1
            self._watch.hung(program.name, silence.lasted)
            await process.end(HUNG_PATIENCE)
        return False


class _Answers:
    """What a program says that is asked, until somebody takes it."""

    def __init__(self, ask: Callable[[], Awaitable[bool]]) -> None:
        self._ask = ask
        self._has_answered = False

    async def ask_on(self) -> bool:
        """Ask, again and again, until cancelled."""
        while True:
            self._has_answered = await self._ask() or self._has_answered
            await asyncio.sleep(ASK_AGAIN.total_seconds())

    def take(self) -> bool:
        """Tell whether it has answered since the last call."""
        answer, self._has_answered = self._has_answered, False
        return answer
