"""The process that sends, on its own: how fast, for how long, and what it makes of answers that make no sense."""

from __future__ import annotations

import json
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edge_agent.upload_worker import check_on, read_piece
from protocol.recording import framing
from tests.edge_agent.test_upload import made_up, new_session
from tests.harness.simulated_uploads import NAME, Fault, SimulatedUploads, chain_of

PATIENCE = 30.0


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[SimulatedUploads]:
    simulated = SimulatedUploads(tmp_path).start()
    yield simulated
    simulated.stop()


class Worker:
    """A running worker."""

    def __init__(self, uploads: SimulatedUploads, *, rate: int | None = None, idle: float = PATIENCE) -> None:
        self.there: dict[str, Any] = {"rate": rate}
        self.aim(uploads, uploads.port)
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(PATIENCE)
        code = f"import edge_agent.upload_worker as worker; worker.IDLE = {idle}; worker.main()"
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs.fileno(), stdout=theirs.fileno())
        theirs.close()
        self.answers = self.ours.makefile("rb")

    def aim(self, uploads: SimulatedUploads, port: int) -> None:
        address = uploads.address(port)
        self.there |= {"host": address.host, "port": address.port, "name": address.name}
        self.there |= {"anchors": list(address.anchors), "client": list(address.client)}

    def order(self, do: str, session: str, **more: object) -> None:
        usual = {"do": do, "there": self.there, "session": session, "path": "", "offset": 0, "size": 0, "length": None}
        usual |= {"span": [0, 253402300799999]}
        self.ours.sendall(json.dumps(usual | more).encode() + b"\n")

    def reply(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.answers.readline())
        return found

    def ask(self, do: str, session: str, **more: object) -> dict[str, Any]:
        self.order(do, session, **more)
        return self.reply()

    def end(self) -> None:
        self.answers.close()
        self.ours.close()
        assert self.process.wait(PATIENCE) == 0


@contextmanager
def working(uploads: SimulatedUploads, *, rate: int | None = None) -> Iterator[Worker]:
    worker = Worker(uploads, rate=rate)
    try:
        yield worker
        worker.end()
    finally:
        worker.answers.close()
        worker.ours.close()
        worker.process.kill()
        worker.process.wait()


class CountingRelay:
    """A relay that notes when how many bytes had come from the client."""

    def __init__(self, port: int) -> None:
        self._there = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.counted: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        total = 0
        with suppress(OSError):
            client, _ = self._listener.accept()
            with client, socket.create_connection(("127.0.0.1", self._there)) as server:
                while True:
                    for source in select.select([client, server], [], [], PATIENCE)[0]:
                        data = source.recv(65536)
                        if not data:
                            return
                        if source is client:
                            total += len(data)
                            self.counted.append((time.monotonic(), total))
                        (server if source is client else client).sendall(data)

    def close(self) -> None:
        self._listener.close()
        self._thread.join(PATIENCE)


def test_no_more_goes_over_the_wire_than_the_rate_allows(uploads: SimulatedUploads, tmp_path: Path) -> None:
    rate, data, session = 20_000, made_up(30_000), new_session()
    path = tmp_path / "recording"
    path.write_bytes(data)
    relay = CountingRelay(uploads.port)
    begun = time.monotonic()
    with working(uploads, rate=rate) as worker:
        worker.aim(uploads, relay.port)
        assert worker.ask("begin", session)["status"] == 201
        for offset in range(0, len(data), 5000):
            size = min(5000, len(data) - offset)
            assert worker.ask("send", session, path=str(path), offset=offset, size=size)["status"] == 204
    relay.close()
    assert uploads.held[session] == data
    assert relay.counted[-1][1] > len(data)
    # Bytes arrive after they were sent: whatever the machine does, this holds.
    assert all(total <= rate * (at - begun + 0.25) for at, total in relay.counted)


def test_a_connection_is_used_again_and_replaced_when_the_server_has_closed_it(uploads: SimulatedUploads) -> None:
    session = new_session()
    with working(uploads) as worker:
        assert worker.ask("begin", session)["status"] == 201
        assert worker.ask("look", session)["headers"]["upload-offset"] == "0"
        assert uploads.connections == 1
        uploads.break_once(Fault("HEAD", headers={"Connection": "close"}))
        assert worker.ask("look", session)["status"] == 200
        assert worker.ask("look", session)["status"] == 200
        assert uploads.connections == 2
        uploads.break_once(Fault("HEAD", loses_answer=True))
        assert worker.ask("look", session)["status"] == 200
        assert uploads.connections == 3


def test_an_answer_that_is_lost_on_a_new_connection_is_told(uploads: SimulatedUploads) -> None:
    uploads.break_once(Fault("HEAD", loses_answer=True, times=2))
    with working(uploads) as worker:
        reply = worker.ask("look", new_session())
        assert reply["status"] == 0
        assert reply["text"]


def test_the_worker_ends_by_itself_when_there_is_nothing_to_do(uploads: SimulatedUploads) -> None:
    worker = Worker(uploads, idle=0.1)
    assert worker.ask("look", new_session())["status"] == 404
    assert worker.process.wait(PATIENCE) == 0
    assert worker.answers.readline() == b""
    worker.end()


