from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from edge_agent.side_thread import SideThread
from tests.harness.road import ROOT

PATIENCE = 20.0


@pytest.fixture
def no_more_threads() -> Iterator[None]:
    """Have the kernel refuse to make one: with a stack larger than the address space."""
    threading.stack_size(1 << 47)
    yield
    threading.stack_size(0)


async def test_what_is_submitted_is_done_one_after_the_other_in_one_thread() -> None:
    thread = SideThread("side")
    done: list[tuple[int, int]] = []

    def note(number: int) -> None:
        done.append((number, threading.get_ident()))

    await asyncio.gather(*[thread.submit(partial(note, number)) for number in range(9)])
    thread.close()
    assert [number for number, _ in done] == list(range(9))
    assert {ident for _, ident in done} != {threading.get_ident()}
    assert len({ident for _, ident in done}) == 1


async def test_what_goes_wrong_there_is_told_here_and_the_thread_goes_on() -> None:
    thread = SideThread("side")
    with pytest.raises(ZeroDivisionError):
        await thread.submit(lambda: 1 // 0)
    assert await thread.submit(lambda: 7) == 7
    thread.close()


async def test_how_long_it_has_been_at_one_thing_can_be_asked() -> None:
    thread, begun, stuck = SideThread("side"), threading.Event(), threading.Event()
    assert thread.busy_for() == 0.0

    def work() -> None:
        begun.set()
        stuck.wait(PATIENCE)

    future = thread.submit(work)
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    first = thread.busy_for()
    assert thread.busy_for() > first > 0.0
    stuck.set()
    await future
    thread.close()
    assert thread.busy_for() == 0.0


async def test_after_its_end_another_begins() -> None:
    thread = SideThread("side")
    one = await thread.submit(threading.current_thread)
    thread.close()
    await asyncio.to_thread(one.join, PATIENCE)
    assert not one.is_alive()
    assert await thread.submit(threading.current_thread) is not one
    thread.close()


@pytest.mark.usefixtures("no_more_threads")
async def test_a_thread_that_cannot_be_started_is_an_error_of_the_one_thing_and_the_next_tries_again() -> None:
    thread = SideThread("side")
    with pytest.raises(OSError, match="cannot start another thread"):
        await thread.submit(lambda: 7)
    threading.stack_size(0)
    assert await thread.submit(lambda: 8) == 8
    thread.close()


def test_a_process_ends_though_the_thread_is_stuck() -> None:
    program = (
        "import asyncio, threading\n"
        "from edge_agent.side_thread import SideThread\n"
        "async def run():\n"
        "    begun = threading.Event()\n"
        "    SideThread('side').submit(lambda: (begun.set(), threading.Event().wait()))\n"
        "    begun.wait(20)\n"
        "asyncio.run(run())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=PATIENCE, check=False)
    assert ended.returncode == 0
