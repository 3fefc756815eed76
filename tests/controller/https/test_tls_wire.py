"""A TLS connection driven by asyncio, against Python's own blocking TLS at the other end of a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest

from controller.https.tls_wire import TlsWire
from tests.harness.running_door import Identity

LARGE = 5 * 1024 * 1024


@dataclass
class Pair:
    wire: TlsWire
    peer: ssl.SSLSocket
    gone: asyncio.Event

    async def peer_reads(self, count: int) -> bytes:
        return await asyncio.to_thread(self._read, count)

    def _read(self, count: int) -> bytes:
        got = bytearray()
        while len(got) < count and (data := self.peer.recv(65536)):
            got += data
        return bytes(got)


@pytest.fixture
def make(identity: Identity) -> Callable[..., contextlib.AbstractAsyncContextManager[Pair]]:
    @asynccontextmanager
    async def make_pair(early: bytes = b"", behind_max: int = 2 * LARGE) -> AsyncIterator[Pair]:
        ours, theirs = await asyncio.to_thread(_shake_hands, identity)
        gone = asyncio.Event()

        def let_go() -> None:
            ours.close()
            gone.set()

        pair = Pair(TlsWire(ours, early, let_go, behind_max), theirs, gone)
        try:
            yield pair
        finally:
            pair.wire.abort()
            theirs.close()

    return make_pair


def _shake_hands(identity: Identity) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(identity.cert, identity.key)
    client = ssl.create_default_context(cafile=str(identity.cert))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialled = socket.create_connection(listener.getsockname(), timeout=30)
        accepted, _ = listener.accept()
    ours = server.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
    with contextlib.ExitStack() as stack:
        shaking = threading.Thread(target=ours.do_handshake)
        shaking.start()
        stack.callback(shaking.join)
        theirs = client.wrap_socket(dialled, server_hostname="localhost")
    ours.setblocking(False)
    return ours, theirs


def _until_full(sock: ssl.SSLSocket, data: bytes) -> int:
    """Return how many bytes a socket that does not block takes."""
    taken = 0
    with contextlib.suppress(ssl.SSLWantWriteError, BlockingIOError):
        while taken < len(data):
            taken += sock.send(data[taken : taken + 65536])
    return taken


MakePair = Callable[..., contextlib.AbstractAsyncContextManager[Pair]]


async def test_what_is_said_arrives_both_ways(make: MakePair) -> None:
    async with make() as pair:
        pair.peer.sendall(b"hello")
        assert await pair.wire.read() == b"hello"
        pair.wire.write(b"and hello to you")
        assert await pair.peer_reads(16) == b"and hello to you"


async def test_what_came_before_the_hand_over_is_read_first(make: MakePair) -> None:
    async with make(early=b"early ") as pair:
        pair.peer.sendall(b"late")
        assert [await pair.wire.read(), await pair.wire.read()] == [b"early ", b"late"]


async def test_megabytes_arrive_whole_through_a_socket_that_takes_little_at_a_time(make: MakePair) -> None:
    async with make() as pair:
        sent = bytes(range(256)) * (LARGE // 256)
        pair.wire.write(sent)
        assert pair.wire.waiting > 0  # the kernel's buffers do not hold it
        got = asyncio.create_task(pair.peer_reads(len(sent)))  # noqa: TID251 - awaited three lines below
        await pair.wire.drained()
        assert await got == sent
        assert pair.wire.waiting == 0


async def test_megabytes_are_read_whole(make: MakePair) -> None:
    async with make() as pair:
        sent = bytes(range(256)) * (LARGE // 256)
        sending = asyncio.create_task(asyncio.to_thread(pair.peer.sendall, sent))  # noqa: TID251 - awaited below
        got = bytearray()
        while len(got) < len(sent):
            got += await pair.wire.read()
        await sending
        assert bytes(got) == sent


async def test_nobody_s_data_is_fetched_before_it_is_wanted(make: MakePair) -> None:
    async with make() as pair:
        sent = bytes(32 * LARGE)
        pair.peer.settimeout(0)
        reached = _until_full(pair.peer, sent)  # both kernels' buffers are full
        await asyncio.sleep(0)
        assert pair.wire.waiting == 0
        for _ in range(1000):
            await asyncio.sleep(0)  # the loop has its turns, and fetches nothing of its own
        assert _until_full(pair.peer, sent) == 0
        assert 0 < reached < len(sent)
        assert await pair.wire.read() != b""


async def test_a_peer_that_takes_nothing_is_given_up_when_too_much_waits(make: MakePair) -> None:
    async with make(behind_max=1024 * 1024) as pair:
        for _ in range(200):
            pair.wire.write(bytes(128 * 1024))
        assert pair.wire.is_lost
        assert pair.wire.waiting == 0
        await asyncio.wait_for(pair.gone.wait(), 10)


async def test_a_peer_that_says_goodbye_is_the_end(make: MakePair) -> None:
    async with make() as pair:
        pair.peer.sendall(b"last words")
        pair.peer.shutdown(socket.SHUT_WR)
        assert await pair.wire.read() == b"last words"
        assert await pair.wire.read() == b""


async def test_a_peer_that_is_cut_off_is_the_end(make: MakePair) -> None:
    async with make() as pair:
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")  # a reset instead of an end
        pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        pair.peer.close()
        assert await pair.wire.read() == b""
        while not pair.wire.is_lost:
            pair.wire.write(b"into the void")
            await asyncio.sleep(0)
        await pair.wire.drained()
        assert pair.gone.is_set()


async def test_closing_sends_all_that_waits_and_a_close_notify(make: MakePair) -> None:
    async with make() as pair:
        pair.peer.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # typeshed lacks it: an end without close_notify is an error then
        sent = bytes(LARGE)
        pair.wire.write(sent)
        closing = asyncio.create_task(pair.wire.close(timedelta(seconds=30)))  # noqa: TID251 - awaited below
        assert await pair.peer_reads(LARGE) == sent
        assert await asyncio.to_thread(pair.peer.recv, 1) == b""
        pair.peer.close()
        await closing
        assert pair.gone.is_set()


async def test_closing_ends_although_the_peer_never_answers(make: MakePair) -> None:
    async with make() as pair:
        await pair.wire.close(timedelta(milliseconds=50))
        assert pair.gone.is_set()
        await pair.wire.close()  # a second time does nothing


async def test_whoever_waits_is_woken_when_the_connection_is_let_go(make: MakePair) -> None:
    async with make() as pair:
        reading = asyncio.create_task(pair.wire.read())  # noqa: TID251 - awaited below
        await asyncio.sleep(0)
        pair.wire.abort()
        assert await asyncio.wait_for(reading, 10) == b""
