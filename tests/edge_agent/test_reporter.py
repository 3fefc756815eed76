"""The reporter and its HTTPS worker against the simulated machine API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_agent.child import Children
from edge_agent.clock import Clock
from edge_agent.courier import Address, Courier
from edge_agent.event_queue import EventQueue
from edge_agent.reporter import Reporter
from protocol import events
from protocol.events import Json
from protocol.messages import NodeEvent
from tests.harness.inner_door import joined_identity
from tests.harness.simulated_controller import CLUSTER, SimulatedController


@contextlib.asynccontextmanager
async def reporting(controller: SimulatedController, queue: EventQueue) -> AsyncIterator[Reporter]:
    identity = joined_identity(controller, controller.directory)
    children = Children(asyncio.get_running_loop())
    client = (str(identity.tls_files[0]), str(identity.tls_files[1]))
    address = Address("127.0.0.1", controller.api_port, f"api.{CLUSTER}", (controller.tls_ca.pem,), client)
    clock = Clock(identity.directory)
    courier = Courier(lambda: address, children, span=clock.span)
    reporter = Reporter(identity, queue, courier, clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(reporter.run())
        yield reporter
        reporter.stop()
    courier.close()
    children.close()
    queue.close()


def failure(reporter: Reporter, number: int) -> dict[str, Json]:
    return {
        "success": False,
        "error": f"refusal {number}",
        "addr.remote": "127.0.0.1:1",
        **reporter.node,
    }


async def arrived(controller: SimulatedController, count: int) -> list[Json]:
    async with asyncio.timeout(15):
        await asyncio.to_thread(controller.wait_for, lambda: len(controller.events) >= count, f"{count} events")
    return [event.fields.get("error") or event.fields.get("count") for event in controller.events]


async def test_events_arrive_where_there_is_no_thread_to_be_had(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()  # it takes nothing more
    asyncio.get_running_loop().set_default_executor(threads)
    async with reporting(own_controller, EventQueue(tmp_path)) as reporter, asyncio.timeout(15):
        reporter.report(events.AUTH_FAILED, failure(reporter, 1))
        while not own_controller.events:  # noqa: ASYNC110 - whoever waits for it would need a thread
            await asyncio.sleep(0.02)


async def test_events_arrive_in_order(own_controller: SimulatedController, tmp_path: Path) -> None:
    async with reporting(own_controller, EventQueue(tmp_path)) as reporter:
        for number in range(450):
            reporter.report(events.AUTH_FAILED, failure(reporter, number))
        found = await arrived(own_controller, 450)
    assert found == [f"refusal {number}" for number in range(450)]
    assert [event.sequence for event in own_controller.events] == list(range(1, 451))
    assert len(EventQueue(tmp_path)) == 0


async def test_an_event_with_wrong_fields_is_logged_and_not_sent(
    own_controller: SimulatedController, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with reporting(own_controller, EventQueue(tmp_path)) as reporter:
        reporter.report(events.AUTH_FAILED, {"success": False})
        reporter.report(events.AUTH_FAILED, failure(reporter, 1))
        assert await arrived(own_controller, 1) == ["refusal 1"]
    assert "an event was not reported: auth (T3007W) lacks" in caplog.text


async def test_one_that_the_controller_will_not_have_does_not_hold_up_the_others(
    own_controller: SimulatedController, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = EventQueue(tmp_path)
    queue.append(NodeEvent(queue.next_sequence(), str(uuid.uuid4()), "ZZ999", "2026-11-22T10:00:00.000Z", {}))
    caplog.set_level(logging.ERROR)
    async with reporting(own_controller, queue) as reporter:
        reporter.report(events.AUTH_FAILED, failure(reporter, 1))
        assert await arrived(own_controller, 2) == ["refusal 1", 1]
    assert "the controller will not take event ZZ999" in caplog.text


async def test_events_that_gave_way_are_reported_as_lost(own_controller: SimulatedController, tmp_path: Path) -> None:
    async with reporting(own_controller, EventQueue(tmp_path, most=5)) as reporter:
        for number in range(20):
            reporter.report(events.AUTH_FAILED, failure(reporter, number))
        await asyncio.to_thread(own_controller.wait_for, lambda: accounted(own_controller) == 20, "all 20")


async def test_a_loss_costs_no_more_events_however_often_sending_fails(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    own_controller.api_is_down = True
    queue = EventQueue(tmp_path, most=5)
    async with reporting(own_controller, queue) as reporter:
        for number in range(6):
            reporter.report(events.AUTH_FAILED, failure(reporter, number))
        await asyncio.to_thread(own_controller.wait_for, lambda: len(own_controller.requests) >= 3, "three tries")
        assert (len(queue), queue.lost) == (5, 1)
        own_controller.api_is_down = False
        assert await arrived(own_controller, 6) == [*(f"refusal {number}" for number in range(1, 6)), 1]
    assert queue.lost == 0


async def test_the_controllers_wish_to_wait_is_honoured(own_controller: SimulatedController, tmp_path: Path) -> None:
    own_controller.api_is_down = True  # it says: Retry-After: 1
    async with reporting(own_controller, EventQueue(tmp_path)) as reporter:
        reporter.report(events.AUTH_FAILED, failure(reporter, 1))
        await asyncio.to_thread(own_controller.wait_for, lambda: own_controller.requests, "a try")
        began = time.monotonic()
        await asyncio.to_thread(own_controller.wait_for, lambda: len(own_controller.requests) > 1, "another try")
        assert time.monotonic() - began >= 1.0


async def test_nothing_in_the_directory_it_runs_in_is_run(
    own_controller: SimulatedController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("import os; os.mkdir('sprung')\n")
    monkeypatch.chdir(tmp_path)
    async with reporting(own_controller, EventQueue(tmp_path)) as reporter:
        reporter.report(events.AUTH_FAILED, failure(reporter, 1))
        assert await arrived(own_controller, 1) == ["refusal 1"]
    assert "sprung" not in os.listdir()  # noqa: PTH208 - it says what pathlib would


def accounted(controller: SimulatedController) -> int:
    """Return how many events have arrived or been reported as lost."""
    lost = [event.fields["count"] for event in controller.events if event.code == "SK012W"]
    return sum(int(str(count)) for count in lost) + len(controller.events) - len(lost)


async def test_a_counter_that_the_disk_lost_is_mended(own_controller: SimulatedController, tmp_path: Path) -> None:
    uid = str(uuid.uuid4())
    own_controller.events.append(NodeEvent(900, uid, "T3007W", "2026-11-22T10:00:00.000Z", {"error": "earlier"}))
    async with reporting(own_controller, EventQueue(tmp_path)) as reporter:
        for number in range(1000):
            reporter.report(events.AUTH_FAILED, failure(reporter, number))
        assert await arrived(own_controller, 1001) == ["earlier", *(f"refusal {number}" for number in range(1000))]
    assert own_controller.events[1].sequence == 901


async def test_a_controller_that_lost_its_count_costs_no_event(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    uid = str(uuid.uuid4())
    own_controller.events.append(NodeEvent(2_000_000, uid, "T3007W", "2026-11-22T10:00:00.000Z", {"error": "earlier"}))
    async with reporting(own_controller, EventQueue(tmp_path)) as reporter:
        reporter.report(events.AUTH_FAILED, failure(reporter, 1))
        await arrived(own_controller, 2)
        own_controller.events.clear()
        reporter.report(events.AUTH_FAILED, failure(reporter, 2))
        assert await arrived(own_controller, 1) == ["refusal 2"]
    assert own_controller.events[0].sequence == 1