def test_the_worker_ends_at_once_when_the_agent_is_gone(uploads: SimulatedUploads) -> None:
    gate = threading.Event()
    uploads.break_once(Fault("HEAD", hold=gate))
    worker = Worker(uploads)
    worker.order("look", new_session())
    assert uploads.wait_for(lambda: uploads.connections, "a connection")
    worker.end()  # it would wait for the answer for a long time
    gate.set()


def test_the_worker_that_waits_for_its_turn_on_the_wire_ends_with_the_agent_too(
    uploads: SimulatedUploads, tmp_path: Path
) -> None:
    path = tmp_path / "recording"
    path.write_bytes(made_up(400_000))
    worker = Worker(uploads, rate=3000)
    worker.order("send", new_session(), path=str(path), size=400_000)
    assert uploads.wait_for(lambda: uploads.connections, "a connection")
    worker.end()


ANSWERS: list[tuple[bytes, str]] = [
    (b"", "closed"),
    (b"\0\0\0\0\r\n\r\n", ""),
    (b"HTTP/1.1 2x0 OK\r\n\r\n", ""),
    (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n", "100 headers"),
    (b"HTTP/1.1 200 OK\r\nUpload-Offset: " + b"9" * 70_000 + b"\r\n\r\n", "65536"),
    (b"HTTP/1.1 500 No\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000, "more than 65536 bytes"),
    (b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ""),
]


@contextmanager
def talking(uploads: SimulatedUploads, talk: Callable[[ssl.SSLSocket], None]) -> Iterator[int]:
    """Run a server that says what it likes to everybody; yield its port."""
    context = uploads.context()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                plain.settimeout(PATIENCE)
                with suppress(OSError), context.wrap_socket(plain, server_side=True) as client:
                    client.recv(65536)
                    talk(client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(PATIENCE)


@pytest.mark.parametrize(("said", "words"), ANSWERS, ids=range(len(ANSWERS)))
def test_an_answer_that_is_not_http_is_a_fault_and_the_worker_lives(
    uploads: SimulatedUploads, said: bytes, words: str
) -> None:
    with working(uploads) as worker, talking(uploads, lambda client: client.sendall(said)) as port:
        worker.aim(uploads, port)
        reply = worker.ask("begin", new_session())
        assert reply["status"] == 0
        assert words in reply["text"]
        worker.aim(uploads, uploads.port)
        assert worker.ask("look", new_session())["status"] == 404


def test_an_early_answer_is_read_though_the_server_takes_no_more(uploads: SimulatedUploads, tmp_path: Path) -> None:
    path = tmp_path / "recording"
    path.write_bytes(made_up(500_000))

    def refuse(client: ssl.SSLSocket) -> None:
        client.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while client.recv(65536):
                pass

    with working(uploads) as worker, talking(uploads, refuse) as port:
        worker.aim(uploads, port)
        assert worker.ask("send", new_session(), path=str(path), size=500_000)["status"] == 413


def test_a_server_by_another_name_is_told_nothing(uploads: SimulatedUploads) -> None:
    with working(uploads) as worker:
        worker.there |= {"name": f"not-{NAME}"}
        reply = worker.ask("look", new_session())
    assert reply["status"] == 0
    assert "certificate is not good" in reply["text"]
    assert uploads.seen == []


def test_a_file_that_is_not_as_expected_is_told_apart_from_a_link_that_fails(
    uploads: SimulatedUploads, tmp_path: Path
) -> None:
    short, link = tmp_path / "short", tmp_path / "link"
    short.write_bytes(b"12345")
    link.symlink_to(short)
    with working(uploads) as worker:
        for path, size in ((short, 6), (link, 5), (tmp_path / "gone", 5)):
            assert worker.ask("send", new_session(), path=str(path), size=size)["broken"]
    assert uploads.connections == 0


def test_a_file_is_read_for_its_hash_turn_by_turn(tmp_path: Path) -> None:
    data = made_up(9_000_000)
    path = tmp_path / "recording"
    path.write_bytes(data)
    mark, digest, turns = "", "", 0
    while not digest:
        reply = check_on(path, mark)
        mark, digest, turns = reply["mark"], reply["digest"], turns + 1
    assert digest == chain_of(data)
    assert turns == 3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "does not begin"),
        (b"SKERRYR2", "does not begin"),
        (made_up(500)[:-1], "middle of a record"),
        (made_up(500)[:20], "middle of a record"),
        (framing.MAGIC + framing.PREFIX.pack(ord("X"), 0, 0, b""), "cannot be"),
        (framing.MAGIC + framing.PREFIX.pack(ord("D"), 2**32 - 1, 0, b""), "cannot be"),
    ],
)
def test_a_file_that_is_no_recording_has_no_hash(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "recording"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=words):
        check_on(path, "")


def test_a_piece_is_all_there_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    path.write_bytes(b"0123456789")
    assert read_piece(path, 3, 4) == b"3456"
    with pytest.raises(ValueError, match="shrunk"):
        read_piece(path, 8, 3)


def test_the_agent_itself_loads_neither_tls_nor_http_nor_the_recordings_libraries() -> None:
    code = (
        "from protocol.ssh.lean import load_asyncssh; load_asyncssh(without_openssl=True); "
        "import sys, edge_agent.node; "
        "print([name for name in ('ssl', '_hashlib', 'http.client', 'zstandard') if sys.modules.get(name)])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60) == "[]\n"
