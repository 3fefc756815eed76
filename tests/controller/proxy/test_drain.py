from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import asyncssh
import pytest

from tests.controller.proxy.lab import PATIENCE, eventually, exchange, open_to, running_proxy


async def test_sessions_may_end_before_a_stopping_proxy_goes(tmp_path: Path) -> None:
    async with running_proxy(tmp_path, drain="10m") as lab:
        node = await lab.node()
        streams = await open_to(await lab.person_connected())
        assert await exchange(streams, b"before") == b"before"
        await eventually(lambda: lab.tunnel_state(node.reply.node_id) == "up")
        lab.stop.set()
        with pytest.raises(OSError, match=r"refused|reset|Connect call failed"):  # nobody new
            await wait_for_a_closed_door(lab.client_port)
        assert await exchange(streams, b"while stopping") == b"while stopping"
        assert not lab.ended.is_set()
        streams[1].close()
        async with asyncio.timeout(PATIENCE):  # which is much less than it would wait for the session
            await lab.ended.wait()
        assert lab.tunnel_state(node.reply.node_id) == "down"


async def wait_for_a_closed_door(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await asyncio.sleep(0.01)


async def test_when_the_time_is_over_everyone_is_cut(tmp_path: Path) -> None:
    async with running_proxy(tmp_path, drain="1s") as lab:
        node = await lab.node()
        person = await lab.person_connected()
        reader, writer = await open_to(person)
        assert await exchange((reader, writer), b"x") == b"x"
        with socket.create_connection(("127.0.0.1", lab.client_port)) as half_open:
            half_open.setblocking(False)
            loop = asyncio.get_running_loop()
            assert (await loop.sock_recv(half_open, 100)).startswith(b"SSH-2.0-")
            lab.stop.set()
            began = time.monotonic()
            async with asyncio.timeout(PATIENCE):
                await lab.ended.wait()
                assert time.monotonic() - began > 0.9
                assert await reader.read() == b""
                await person.wait_closed()
                await node.connection.wait_closed()
                while await loop.sock_recv(half_open, 4096):
                    pass


async def test_devices_and_people_are_told_when_to_come_again(tmp_path: Path) -> None:
    reasons: list[str] = []

    class Listening(asyncssh.SSHClient):
        def connection_lost(self, exc: Exception | None) -> None:
            reasons.append(str(exc))

    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol()
        await lab.connect(credential.client_keys(), lab.tunnel_port, reply.node_id, client_factory=Listening)
        await lab.connect(lab.person().client_keys(), client_factory=Listening)
        lab.stop.set()
        await eventually(lambda: len(reasons) == 2)
    assert reasons == ["the controller is stopping; retry-after: 1"] * 2


async def test_a_proxy_without_sessions_stops_at_once(tmp_path: Path) -> None:
    async with running_proxy(tmp_path, drain="60s") as lab:
        await lab.node()
        await lab.person_connected()
        lab.stop.set()
        async with asyncio.timeout(5):
            await lab.ended.wait()


async def test_a_proxy_that_cannot_store_its_end_says_so_and_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_proxy(tmp_path) as lab:
        node = await lab.node()
        await eventually(lambda: lab.tunnel_state(node.reply.node_id) == "up")
        path = tmp_path / "data" / "store" / "tunnels.json"
        assert path.exists()
        path.write_bytes(b"{damaged")
        lab.stop.set()
        async with asyncio.timeout(10):
            await lab.ended.wait()
    (line,) = [record.getMessage() for record in caplog.records if "not stored as down" in record.getMessage()]
    assert "tunnels.json is damaged" in line
