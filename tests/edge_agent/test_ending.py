"""How a program on a terminal ends, over real SSH: what is told is what it said, whatever it closed before."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.harness.company import PATIENCE, Company, Guest, company
from tests.harness.simulated_controller import SimulatedController

# It closes its terminal, as `cat` does before it exits, and waits there until it is woken.
_CLOSED = "stty -echo; echo ready $$.; exec <&- >&- 2>&-; kill -STOP $$; "
_REOPENED = _CLOSED + "exec </dev/tty >/dev/tty 2>&1; echo back; read word; exit $word"


@pytest.fixture
async def node(controller: SimulatedController) -> AsyncIterator[Company]:
    async with company(controller) as found:
        yield found


async def _has_closed(guest: Guest) -> int:
    """Wait until the program has closed its terminal and stopped, and until the node saw it. Return its pid."""
    end = await guest.sees(b".")
    pid = int(bytes(guest.seen[:end]).split(b"ready ")[1].rstrip(b"."))
    async with asyncio.timeout(PATIENCE):
        # The loop hears of the terminal no later than of this, as it was closed before.
        await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return pid


def _wake(pid: int) -> None:
    with suppress(ProcessLookupError):  # then how it ended says so
        os.kill(pid, signal.SIGCONT)


async def test_a_program_that_closes_its_terminal_before_it_exits_says_itself_how_it_ends(node: Company) -> None:
    async with node.began(command=_CLOSED + "exit 7") as alice:
        _wake(await _has_closed(alice))
        await alice.over()
        assert alice.status == 7
        assert (await node.event("T2004I"))["exitCode"] == 7


async def test_a_program_that_closed_its_terminal_may_open_it_again(node: Company) -> None:
    async with node.began(command=_REOPENED) as alice:
        _wake(await _has_closed(alice))
        await alice.sees(b"back")
        alice.type(b"7\r")
        await alice.over()
        assert alice.status == 7


async def test_a_program_that_closed_its_terminal_is_hung_up_on_when_the_last_one_leaves(node: Company) -> None:
    async with node.began(command=_CLOSED + "exec sleep 600") as alice:
        pid = await _has_closed(alice)
        alice.channel.close()
        _wake(pid)
        assert (await node.event("T2004I"))["exitSignal"] == "HUP"
