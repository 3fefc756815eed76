"""A controller made of the real pieces, small enough to read, for agents under test to join.

Real HTTPS, real SSH, real certificates and the project's own judgements; only the store and the people are
missing. It runs in a thread with an event loop of its own, so that tests may be plain functions. People
reach a node by a TCP port that `door_to` opens: each connection becomes a channel of that node's tunnel.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ipaddress
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_key,
)
from cryptography.x509.oid import NameOID

from protocol import endpoints, limits
from protocol.certificates import (
    CertificateOrder,
    proxy_order,
    user_order,
)
from protocol.endorsement import Endorsed
from protocol.events import BY_CODE, BadEventError, check_event
from protocol.messages import EventBatch, EventReceipt, JoinReply, JoinRequest, MessageError, NodeEvent, join_statement
from protocol.names import ClusterName, Login, RoleName, UserName
from protocol.recording import cipher
from protocol.recordings import Mode, RecordingTerms
from tests.harness.simulated_renewals import Renewals
from tests.harness.simulated_tunnel_door import TunnelDoor

CLUSTER = ClusterName("simulated")
RECORDING_KEY_ID = "00000000-0000-4000-8000-00000000000a"
TOKEN = "insecure-test-token-0123456789"
_PEM = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
_WAIT = 60.0
R = TypeVar("R")


def sign_ssh(order: CertificateOrder, public_key: str, authority: Ed25519PrivateKey) -> str:
    """Fill an order: return the certificate in one line."""
    kind = SSHCertificateType.USER if order.kind == "user" else SSHCertificateType.HOST
    key: Any = load_ssh_public_key(public_key.encode())
    builder = (
        SSHCertificateBuilder()
        .public_key(key)
        .serial(order.serial)
        .type(kind)
        .key_id(order.key_id.encode())
        .valid_after(int(order.valid_after.timestamp()))
        .valid_before(int(order.valid_before.timestamp()))
    )
    names = [name.encode() for name in order.principals]
    builder = builder.valid_principals(names) if names else builder.valid_for_all_principals()  # type: ignore[no-untyped-call]  # the library has not typed it
    for name, value in sorted(order.extensions.items()):
        # An empty value has no bytes of its own; any other is a string within the string (PROTOCOL.certkeys).
        builder = builder.add_extension(name.encode(), value.encode())
    return builder.sign(authority).public_bytes().decode()


def public_line(key: Ed25519PrivateKey) -> str:
    """Return a key's public half in one line."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


class TlsAuthority:
    """An X.509 CA."""

    def __init__(self) -> None:
        self.key = generate_private_key(SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "insecure test CA")])
        self.certificate = (
            self._builder(name, name, self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, SHA256())
        )

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def pin(self) -> str:
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return "sha256:" + hashlib.sha256(self.key.public_key().public_bytes(*form)).hexdigest()

    def issue(self, common_name: str, public_key: CertificatePublicKeyTypes, names: list[x509.GeneralName]) -> str:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = self._builder(subject, self.certificate.subject, public_key)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        signed = builder.add_extension(issuer, critical=False).sign(self.key, SHA256())
        return signed.public_bytes(Encoding.PEM).decode()

    @staticmethod
    def _builder(subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
        )


@dataclass
class Person:
    """A user's key and certificate as files for OpenSSH's client."""

    key: Path
    certificate: Path


@dataclass
class Answer:
    """What the join endpoint is to answer instead of joining."""

    status: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)


