from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from edge_agent.child import Children
from edge_agent.fault import UnreachableError
from edge_agent.worker import Worker
from tests.edge_agent.test_errand import HTTPS, ORDERS, PATIENCE


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    watch = Children(asyncio.get_running_loop())
    yield watch
    watch.close()


@pytest.fixture
async def worker(children: Children) -> AsyncIterator[Worker]:
    made = Worker(HTTPS, children)
    yield made
    made.close()


async def test_one_process_carries_out_orders_and_another_where_it_has_ended(worker: Worker) -> None:
    pids: list[int] = []
    for signal_first in (0, 0, signal.SIGKILL):
        if signal_first:
            os.kill(pids[-1], signal_first)
        assert (await worker.carry_out(ORDERS[HTTPS], PATIENCE))["fault"] == "unreachable"
        assert worker._process
        pids.append(worker._process.pid)
    assert pids[0] == pids[1] != pids[2]


async def test_a_process_that_does_not_answer_in_time_is_ended(worker: Worker) -> None:
    await worker.carry_out(ORDERS[HTTPS], PATIENCE)
    process = worker._process
    assert process
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(UnreachableError, match="no answer in time"):
        await worker.carry_out(ORDERS[HTTPS], 0.05)
    await reaped(process.pid)


async def test_the_loop_does_not_wait_for_a_process_that_is_ended(worker: Worker) -> None:
    await worker.carry_out(ORDERS[HTTPS], PATIENCE)
    process = worker._process
    assert process
    worker.close()
    assert process.returncode is None
    await reaped(process.pid)
    assert process.returncode == -signal.SIGKILL


async def reaped(pid: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC110, ASYNC240, PTH110 - nothing is told to whoever looks on
            await asyncio.sleep(0.01)
