from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import asyncssh
import pytest

from protocol import limits
from tests.controller.proxy.lab import PATIENCE, ProxyLab, eventually, exchange, open_to, running_proxy
from tests.controller.proxy.test_relay import MIB, resident

GRACE = 1.0
DOORS = ["client", "tunnel"]
VERSION = b"SSH-2.0-test\r\n"


def port_of(lab: ProxyLab, door: str) -> int:
    return lab.client_port if door == "client" else lab.tunnel_port


def lines(caplog: pytest.LogCaptureFixture, door: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith(f"{door} door: ")]


async def assert_serves(lab: ProxyLab) -> None:
    await lab.node()
    assert await exchange(await open_to(await lab.person_connected()), b"next") == b"next"


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", id="HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", id="TLS"),
        pytest.param(b"\0" * 9000, id="zeros"),
        pytest.param(os.urandom(100_000) + b"\n", id="noise"),
        pytest.param(b"a" * 100_000, id="a line without an end"),
        pytest.param(b"SSH-2.0-" + b"a" * 5000 + b"\r\n", id="a long version"),
        pytest.param(b"SSH-1.5-old\r\n", id="SSH 1"),
        pytest.param(VERSION + b"\xff\xff\xff\xff" + b"\0" * 1000, id="a packet of 4 GiB"),
        pytest.param(VERSION + b"\0\x10\0\0" + b"\0" * 1000, id="a packet of 1 MiB"),
        pytest.param(VERSION + b"\0\0\0\0" * 100, id="empty packets"),
        pytest.param(VERSION + os.urandom(50_000), id="noise in packets"),
        pytest.param("SSH-2.0-caf\u00e9\r\n".encode() + b"\0" * 100, id="a version that is not ASCII"),
    ],
)
async def test_garbage_is_closed_with_one_line_and_the_next_client_is_served(
    door: str, data: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "PROXY")
    async with running_proxy(tmp_path, login_grace=GRACE) as lab:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(lab, door))
        writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await read_to_the_end(reader)
        writer.close()
        await eventually(lambda: len(lines(caplog, door)) == 1)
        (line,) = lines(caplog, door)
        assert "did not authenticate: " in line
        assert line.isprintable()
        await assert_serves(lab)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("habit", ["nothing", "the version", "a byte at a time"])
async def test_whoever_dawdles_is_closed_when_the_grace_is_over(
    door: str, habit: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "PROXY")
    async with running_proxy(tmp_path, login_grace=GRACE) as lab:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(lab, door))
        began = time.monotonic()

        async def dawdle() -> None:
            if habit == "the version":
                writer.write(VERSION)
            while habit == "a byte at a time":
                writer.write(b"S")
                await asyncio.sleep(0.05)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(dawdle())
            await read_to_the_end(reader)
            slow.cancel()
        assert time.monotonic() - began > GRACE * 0.9
        writer.close()
        await eventually(lambda: len(lines(caplog, door)) == 1)
        await assert_serves(lab)


@pytest.mark.parametrize("door", DOORS)
async def test_key_exchange_without_authentication_is_closed_when_the_grace_is_over(door: str, tmp_path: Path) -> None:
    async with running_proxy(tmp_path, login_grace=GRACE) as lab:
        over = asyncio.Event()

        class Silent(asyncssh.SSHClient):
            async def public_key_auth_requested(self) -> None:
                await over.wait()

        with pytest.raises((asyncssh.Error, ConnectionError)):  # a TimeoutError would be ours
            async with asyncio.timeout(PATIENCE):
                await asyncssh.connect(
                    "127.0.0.1",
                    port_of(lab, door),
                    client_factory=Silent,
                    known_hosts=None,
                    config=None,
                    agent_path=None,
                    client_keys=None,
                    username="x",
                )
        over.set()


async def come_from(lab: ProxyLab, door: str, address: str, strangers: ExitStack) -> socket.socket:
    """Connect from one of this machine's many loopback addresses."""
    sock = strangers.enter_context(socket.socket())
    sock.setblocking(False)
    sock.bind((address, 0))
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port_of(lab, door)))
    return sock


