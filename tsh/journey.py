"""What `tsh ssh` does once it knows where to: out to the proxy, on to each node, and home with an exit status."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine

import asyncssh

from protocol.ssh.caller import describe_loss
from tsh.client import FAILED, Client
from tsh.error import TshError
from tsh.forward import Forward
from tsh.plan import Journey, Stop
from tsh.session import run_session


async def travel(client: Client, journey: Journey) -> int:
    """Visit every stop and return the first exit status that is not 0. Raises `TshError`."""
    if journey.direct:
        (stop,) = journey.stops
        async with client.direct(stop.host, journey.login, journey.direct, journey.key_agent) as inner:
            return await _stay(inner, stop, journey)
    first = 0
    async with client.proxy() as outer:
        for stop in journey.stops:
            if len(journey.stops) > 1:
                sys.stdout.write(f"Running command on {stop.name}:\n")
                sys.stdout.flush()
            try:
                status = await _visit(client, outer, stop, journey)
            except TshError as err:
                if len(journey.stops) == 1:
                    raise
                sys.stderr.write(f"ERROR: {err}\n")
                status = err.status
            first = first or status
    return first


async def _visit(client: Client, outer: asyncssh.SSHClientConnection, stop: Stop, journey: Journey) -> int:
    async with client.node(outer, stop.host, journey.port, journey.login, stop.name, journey.key_agent) as inner:
        return await _stay(inner, stop, journey)


async def _stay(inner: asyncssh.SSHClientConnection, stop: Stop, journey: Journey) -> int:
    for forward in journey.forwards:
        await _listen(inner, forward)
    if journey.session:
        return await run_session(inner, stop.name, journey)
    await inner.wait_closed()
    raise TshError(f"Connection to {stop.name} lost: {describe_loss(None)}", FAILED)


async def _listen(inner: asyncssh.SSHClientConnection, forward: Forward) -> None:
    try:
        await inner.forward_local_port(forward.listen_host, forward.listen_port, forward.host, forward.port)
    except OSError as err:
        raise TshError(
            f"cannot listen on {forward.listen_host or '*'} port {forward.listen_port}: {err.strerror or err}", FAILED
        ) from err


def run_to_end(work: Coroutine[None, None, int]) -> int:
    """Run `work` in a loop of its own; a signal that ends the program cancels it, so that everything is put back."""
    ended_by = 0

    async def watched() -> int:
        nonlocal ended_by
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def end(number: int) -> None:
            nonlocal ended_by
            ended_by = number
            if task:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, end, number)
        return await work

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        return 128 + ended_by if ended_by else FAILED
