from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.controller_client import anchored_trust
from edge_agent.wire import Place, Throttle, Wire
from tests.harness.simulated_uploads import NAME, SimulatedUploads

ANY_TIME = (datetime.fromtimestamp(0, UTC), datetime.max.replace(tzinfo=UTC))
PATIENCE = 20.0
SHORT = 0.2
Talk = Callable[[ssl.SSLSocket], object]


class Server:
    """A TLS server that says what a test likes."""

    def __init__(self, directory: Path) -> None:
        uploads = SimulatedUploads(directory)
        uploads.close()
        self._settings = uploads.context()
        client = uploads.address().client
        self.trust = anchored_trust([uploads.tls_ca.pem], (Path(client[0]), Path(client[1])))

    @contextmanager
    def talking(self, talk: Talk, patience: float = PATIENCE) -> Iterator[Wire]:
        """Yield a connection at whose other end is `talk`."""
        with self.listening(talk) as port:
            reading, writing = os.pipe()
            wire = Wire(Place("127.0.0.1", port, NAME, ANY_TIME), self.trust, Throttle.at(None, reading), patience)
            try:
                yield wire
            finally:
                wire.close()
                os.close(reading)
                os.close(writing)

    @contextmanager
    def listening(self, talk: Talk) -> Iterator[int]:
        """Yield the port of a server that serves one connection."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=self._serve, args=(listener, talk))
            thread.start()
            try:
                yield listener.getsockname()[1]
            finally:
                thread.join(PATIENCE)

    def _serve(self, listener: socket.socket, talk: Talk) -> None:
        plain, _ = listener.accept()
        plain.settimeout(PATIENCE)
        with plain, suppress(OSError), self._settings.wrap_socket(plain, server_side=True) as client:
            talk(client)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def drain(client: ssl.SSLSocket) -> None:
    while client.recv(65536):
        pass


def test_what_is_sent_arrives_and_what_comes_back_is_read_to_its_end(server: Server) -> None:
    data = os.urandom(300_000)
    arrived = bytearray()

    def echo(client: ssl.SSLSocket) -> None:
        while len(arrived) < len(data):
            arrived.extend(client.recv(65536))
        client.sendall(bytes(arrived[::-1]))
        client.unwrap()

    with server.talking(echo) as wire:
        wire.sendall(data)
        with wire.makefile() as file:
            assert file.read() == data[::-1]
    assert arrived == data


def test_a_connection_goes_behind_others(server: Server) -> None:
    with server.talking(drain) as wire:
        assert wire._plain.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0x20
        assert wire._plain.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 2
        assert wire._plain.getsockopt(socket.IPPROTO_TCP, 25) == 4096


def test_a_server_that_says_nothing_is_given_up(server: Server) -> None:
    with server.talking(drain, SHORT) as wire, pytest.raises(TimeoutError):
        wire.receive(1)


def test_a_server_that_drips_is_given_up(server: Server) -> None:
    def drip(client: ssl.SSLSocket) -> None:
        while True:
            client.sendall(b".")
            time.sleep(SHORT / 4)

    with server.talking(drip, PATIENCE) as wire:
        wire.deadline = time.monotonic() + SHORT
        with pytest.raises(TimeoutError), wire.makefile() as file:
            file.read()


def test_a_server_that_takes_nothing_is_given_up(server: Server) -> None:
    over = threading.Event()
    with server.talking(lambda _: over.wait(PATIENCE), SHORT) as wire:
        with pytest.raises(TimeoutError):
            wire.sendall(bytes(64 * 1024 * 1024))
        over.set()


def test_a_server_that_hangs_up_while_we_send_is_noticed_without_an_error(server: Server) -> None:
    with server.talking(lambda client: client.recv(1)) as wire:
        wire.sendall(bytes(4 * 1024 * 1024))
        assert wire.receive(1) == b""
        assert wire.is_stale()


def test_a_connection_that_the_server_has_closed_is_stale(server: Server) -> None:
    leave = threading.Event()
    with server.talking(lambda _: leave.wait(PATIENCE)) as wire:
        assert not wire.is_stale()
        leave.set()
        while not wire.is_stale():  # session tickets may come first
            wire._wait(reading=True)


def test_a_connection_on_which_something_is_said_unasked_is_stale(server: Server) -> None:
    leave = threading.Event()

    def speak(client: ssl.SSLSocket) -> None:
        client.sendall(b"hello")
        leave.wait(PATIENCE)

    with server.talking(speak) as wire:
        while not wire.is_stale():
            wire._wait(reading=True)
        leave.set()


class Cut:
    """A relay that ends both sides after so many bytes from the server, as a link or a server does that dies."""

    def __init__(self, port: int, after: int, *, hard: bool) -> None:
        self._there, self._left, self._hard = port, after, hard
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.passed = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        with self._listener, client, socket.create_connection(("127.0.0.1", self._there)) as server:
            if self._hard:  # reset, instead of an orderly end
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with suppress(OSError):
                while self._left and self._pass_on(client, server):
                    """And again."""

    def _pass_on(self, client: socket.socket, server: socket.socket) -> bool:
        readable, _, _ = select.select([client, server], [], [], PATIENCE)
        if server in readable:
            data = server.recv(min(self._left, 65536))
            self._left -= len(data)
            self.passed += len(data)
            client.sendall(data)
            return bool(data)
        data = client.recv(65536)
        server.sendall(data)
        return bool(data)

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + bytes(40_000)


def ask(server: Server, after: int, *, hard: bool) -> tuple[int, int]:
    """Ask for `ANSWER` over a connection that is cut; return what came of it and what the server had said."""

    def say(client: ssl.SSLSocket) -> None:
        client.recv(65536)
        client.sendall(ANSWER)
        client.recv(1)

    came = 0
    with server.listening(say) as port:
        cut = Cut(port, after, hard=hard)
        reading, writing = os.pipe()
        try:
            wire = Wire(
                Place("127.0.0.1", cut.port, NAME, ANY_TIME), server.trust, Throttle.at(None, reading), PATIENCE
            )
            with closing(wire), wire.makefile() as file:
                wire.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while came < len(ANSWER) and (data := file.read1(4096)):
                    came += len(data)
                wire.is_stale()
        except OSError:
            pass
        cut.join()
        os.close(reading)
        os.close(writing)
    return came, cut.passed


@pytest.mark.parametrize("hard", [False, True], ids=["closed", "reset"])
def test_wherever_a_connection_breaks_all_calls_end(server: Server, hard: bool) -> None:
    came, whole = ask(server, 1 << 30, hard=hard)
    assert came == len(ANSWER)

    # The handshake's messages and the answer's first headers lie densest; TLS cuts the rest into records of 16 KiB.
    places = {*range(0, 3000, 61), *range(3000, whole, 3571), whole - 1, whole}
    for after in sorted(places):
        came, passed = ask(server, after, hard=hard)
        assert passed <= after
        assert came <= after


def test_a_connection_that_cannot_be_sent_on_gives_what_had_come_and_ends(server: Server) -> None:
    said = threading.Event()

    def say_and_reset(client: ssl.SSLSocket) -> None:
        client.sendall(b"no")
        said.set()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with server.talking(say_and_reset) as wire:
        assert said.wait(PATIENCE)
        while not wire._is_broken:
            wire.sendall(bytes(100_000))
        assert wire.receive(10) in (b"no", b"")
        assert wire.receive(10) == b""
        assert wire.receive(10) == b""


def test_where_nobody_listens_there_is_no_connection(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = Place("127.0.0.1", listener.getsockname()[1], NAME, ANY_TIME)
    reading, writing = os.pipe()
    with pytest.raises(ConnectionRefusedError):
        Wire(place, server.trust, Throttle.at(None, reading), PATIENCE)
    os.close(reading)
    os.close(writing)