async def greeting(sock: socket.socket) -> bytes:
    """Return the beginning of the door's greeting; nothing where it hung up."""
    async with asyncio.timeout(PATIENCE):
        try:
            return (await asyncio.get_running_loop().sock_recv(sock, 100))[:8]
        except ConnectionError:
            return b""


def turned_away(caplog: pytest.LogCaptureFixture, door: str, reason: str) -> int:
    return sum(f"turned away: {reason}" in line for line in lines(caplog, door))


@pytest.mark.parametrize("door", DOORS)
async def test_strangers_who_say_nothing_cannot_shut_the_door_for_others(
    door: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "PROXY")
    async with running_proxy(tmp_path) as lab:
        with ExitStack() as strangers:
            crowd = [await come_from(lab, door, f"127.0.0.{1 + number % 2}", strangers) for number in range(300)]
            heard = [await greeting(sock) for sock in crowd]
            assert heard.count(b"SSH-2.0-") == 2 * limits.UNAUTHENTICATED_PER_NETWORK
            reply, credential = lab.enrol()
            honest = lab.person() if door == "client" else credential
            connection = await lab.connect(
                honest.client_keys(), port_of(lab, door), reply.node_id, local_addr=("127.0.0.3", 0)
            )
            assert not connection.is_closed()
            # One address's share is held by whoever came first; there is room again as they leave.
            assert await greeting(await come_from(lab, door, "127.0.0.1", strangers)) == b""
            crowd[0].close()
            await eventually(lambda: any("said nothing and left" in line for line in lines(caplog, door)))
            assert await greeting(await come_from(lab, door, "127.0.0.1", strangers)) == b"SSH-2.0-"
        assert turned_away(caplog, door, "too many unauthenticated connections from there") > 100


@pytest.mark.parametrize("door", DOORS)
async def test_in_a_full_lobby_the_longest_waiting_guest_makes_room_and_the_crowd_costs_little(
    door: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        person = await lab.person_connected()
        before = resident()
        with ExitStack() as strangers:
            crowd = []
            for number in range(limits.UNAUTHENTICATED_CONNECTIONS):
                place = number // limits.UNAUTHENTICATED_PER_NETWORK
                crowd.append(await come_from(lab, door, f"127.0.1.{place}", strangers))
                assert await greeting(crowd[-1]) == b"SSH-2.0-"
            for number in range(20):
                assert await greeting(await come_from(lab, door, f"127.0.2.{number}", strangers)) == b"SSH-2.0-"
            # The crowds are of one size, so each gives up its first: the longest waiting of all goes first.
            assert await greeting(crowd[0]) == b""
            await eventually(lambda: turned_away(caplog, door, "it made room for another") == 20)
            assert resident() - before < 64 * MIB
            # Whoever is in already is served all the while.
            assert await exchange(await open_to(person), b"x") == b"x"
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("door", DOORS)
async def test_a_dawdler_makes_room_for_another_of_the_same_address(
    door: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_proxy(tmp_path) as lab:
        with ExitStack() as strangers:
            for _ in range(limits.UNAUTHENTICATED_PER_NETWORK):
                assert await greeting(await come_from(lab, door, "127.0.0.1", strangers)) == b"SSH-2.0-"
            begun = time.monotonic()
            while await greeting(await come_from(lab, door, "127.0.0.1", strangers)) != b"SSH-2.0-":
                assert time.monotonic() - begun < PATIENCE / 2
                await asyncio.sleep(0.2)
            await eventually(lambda: turned_away(caplog, door, "it made room for another") == 1)


async def test_many_keys_are_not_tried_for_ever(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        keys = [lab.certify(lab.user_order("nobody")).client_keys()[0] for _ in range(30)]
        with pytest.raises(asyncssh.Error):
            await lab.connect([*keys, *lab.person().client_keys()])
        (entry,) = await lab.audited("T3007W")
        assert entry["check"] in {"K9", "P1"}


async def test_oversized_packets_after_authentication_end_that_connection_alone(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        good = await open_to(await lab.person_connected())
        hostile = await lab.person_connected()
        hostile.send_packet(200, os.urandom(300_000))
        async with asyncio.timeout(PATIENCE):
            await hostile.wait_closed()
        assert await exchange(good, b"x") == b"x"
