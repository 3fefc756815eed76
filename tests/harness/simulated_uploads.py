"""A controller that takes recordings in, and breaks where a test says so. Real HTTPS on loopback, tus 1.0.

It takes what it is given: what a recording is made of, the real controller judges.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent.courier import Address
from protocol.recording import framing
from tests.harness.simulated_controller import TlsAuthority

NAME = "api.simulated"
_PATIENCE = 30.0
T = TypeVar("T")


@dataclass
class Fault:
    """What goes wrong, once, with the next request that it fits.

    Attributes:
        method: of the request; any where empty.
        session: of the request; any where empty.
        status: answered at once instead of what was asked; 0 for doing that.
        headers: added to the answer, in the place of its own.
        cut_after: the connection is cut after so many bytes of the request's body; None for not at all.
        loses_answer: what was asked is done, and the connection is cut before the answer.
        hold: the request waits for it before anything is done.
        times: how often it strikes.
    """

    method: str = ""
    session: str = ""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    loses_answer: bool = False
    hold: threading.Event | None = None
    times: int = 1

    def fits(self, method: str, session: str) -> bool:
        return self.method in ("", method) and self.session in ("", session)


@dataclass(frozen=True)
class Seen:
    """One request, and what was answered; status 0 where nothing was."""

    method: str
    session: str
    status: int
    offset: int = 0
    size: int = 0


class SimulatedUploads:
    """The server.

    Attributes:
        held: the bytes of each upload.
        whole: the sessions whose end has been declared and reached.
        seen: every request, in order.
        holding: what requests have waited for, or do.
    """

    def __init__(self, directory: Path) -> None:
        self.tls_ca = TlsAuthority()
        self.held: dict[str, bytearray] = {}
        self.whole: set[str] = set()
        self.seen: list[Seen] = []
        self.connections = 0
        self.holding: list[threading.Event] = []
        self._faults: list[Fault] = []
        self._condition = threading.Condition()
        self._client = self._issue(directory, "node", [])
        self._identity = self._issue(directory, "server", [x509.DNSName(NAME)])
        self._server = _Server(self, self.context())

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def address(self, port: int | None = None, name: str = NAME) -> Address:
        """Return where it is to be found, or seems to be: `port` may be a stranger's in between."""
        client = (str(self._client[0]), str(self._client[1]))
        return Address("127.0.0.1", port or self.port, name, (self.tls_ca.pem,), client)

    def break_once(self, fault: Fault) -> None:
        """Have `fault` strike."""
        with self._condition:
            self._faults.append(fault)

    def mend(self) -> None:
        """Forget every fault that has not struck."""
        with self._condition:
            self._faults.clear()

    def start(self) -> SimulatedUploads:
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.end()

    def close(self) -> None:
        """Stop before it was started."""
        self._server.server_close()

    def wait_for(self, look: Callable[[], T], what: str) -> T:
        """Return what `look` finds, as soon as it finds anything."""
        with self._condition:
            if not self._condition.wait_for(look, _PATIENCE):
                raise AssertionError(f"{what} did not come; the last requests: {self.seen[-5:]}")
            return look()

    def count(self, method: str, session: str = "", status: int | None = None) -> int:
        """Return how many such requests were seen."""
        return sum(
            one.method == method and session in ("", one.session) and status in (None, one.status) for one in self.seen
        )

    def take_fault(self, method: str, session: str) -> Fault | None:
        with self._condition:
            for fault in self._faults:
                if fault.fits(method, session):
                    fault.times -= 1
                    if not fault.times:
                        self._faults.remove(fault)
                    return fault
        return None

    def connected(self) -> None:
        with self._condition:
            self.connections += 1
            self._condition.notify_all()

    def hold(self, gate: threading.Event) -> None:
        with self._condition:
            self.holding.append(gate)
            self._condition.notify_all()

    def note(self, seen: Seen) -> None:
        with self._condition:
            self.seen.append(seen)
            self._condition.notify_all()

    def headers(self, session: str) -> dict[str, str]:
        """Return what is said of an upload that there is."""
        held = bytes(self.held[session])
        found = {"Upload-Offset": str(len(held)), "Skerry-Recording-State": "arriving"}
        if session in self.whole:
            found |= {"Skerry-Recording-State": "complete", "Skerry-Recording-Hash": chain_of(held)}
        return found

    def context(self) -> ssl.SSLContext:
        """Return its TLS settings, for whoever is to pass for it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._identity)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.tls_ca.pem)
        return context

    def _issue(self, directory: Path, name: str, names: list[x509.GeneralName]) -> tuple[Path, Path]:
        key = generate_private_key(SECP256R1())
        certificate, private = directory / f"{name}.crt", directory / f"{name}.key"
        certificate.write_text(self.tls_ca.issue(name, key.public_key(), names) + self.tls_ca.pem)
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, private


def chain_of(data: bytes) -> str:
    """Return the hash of a whole recording; empty where it is none."""
    position = framing.START
    while position.offset < len(data):
        size = framing.PREFIX.unpack_from(data, position.offset)[1]
        position = framing.advance(position, data[position.offset : position.offset + framing.PREFIX.size + size])
    return position.chain.hex()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, uploads: SimulatedUploads, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), type("Handler", (_Handler,), {"uploads": uploads}))
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a connection that failed is the other end's to report."""