class SimulatedController:
    """The controller's end: join, tunnel door, machine API, and ports to reach nodes by.

    Attributes:
        requests: every HTTP request, as method and path.
        bodies: the bodies of all requests, for what must never have been sent.
        joins: accepted join requests.
        events: what nodes reported, in the order of arrival.
        answer: what join answers instead; None to join.
        fixed_labels: the only labels a node gets; None for those it claims.
        tunnel_words: a reason with which the tunnel door ends each connection; empty to serve.
        mode: how sessions are recorded; None for a controller that knows nothing of recordings.
        policy: the policy document that the machine API tells; None for a controller that has none.
        node_document: what it tells beside that of the node which asks.
        recording_key: the private half of the key that recordings are locked for.
        mqtt_address: where nodes that join are told the broker is; empty for nowhere.
        renewals: how nodes renew their certificates here, and which authorities there are.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.user_ca, self.host_ca = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        self.tls_ca = TlsAuthority()
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.joins: list[JoinRequest] = []
        self.events: list[NodeEvent] = []
        self.answer: Answer | None = None
        self.fixed_labels: dict[str, str] | None = None
        self.api_is_down = False
        self.tunnel_words = ""
        self.tunnel_farewell = ""  # said to whom it has let in, at once
        self.mode: Mode | None = "strict"
        self.record_input = False
        self.policy: Endorsed | None = None
        self.node_document: Endorsed | None = None
        self.recording_key, self._recording_public = cipher.generate()
        self.proxy_name: str = CLUSTER
        self.tunnel_refuses = False
        self.tunnel_takes_no_forward = False
        self.tunnels: dict[str, asyncssh.SSHServerConnection] = {}
        self.node_names: dict[str, str] = {}
        self.tunnel_count = 0
        self.web_port = self.tunnel_port = self.api_port = 0
        self._condition = threading.Condition()
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread
        self._servers: list[ThreadingHTTPServer] = []
        self._tunnel_server: asyncssh.SSHAcceptor | None = None
        self._doors: list[asyncio.Server] = []
        self._serial = 0
        self._proxy_key = Ed25519PrivateKey.generate()
        self.renewals = Renewals(self)
        self.mqtt_address = ""

    # --- life -------------------------------------------------------------------------------------------------

    def start(self) -> SimulatedController:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated controller", daemon=True)
        self._thread.start()
        self._open_https()
        self.open_tunnel_door()
        return self

    def _open_https(self) -> None:
        self.web_port = self._serve_https(_web_handler(self), ["localhost"], self.web_port, client_ca=False)
        self.api_port = self._serve_https(_api_handler(self), [f"api.{CLUSTER}"], self.api_port, client_ca=True)

    def _close_https(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers.clear()

    def reopen(self) -> None:
        """Open every door anew, with certificates of today's authorities."""
        self.close_tunnel_door()
        self._close_https()
        self._open_https()
        self.open_tunnel_door()

    def stop(self) -> None:
        self._close_https()
        self.close_tunnel_door()
        self.run(self._close_doors())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run `work` in the controller's loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT)

    def wait_for(self, ready: Callable[[], R | None], what: str, timeout: float = _WAIT) -> R:
        """Return what `ready` returns once it is true; it is asked again whenever something happens here."""
        with self._condition:
            found = self._condition.wait_for(ready, timeout)
            assert found, f"waited {timeout} s in vain for {what}"
            return found

    def wait_for_looking(self, ready: Callable[[], bool], what: str, timeout: float = _WAIT) -> None:
        """Return once `ready` is true: for what another process does to files, which happens to nobody here."""
        deadline = time.monotonic() + timeout
        while not ready():
            assert time.monotonic() < deadline, f"waited {timeout} s in vain for {what}"
            time.sleep(0.02)

    def happened(self) -> None:
        with self._condition:
            self._condition.notify_all()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.web_port}"

    # --- certificates -----------------------------------------------------------------------------------------

    def person(  # noqa: PLR0913 - a test bends one thing at a time
        self,
        user: str = "alice",
        logins: tuple[str, ...] = ("root",),
        *,
        ttl: timedelta = timedelta(hours=1),
        now: datetime | None = None,
        authority: Ed25519PrivateKey | None = None,
        change: Callable[[CertificateOrder], CertificateOrder] = lambda order: order,
        roles: tuple[str, ...] = ("access",),
    ) -> Person:
        """Return a new key with a user certificate."""
        order = user_order(
            user=UserName(user),
            roles=tuple(RoleName(role) for role in roles),
            logins=tuple(Login(login) for login in logins),
            ttl=ttl,
            serial=self.next_serial(),
            now=now or datetime.now(UTC),
        )
        key = Ed25519PrivateKey.generate()
        path = self.directory / f"person-{uuid.uuid4()}"
        path.touch(mode=0o600)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        certificate = path.with_name(f"{path.name}-cert.pub")
        certificate.write_text(sign_ssh(change(order), public_line(key), authority or self.user_ca) + "\n")
        return Person(path, certificate)

    def known_hosts(self) -> Path:
        """Return a known_hosts file that trusts the host CA for every name."""
        path = self.directory / "known_hosts"
        if not path.exists():  # clients that are starting read it
            path.write_text(f"@cert-authority * {public_line(self.host_ca)}\n")
        return path

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    # --- HTTPS ------------------------------------------------------------------------------------------------

    def _serve_https(
        self, handler: type[BaseHTTPRequestHandler], names: list[str], port: int, *, client_ca: bool
    ) -> int:
        key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())
        sans: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        if not client_ca:
            sans.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        stem = self.directory / f"https-{uuid.uuid4()}"
        chain, private = stem.with_suffix(".crt"), stem.with_suffix(".key")
        chain.write_text(self.tls_ca.issue("insecure test server", key.public_key(), sans) + self.tls_ca.pem)
        private.write_bytes(key.private_bytes(*_PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, private)
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata="\n".join(self.renewals.tls_authorities()))
        server = _QuietServer(("127.0.0.1", port), handler)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return int(server.server_address[1])

    def take_join(self, body: bytes) -> JoinReply:
        """Judge a join request as the real one would, the store apart."""
        request = JoinRequest.from_dict(json.loads(body))
        token = request.token.reveal()
        if token != TOKEN:
            raise MessageError("the controller did not accept this token")
        host_key: Any = load_ssh_public_key(request.ssh_public_key.encode())
        statement = join_statement(token, request.ssh_public_key, request.tls_request)
        host_key.verify(base64.b64decode(request.proof), statement)
        labels = dict(request.labels if self.fixed_labels is None else self.fixed_labels)
        node = self.renewals.enrol(request, labels)
        reply = self.renewals.certify(node, request.tls_request, with_policy=self.renewals.tells_at_join)
        self.joins.append(request)
        return reply

    def recording_terms(self) -> RecordingTerms | None:
        """Return how sessions are to be recorded."""
        if self.mode is None:
            return None
        now = round(datetime.now(UTC).timestamp() * 1000)
        return RecordingTerms(self.mode, self.record_input, RECORDING_KEY_ID, self._recording_public, now)

    def take_events(self, body: bytes) -> EventReceipt:
        """Keep a batch of events, each number once."""
        batch = EventBatch.from_dict(json.loads(body)).events
        held = self.events[-1].sequence if self.events else 0
        if batch and batch[0].sequence > held + limits.EVENT_SEQUENCE_JUMP_MAX:
            raise BadEventError("numbered too far ahead")
        for event in batch:
            kind = BY_CODE[event.code]
            assert kind.from_node
            check_event(kind, event.fields)
        for event in batch:
            if not self.events or event.sequence > self.events[-1].sequence:
                self.events.append(event)
        return EventReceipt(self.events[-1].sequence if self.events else 0)

    def wait_for_event(self, code: str, **fields: object) -> NodeEvent:
        """Return the newest event of `code` with `fields`, once there is one."""

        def found() -> NodeEvent | None:
            for event in reversed(self.events):
                if event.code == code and all(event.fields.get(name) == value for name, value in fields.items()):
                    return event
            return None

        return self.wait_for(found, f"event {code} with {fields}")

    # --- the tunnel door --------------------------------------------------------------------------------------

    def open_tunnel_door(self) -> None:
        self.run(self._open_tunnel_door())

    def close_tunnel_door(self) -> None:
        """Die, as far as the tunnel goes: all connections are cut."""
        self.run(self._close_tunnel_door())

    def say_goodbye(self, node_id: str, words: str) -> None:
        """End one tunnel in good order."""
        self._loop.call_soon_threadsafe(self.tunnels[node_id].disconnect, asyncssh.DISC_BY_APPLICATION, words)

    async def _open_tunnel_door(self) -> None:
        name = ClusterName(self.proxy_name)
        order = proxy_order(cluster=name, hosts=("127.0.0.1",), serial=self.next_serial(), now=datetime.now(UTC))
        private = self._proxy_key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        certificate = sign_ssh(order, public_line(self._proxy_key), self.host_ca)
        self._tunnel_server = await asyncssh.listen(
            "127.0.0.1",
            self.tunnel_port,
            server_factory=lambda: TunnelDoor(self),
            server_host_keys=[(asyncssh.import_private_key(private), asyncssh.import_certificate(certificate))],
            password_auth=False,
            kbdint_auth=False,
            gss_host=None,
        )
        self.tunnel_port = self._tunnel_server.get_port()

    async def _close_tunnel_door(self) -> None:
        if self._tunnel_server:
            self._tunnel_server.close()
            for connection in list(self.tunnels.values()):
                connection.abort()
                await connection.wait_closed()
            await self._tunnel_server.wait_closed()
            self._tunnel_server = None

    def wait_for_node(self, name: str) -> str:
        """Return the id of the node called `name`, once its tunnel stands."""

        def standing() -> str | None:
            return next((node_id for node_id in self.tunnels if self.node_names.get(node_id) == name), None)

        return self.wait_for(standing, f"a tunnel of {name}")

    # --- ports to nodes ---------------------------------------------------------------------------------------

    def door_to(self, node_id: str) -> int:
        """Return a TCP port whose every connection is relayed to the node's SSH server."""
        return self.run(self._open_door(node_id))

    async def _open_door(self, node_id: str) -> int:
        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncssh.Error, KeyError):
                await self._relay(node_id, reader, writer)
            writer.close()

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        self._doors.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _relay(self, node_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")
        there, back = await self.tunnels[node_id].open_connection("node", 3022, host, port, encoding=None)

        async def up() -> None:
            while data := await reader.read(65536):
                back.write(data)
                await back.drain()
            back.write_eof()

        async def down() -> None:
            while data := await there.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()

        async with asyncio.TaskGroup() as group:
            upward = group.create_task(up())
            await down()
            upward.cancel()
        back.close()

    async def _close_doors(self) -> None:
        for server in self._doors:
            server.close()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake that failed is the client's to report."""


class _Handler(BaseHTTPRequestHandler):
    controller: SimulatedController

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass

    def _note(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.controller.requests.append((self.command, self.path))
        self.controller.bodies.append(body)
        return body

    def _reply(self, status: int, message: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(message).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.controller.happened()


def _web_handler(simulated: SimulatedController) -> type[BaseHTTPRequestHandler]:
    class WebHandler(_Handler):
        controller = simulated

        def do_GET(self) -> None:
            self._note()
            self._reply(200, {"anchors": simulated.tls_ca.pem})

        def do_POST(self) -> None:
            body = self._note()
            if simulated.answer:
                error = {"error": {"message": simulated.answer.message}}
                self._reply(simulated.answer.status, error, simulated.answer.headers)
                return
            try:
                if self.path.startswith(endpoints.RENEW.path):
                    answer = simulated.renewals.answer(self.path, body)
                    self._reply(*answer) if answer else self._lose()
                else:
                    self._reply(200, simulated.take_join(body).to_dict())
            except MessageError as err:
                self._reply(403, {"error": {"message": str(err)}})

        def _lose(self) -> None:
            """Have the answer be lost on its way."""
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            simulated.happened()

    return WebHandler


def _api_handler(simulated: SimulatedController) -> type[BaseHTTPRequestHandler]:
    class ApiHandler(_Handler):
        controller = simulated

        def do_GET(self) -> None:
            self._note()
            terms = simulated.recording_terms()
            if simulated.api_is_down:
                self._reply(503, {"error": {"message": "not now"}}, {"Retry-After": "1"})
            elif self.path == endpoints.POLICY.path and simulated.policy:
                own = simulated.node_document
                self._reply(200, {**simulated.policy.to_dict(), "node": own.to_dict() if own else None})
            elif self.path != endpoints.RECORDING_TERMS.path or terms is None:
                self._reply(404, {"error": {"message": "no such thing here"}})
            else:
                self._reply(200, terms.to_dict())

        def do_POST(self) -> None:
            body = self._note()
            if simulated.api_is_down or self.path.startswith(endpoints.UPLOADS):
                self._reply(503, {"error": {"message": "not now"}}, {"Retry-After": "1"})
                return
            try:
                self._reply(200, simulated.take_events(body).to_dict())
            except (BadEventError, KeyError) as err:
                self._reply(400, {"error": {"message": f"not an event: {err}"}})

    return ApiHandler
