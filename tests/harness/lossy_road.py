"""A road to a door over which an answer gets lost: bytes are passed on both ways until somebody asks something.

It does not look into TLS. Of its records only those are long that carry a request with a key and a certificate request;
once such a one has passed, what the door says to it does not come back, and the connection ends with the door's.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.harness.running_program import PATIENCE

_APPLICATION_DATA = 23  # RFC 8446, section 5.1
_LONG = 600
_PIECE = 64 * 1024


@dataclass
class LossyRoad:
    """The road, and what became of it.

    Attributes:
        address: ``HOST:PORT``, where it begins.
        lost: how many answers got lost.
    """

    door: tuple[str, int]
    address: str
    to_lose: int = 1
    lost: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def carry(self, client: socket.socket) -> None:
        """Carry one connection to its end."""
        with client, socket.create_connection(self.door, timeout=PATIENCE) as server, suppress(OSError):
            client.settimeout(PATIENCE)
            asked = threading.Event()
            back = threading.Thread(target=self._carry_back, args=(server, client, asked))
            back.start()
            self._carry_there(client, server, asked)
            back.join()

    def _carry_there(self, client: socket.socket, server: socket.socket, asked: threading.Event) -> None:
        with suppress(OSError):
            while record := _read_record(client):
                if record[0] == _APPLICATION_DATA and len(record) > _LONG:
                    asked.set()
                server.sendall(record)
            server.shutdown(socket.SHUT_WR)

    def _carry_back(self, server: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        with suppress(OSError):
            while piece := server.recv(_PIECE):
                if asked.is_set() and self._loses():
                    break
                client.sendall(piece)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _loses(self) -> bool:
        with self._lock:
            if self.lost == self.to_lose:
                return False
            self.lost += 1
            return True


def _read_record(client: socket.socket) -> bytes:
    """Return one TLS record, header and all; nothing at the end."""
    header = _read(client, 5)
    return header + _read(client, int.from_bytes(header[3:])) if len(header) == 5 else b""


def _read(client: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (piece := client.recv(size - len(found))):
        found += piece
    return found


@contextmanager
def lossy_road(door: str) -> Iterator[LossyRoad]:
    """Give a road to ``HOST:PORT`` that loses the answer to the first long request."""
    host, _, port = door.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        road = LossyRoad((host, int(port)), f"127.0.0.1:{listener.getsockname()[1]}")
        carriers: list[threading.Thread] = []

        def listen() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    carriers.append(threading.Thread(target=road.carry, args=(client,), daemon=True))
                    carriers[-1].start()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield road
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
            for carrier in carriers:
                carrier.join(PATIENCE)