class _Handler(BaseHTTPRequestHandler):
    uploads: SimulatedUploads
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass

    def setup(self) -> None:
        self.request.settimeout(_PATIENCE)
        super().setup()
        self.uploads.connected()

    def do_POST(self) -> None:
        session = base64.b64decode(self.headers["Upload-Metadata"].removeprefix("session ")).decode()
        self._answer(session, self._begin)

    def do_HEAD(self) -> None:
        self._answer(self._session(), self._look)

    def do_PATCH(self) -> None:
        self._answer(self._session(), self._take)

    def _session(self) -> str:
        return self.path.removeprefix("/v1/uploads/")

    def _answer(self, session: str, act: Callable[[str, bytes], tuple[int, dict[str, str]]]) -> None:
        fault = self.uploads.take_fault(self.command, session) or Fault()
        if fault.hold:
            self.uploads.hold(fault.hold)
            assert fault.hold.wait(_PATIENCE)
        size = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(size if fault.cut_after is None else min(size, fault.cut_after))
        offset = int(self.headers.get("Upload-Offset", "0"))
        if fault.cut_after is not None:
            self._cut(Seen(self.command, session, 0, offset, len(body)))
            return
        status, headers = (fault.status, {}) if fault.status else act(session, body)
        if fault.loses_answer:
            self._cut(Seen(self.command, session, 0, offset, len(body)))
            return
        self._reply(status, {**headers, **fault.headers})
        self.uploads.note(Seen(self.command, session, status, offset, len(body)))

    def _cut(self, seen: Seen) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.uploads.note(seen)

    def _reply(self, status: int, headers: Mapping[str, str]) -> None:
        body = b'{"error": {"message": "as the test wants it"}}' if status >= 400 else b""
        self.send_response_only(status)
        for name, value in {"Tus-Resumable": "1.0.0", "Content-Length": str(len(body)), **headers}.items():
            if status != 204 or name != "Content-Length":
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, session: str, _: bytes) -> tuple[int, dict[str, str]]:
        self.uploads.held.setdefault(session, bytearray())
        return 201, {"Location": f"/v1/uploads/{session}"}

    def _look(self, session: str, _: bytes) -> tuple[int, dict[str, str]]:
        return (200, self.uploads.headers(session)) if session in self.uploads.held else (404, {})

    def _take(self, session: str, body: bytes) -> tuple[int, dict[str, str]]:
        held = self.uploads.held.get(session)
        if held is None:
            return 404, {}
        if int(self.headers["Upload-Offset"]) != len(held):
            return 409, {}
        checksum = f"sha256 {base64.b64encode(hashlib.sha256(body).digest()).decode()}"
        if body and self.headers["Upload-Checksum"] != checksum:
            return 460, {}
        held += body
        if int(self.headers.get("Upload-Length", "-1")) == len(held):
            self.uploads.whole.add(session)
        return 204, self.uploads.headers(session)
