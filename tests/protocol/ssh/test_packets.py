"""Hastened connections against the installed library, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import MSG_IGNORE

from protocol.ssh.packets import hasten
from protocol.ssh.tunnel import MAX_PACKET, WINDOW, Tunnel

TIMEOUT = 30
SIZE = 4 * 1024 * 1024


class Counted:
    """A transport that counts its writes."""

    def __init__(self, transport: Any) -> None:  # noqa: ANN401 - any transport
        self._transport = transport
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the transport has it
        return getattr(self._transport, name)


class Server(asyncssh.SSHServer):
    """Lets everyone in and forwards wherever it is asked to."""

    def __init__(self, seen: list[Any], *, hastened: bool) -> None:
        self._seen = seen
        self._hastened = hastened

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        here: Any = conn
        here._transport = Counted(here._transport)
        self._seen.append(here)
        if self._hastened:
            hasten(conn)

    def begin_auth(self, username: str) -> bool:
        return not username

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        del dest_port, orig_host, orig_port
        return dest_host == "127.0.0.1"


class Client(asyncssh.SSHClient):
    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        hasten(conn)


@contextlib.asynccontextmanager
async def serving(seen: list[Any], *, hastened: bool = True) -> AsyncIterator[int]:
    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        digest = hashlib.sha256()
        async for data in process.stdin:
            digest.update(data)
        process.stdout.write(b"x" * SIZE)
        await process.stdout.drain()
        process.stderr.write(digest.hexdigest().encode())
        process.exit(7)

    server = await asyncssh.create_server(
        lambda: Server(seen, hastened=hastened),
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=answer,
        encoding=None,
        encryption_algs=["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"],
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def connected(port: int, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:  # noqa: ANN401 - handed on
    connecting = asyncssh.connect(
        "127.0.0.1",
        port,
        username="user",
        known_hosts=None,
        config=None,
        agent_path=None,
        client_keys=None,
        client_factory=Client,
        **options,
    )
    async with await asyncio.wait_for(connecting, TIMEOUT) as connection:
        yield connection


async def run(connection: asyncssh.SSHClientConnection, data: bytes) -> asyncssh.SSHCompletedProcess:
    return await asyncio.wait_for(connection.run("x", input=data, encoding=None), TIMEOUT)


def check(done: asyncssh.SSHCompletedProcess, data: bytes) -> None:
    assert done.exit_status == 7
    assert done.stdout == b"x" * SIZE
    assert done.stderr == hashlib.sha256(data).hexdigest().encode()


async def test_data_goes_through_unchanged_both_ways() -> None:
    data = bytes(range(256)) * (SIZE // 256)
    async with serving([]) as port, connected(port) as connection:
        check(await run(connection, data), data)


async def test_fewer_writes_are_made_than_by_the_library() -> None:
    writes = {}
    for hastened in (False, True):
        seen: list[Any] = []
        async with serving(seen, hastened=hastened) as port, connected(port) as connection:
            counted = seen[0]._transport
            check(await run(connection, b"data"), b"data")
        writes[hastened] = counted.writes
    assert writes[True] < writes[False] / 2


async def test_no_ignore_packet_is_sent_and_all_others_are() -> None:
    sent: list[int] = []

    class Watching(Server):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            here: Any = conn
            send_packet = here.send_packet

            def watch(pkttype: int, *args: bytes, handler: Any = None) -> None:  # noqa: ANN401 - the library's own
                sent.append(pkttype)
                send_packet(pkttype, *args, handler=handler)

            here.send_packet = watch
            hasten(conn)

    server = await asyncssh.create_server(
        lambda: Watching([], hastened=True),
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=lambda process: process.exit(3),
    )
    async with server, connected(server.sockets[0].getsockname()[1]) as connection:
        assert (await run(connection, b"")).exit_status == 3
    assert sent
    assert MSG_IGNORE not in sent


async def test_no_more_is_read_at_once_than_two_packets() -> None:
    sizes: list[int] = []

    class Measuring(Server):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            here: Any = conn
            data_received = here.data_received

            def measure(data: bytes, datatype: int | None = None) -> None:
                sizes.append(len(data))
                data_received(data, datatype)

            here.data_received = measure
            hasten(conn)

    async def swallow(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(str(len(await process.stdin.read())).encode())
        process.exit(0)

    server = await asyncssh.create_server(
        lambda: Measuring([], hastened=True),
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=swallow,
        encoding=None,
    )
    async with server, connected(server.sockets[0].getsockname()[1]) as connection:
        assert (await run(connection, b"x" * SIZE)).stdout == str(SIZE).encode()
    assert 32 * 1024 < max(sizes) <= 72 * 1024


@pytest.mark.parametrize(
    "cipher", ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"]
)
async def test_keys_that_change_on_the_way_lose_nothing(cipher: str) -> None:
    data = bytes(range(256)) * (SIZE // 256)
    exchanges: list[int] = []

    class Rekeyed(Client):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            here: Any = conn
            send_newkeys = here.send_newkeys

            def count(*args: Any) -> None:  # noqa: ANN401 - handed on
                exchanges.append(1)
                send_newkeys(*args)

            here.send_newkeys = count
            super().connection_made(conn)

    async with serving([]) as port:
        connecting = asyncssh.connect(
            "127.0.0.1",
            port,
            username="user",
            known_hosts=None,
            config=None,
            agent_path=None,
            client_keys=None,
            client_factory=Rekeyed,
            encryption_algs=[cipher],
            rekey_bytes=SIZE // 8,
        )
        async with await asyncio.wait_for(connecting, TIMEOUT) as connection:
            check(await run(connection, data), data)
    assert len(exchanges) > 4


async def test_a_connection_that_is_cut_ends_quietly() -> None:
    seen: list[Any] = []
    async with serving(seen) as port:
        with contextlib.suppress(asyncssh.Error, ConnectionError):
            async with connected(port) as connection:
                seen[0]._transport.abort()
                seen[0]._send(b"to nobody")
                await asyncio.wait_for(connection.wait_closed(), TIMEOUT)
        seen[0]._send(b"after the end")


async def test_ssh_through_a_channel_fits_packet_into_packet() -> None:
    seen: list[Any] = []
    async with serving(seen) as inner, serving([]) as outer, connected(outer) as road:
        opened: list[dict[str, Any]] = []
        create = road.create_connection

        async def watch(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - handed on
            opened.append(options)
            return await create(*args, **options)

        road.create_connection = watch  # type: ignore[method-assign]  # watched, then done
        async with connected(inner, tunnel=Tunnel(road)) as connection:
            check(await run(connection, b"data"), b"data")
    assert opened == [{"window": WINDOW, "max_pktsize": MAX_PACKET}]


async def test_a_reverse_tunnel_brings_connections_back() -> None:
    class Reverse(Server):
        def server_requested(self, listen_host: str, listen_port: int) -> bool:
            return (listen_host, listen_port) == ("127.0.0.1", 0)

    server = await asyncssh.create_server(
        lambda: Reverse([], hastened=True),
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
    )
    async with server, connected(server.sockets[0].getsockname()[1]) as road:
        device = await asyncio.wait_for(
            asyncssh.listen(
                "127.0.0.1",
                0,
                tunnel=Tunnel(road),
                server_factory=lambda: Server([], hastened=True),
                server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
                process_factory=lambda process: process.exit(5),
            ),
            TIMEOUT,
        )
        async with device, connected(device.get_port()) as connection:
            assert (await run(connection, b"")).exit_status == 5


@pytest.mark.parametrize("name", ["_send", "send_packet"])
def test_the_library_still_has_what_is_reached_into(name: str) -> None:
    assert callable(getattr(asyncssh.SSHServerConnection, name))
