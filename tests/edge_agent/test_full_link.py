"""What a node does while nobody takes what it sends: a client that stops reading, and has set no bounds itself."""

from __future__ import annotations

import asyncio
import os
import pwd
from pathlib import Path

import asyncssh
import pytest

from tests.harness.inner_door import inner_client
from tests.harness.road import OWN
from tests.harness.simulated_controller import SimulatedController

pytestmark = pytest.mark.system
MIB = 1024 * 1024
# More than all the sockets on the way hold.
MUCH = 48 * MIB
WINDOW = 2**31 - 1


async def test_a_forwarding_waits(own_controller: SimulatedController) -> None:
    poured = asyncio.Event()

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _piece in range(MUCH // MIB):
            writer.write(bytes(MIB))
            await writer.drain()
        poured.set()
        writer.close()

    source = await asyncio.start_server(pour, "127.0.0.1", 0)
    port = source.sockets[0].getsockname()[1]
    person = own_controller.person("alice", (OWN,))
    async with source, inner_client(own_controller, person, OWN) as connection:
        reader, _ = await connection.open_connection("127.0.0.1", port, encoding=None, window=WINDOW)
        first = await reader.read(MIB)
        stop_reading(connection)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(poured.wait(), 1.0)
        read_on(connection)
        async with asyncio.timeout(30):
            assert len(first) + len(await reader.read()) == MUCH


async def test_a_session_that_begins_then_waits_from_its_start(
    own_controller: SimulatedController, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = asyncssh.SSHClientChannel._make_request
    full = asyncio.Event()

    async def ask_late(channel: asyncssh.SSHClientChannel[bytes], request: bytes, *arguments: bytes) -> bool:
        await full.wait()
        return bool(await ask(channel, request, *arguments))

    started, done = (Path(pwd.getpwnam(OWN).pw_dir, name) for name in ("started", "done"))
    command = f"touch {started}; head -c {MUCH} /dev/zero; touch {done}"

    async def begin() -> asyncssh.SSHClientProcess[bytes]:
        return await connection.create_process(command, encoding=None, window=WINDOW)

    async with inner_client(own_controller, own_controller.person("alice", (OWN,)), OWN) as connection:
        flood = await connection.create_process("exec cat /dev/zero", encoding=None, window=WINDOW)
        await flood.stdout.readexactly(MIB)
        monkeypatch.setattr(asyncssh.SSHClientChannel, "_make_request", ask_late)
        async with asyncio.timeout(40), asyncio.TaskGroup() as group:
            late = group.create_task(begin())
            await opened(connection, 2)
            stop_reading(connection)
            await asyncio.sleep(0.5)  # in which the link fills up
            full.set()
            await appears(started)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(appears(done), 1.0)
            flood.close()
            read_on(connection)
        assert len((await late.result().communicate())[0] or b"") == MUCH
        await appears(done)
    started.unlink()
    done.unlink()


def stop_reading(connection: asyncssh.SSHClientConnection) -> None:
    assert connection._transport
    connection._transport.pause_reading()


def read_on(connection: asyncssh.SSHClientConnection) -> None:
    assert connection._transport
    connection._transport.resume_reading()


async def opened(connection: asyncssh.SSHClientConnection, count: int) -> None:
    while sum(channel._send_state == "open" for channel in connection._channels.values()) < count:  # noqa: ASYNC110 - the library sets no event
        await asyncio.sleep(0.02)


async def appears(path: Path) -> None:
    while not os.path.exists(path):  # noqa: ASYNC110, ASYNC240, PTH110 - another process makes it; it is a look at a local disk
        await asyncio.sleep(0.02)
