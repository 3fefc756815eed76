"""What drives a link, with a link that comes and goes as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from edge_agent.link import LinkDriver
from edge_agent.policy.link import DialFailed, DialSucceeded, Event, LinkLost

_PATIENCE = 60.0


class Scripted:
    """A link whose dialling ends as it was told, and which is stopped with the last of it. Nobody waits in between."""

    def __init__(self, outcomes: Sequence[Event]) -> None:
        self._outcomes = list(outcomes)
        self.dialled = 0
        self.driver = LinkDriver("harbour", self._dial, self._serve)
        self.driver.renewed.set()

    async def _dial(self) -> Event:
        self.dialled += 1
        found = self._outcomes.pop(0)
        if isinstance(found, DialFailed):
            self.driver.complain("no route to it")
        if not self._outcomes:
            self.driver.stopped.set()
        return found

    async def _serve(self) -> Event:
        return LinkLost(0.0)

    async def run(self) -> None:
        async with asyncio.timeout(_PATIENCE):
            await self.driver.run()


async def test_what_goes_on_going_wrong_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "skerry.agent")
    link = Scripted([DialFailed(0.0)] * 4)
    await link.run()
    assert link.dialled == 4
    assert caplog.text.count("no route to it") == 1
    assert caplog.text.count("harbour: trying again in") == 1


async def test_it_is_said_again_when_it_had_gone_well_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "skerry.agent")
    await Scripted([DialFailed(0.0), DialSucceeded(), DialFailed(0.0), DialFailed(0.0)]).run()
    assert caplog.text.count("no route to it") == 2


async def test_wait_ends_at_once_where_things_have_changed() -> None:
    link = Scripted([DialFailed(3000.0), DialSucceeded()])
    await link.run()
    assert link.dialled == 2


class Hurried:
    """A link that is hurried on, as often as `hurries` says, whenever it waits or is `dialling`."""

    def __init__(self, outcomes: Sequence[Event], *, dialling: bool = False, serving: bool = False) -> None:
        self._outcomes = list(outcomes)
        self._dialling, self._serving = dialling, serving
        self.driver = LinkDriver("harbour", self._dial, self._serve)
        self.dialled = asyncio.Semaphore(0)

    async def _dial(self) -> Event:
        self.dialled.release()
        if self._dialling:
            self.driver.hurry()
        return self._outcomes.pop(0)

    async def _serve(self) -> Event:
        if self._serving:
            self.driver.hurry()
        return self._outcomes.pop(0)


async def run_until(link: Hurried, times: int) -> None:
    """Run it until it was dialled so often and waits again."""
    async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(link.driver.run())
        for _ in range(times):
            await link.dialled.acquire()
            await asyncio.sleep(0)
            link.driver.hurry()
        await settled()
        link.driver.stopped.set()


async def settled() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_link_that_waits_dials_at_once_when_the_controller_is_heard_of() -> None:
    link = Hurried([DialFailed(refused=True), DialFailed(refused=True), DialSucceeded()])
    await run_until(link, 2)
    assert link.dialled.locked()  # once more, but not again within a minute


async def test_a_link_that_is_dialled_meanwhile_dials_again() -> None:
    link = Hurried([DialFailed(refused=True), DialFailed(refused=True)], dialling=True)
    await run_until(link, 2)
    assert link.dialled.locked()


async def test_a_link_that_stands_is_not_hurried_once_it_is_lost() -> None:
    link = Hurried([DialSucceeded(), LinkLost()], serving=True)
    async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(link.driver.run())
        await link.dialled.acquire()
        link.driver.stopped.set()
    assert not link.driver.renewed.is_set()


async def test_who_asked_to_be_left_alone_is_left_alone() -> None:
    link = Hurried([DialFailed(3000.0)])
    async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(link.driver.run())
        await link.dialled.acquire()
        await settled()
        link.driver.hurry()
        await settled()
        link.driver.stopped.set()
    assert link.dialled.locked()


async def test_that_waits_have_become_long_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "skerry.agent")
    await Scripted([DialFailed(0.0), DialFailed(44.0), DialFailed(45.0), DialFailed(0.0)]).run()
    assert caplog.text.count("no route to it") == 1
    assert caplog.text.count("harbour: trying again in") == 2
    assert caplog.text.count("harbour: trying again in 4") == 1


async def test_wait_and_dialling_end_with_the_link() -> None:
    async def dial() -> Event:
        driver.stopped.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def serve() -> Event:
        raise AssertionError

    driver = LinkDriver("harbour", dial, serve)
    async with asyncio.timeout(_PATIENCE):
        await driver.run()
