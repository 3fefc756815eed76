"""A controller's end for tests of `tsh`: a real HTTPS server, a real SSH door, and OpenSSH's sshd as each node.

It runs in threads of the test's own process, so that a test can say how it should misbehave and see what
reached it. Rules it applies are those of `protocol`; what it does not have is a store.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import names
from protocol.certificates import UserIdentity, judge_user_certificate, node_order, proxy_order, user_order
from protocol.fleet_sessions import SessionEntry, SessionList
from protocol.messages import ErrorReply, NodeEntry, NodeList, NodeStatus, Ping, SignInReply, SignInRequest
from protocol.names import Login, NodeId, NodeName, RoleName
from protocol.pins import certificate_pin
from protocol.secret import Secret
from protocol.ssh.certificate import key_blob
from protocol.ssh.gate import Gate
from tests.harness.empty_home import with_empty_homes
from tests.harness.simulated_authority import SshAuthority, WebAuthority, private_pem, public_line
from tests.harness.simulated_factors import FACTORS, SimulatedFactors
from tests.harness.simulated_recordings import SimulatedRecordings

CLUSTER = names.parse_cluster_name("harbour")
PASSWORD = "insecure correct horse"
OTP = "123456"
TOKEN = names.parse_token("insecure-session-token")
SINCE = 1795341600000  # of every node's status: 22 November 2026, 10:00 UTC
UNIFORM = "invalid username, password or second factor"


@dataclass
class SimulatedNode:
    """One node: its names, its labels, and who it proves to be.

    Attributes:
        port: where a server listens that is asked in sshd's place; None where there is none.
    """

    node_id: NodeId
    name: NodeName
    labels: dict[str, str]
    config: Path
    environment: dict[str, str]
    status: NodeStatus = "unknown"
    port: int | None = None

    def entry(self) -> NodeEntry:
        return NodeEntry(self.node_id, self.name, "⟵ Tunnel", self.labels, self.status, SINCE)


@dataclass
class SimulatedProxy:
    """What a test may set, and what it may look at afterwards.

    Attributes:
        lifetime: how long certificates live; negative for one that has expired.
        refusals: what the client door answers for a name instead of opening a channel.
        impostors: a name, and the node that answers under it.
        requests: method, path and body of what reached the web door.
        channels: what the client door was asked to open.
        traps: names on which it drops the connection instead of answering.
        recordings: the recordings that the web door shows.
        sessions: the sessions that it says are going on.
        factors: the second factors of the person.
        further_anchors: what follows its own authority in the bundle that the web door hands out, PEM.
    """

    folder: Path
    logins: tuple[str, ...]
    lifetime: timedelta = timedelta(hours=12)
    refusals: dict[str, str] = field(default_factory=dict)
    impostors: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    channels: list[tuple[str, int]] = field(default_factory=list)
    traps: set[str] = field(default_factory=set)
    nodes: list[SimulatedNode] = field(default_factory=list)
    signed_out: bool = False
    further_anchors: str = ""
    recordings: SimulatedRecordings = field(default_factory=SimulatedRecordings)
    sessions: list[SessionEntry] = field(default_factory=list)
    factors: SimulatedFactors = field(default_factory=SimulatedFactors)

    def __post_init__(self) -> None:
        self.user_ca, self.host_ca = SshAuthority(), SshAuthority()
        self.web_ca = WebAuthority(self.folder)
        self.web_port = self.ssh_port = 0
        self.door_key = self.certify_proxy(self.host_ca)
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def pin(self) -> str:
        return certificate_pin(self.web_ca.pem)

    def certify_proxy(self, authority: SshAuthority) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
        """Return the client door's key, certified by `authority`."""
        key = Ed25519PrivateKey.generate()
        order = proxy_order(cluster=CLUSTER, hosts=("127.0.0.1",), serial=1, now=datetime.now(UTC))
        certificate = asyncssh.import_certificate(authority.sign(order, public_line(key)))
        return asyncssh.import_private_key(private_pem(key)), certificate

    def add_node(self, name: str, **labels: str) -> SimulatedNode:
        """Set up a node: an sshd configuration with a certified host key."""
        node_id, node_name = names.parse_node_id(str(uuid.uuid4())), names.parse_node_name(name)
        folder = self.folder / node_id
        folder.mkdir(mode=0o700)
        key = Ed25519PrivateKey.generate()
        (folder / "host").touch(mode=0o600)
        (folder / "host").write_bytes(private_pem(key))
        order = node_order(
            node_id=node_id, name=node_name, cluster=CLUSTER, generation=1, serial=2, now=datetime.now(UTC)
        )
        (folder / "host-cert.pub").write_text(self.host_ca.sign(order, public_line(key)) + "\n")
        (folder / "user_ca").write_text(self.user_ca.line + "\n")
        config = folder / "sshd_config"
        config.write_text(
            f"HostKey {folder}/host\nHostCertificate {folder}/host-cert.pub\nTrustedUserCAKeys {folder}/user_ca\n"
            "PermitRootLogin yes\nUsePAM no\nStrictModes no\nPidFile none\nAuthorizedKeysFile none\nUseDNS no\n"
            "AcceptEnv LANG LC_*\nPrintMotd no\nPrintLastLog no\nLogLevel ERROR\n"
        )
        node = SimulatedNode(node_id, node_name, labels, config, with_empty_homes(folder / "home"))
        self.nodes.append(node)
        return node

    def find(self, target: str) -> SimulatedNode | None:
        target = self.impostors.get(target, target)
        return next((node for node in self.nodes if target in (node.node_id, node.name)), None)

    def sign_in(self, request: SignInRequest) -> SignInReply | None:
        """Return what a person with the right password and code gets."""
        if (request.password.reveal(), request.otp.reveal()) != (PASSWORD, OTP):
            return None
        now = datetime.now(UTC)
        span = min(self.lifetime, timedelta(seconds=request.ttl_seconds))
        issued = now if span > timedelta(0) else now - timedelta(days=1)
        order = user_order(
            user=request.user,
            roles=(RoleName("access"),),
            logins=tuple(Login(login) for login in self.logins),
            ttl=max(span, timedelta(minutes=1)),
            serial=7,
            now=issued,
        )
        return SignInReply(
            user=request.user,
            cluster_name=CLUSTER,
            roles=(RoleName("access"),),
            logins=tuple(Login(login) for login in self.logins),
            certificate=self.user_ca.sign(order, request.public_key),
            host_authorities=(self.host_ca.line,),
            session_token=Secret(TOKEN),
            valid_until=int(order.valid_before.timestamp()),
            ssh_address=f":{self.ssh_port}",
        )

    def drop_connections(self) -> None:
        """Cut every SSH connection, as a dying proxy would."""
        assert self.loop
        for connection in list(self.connections):
            self.loop.call_soon_threadsafe(connection.abort)


class _WebDoor(http.server.BaseHTTPRequestHandler):
    proxy: SimulatedProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""

    def do_GET(self) -> None:
        proxy = self.proxy
        proxy.requests.append(("GET", self.path, b""))
        if self.path == "/v1/ping":
            self._answer(200, Ping(CLUSTER, "0", f":{proxy.ssh_port}", ":0", ":0").to_dict())
        elif self.path == "/v1/authorities":
            self._answer(200, {"anchors": proxy.web_ca.pem + proxy.further_anchors})
        elif self.path == "/v1/nodes" and self._signed_in():
            self._answer(200, NodeList(tuple(node.entry() for node in proxy.nodes)).to_dict())
        elif self.path == "/v1/sessions" and self._signed_in():
            self._answer(200, SessionList(tuple(proxy.sessions)).to_dict())
        elif self.path.startswith("/v1/recordings") and self._signed_in():
            self._answer_for_recordings()
        elif self.path.startswith(FACTORS) and self._signed_in():
            self._send(*proxy.factors.answer("GET", self.path, b""))

    def do_DELETE(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.proxy.requests.append(("DELETE", self.path, body))
        if self._signed_in():
            self._send(*self.proxy.factors.answer("DELETE", self.path, body))

    def do_POST(self) -> None:
        proxy = self.proxy
        body = self.rfile.read(int(self.headers["Content-Length"]))
        proxy.requests.append(("POST", self.path, body))
        if self.path == "/v1/sign-in":
            reply = proxy.sign_in(SignInRequest.from_dict(json.loads(body)))
            self._answer(*((200, reply.to_dict()) if reply else (401, ErrorReply(UNIFORM).to_dict())))
        elif self.path == "/v1/sign-out" and self._signed_in():
            proxy.signed_out = True
            self._answer(200, {})
        elif self.path.startswith("/v1/recordings") and self._signed_in():
            self._answer_for_recordings()
        elif self.path.startswith(FACTORS) and self._signed_in():
            self._send(*proxy.factors.answer("POST", self.path, body))

    def _answer_for_recordings(self) -> None:
        reply = self.proxy.recordings.answer(self.command, self.path)
        if reply is None:
            self.close_connection = True
        else:
            self._send(*reply)

    def _signed_in(self) -> bool:
        known = self.headers["Authorization"] == f"Bearer {TOKEN}" and not self.proxy.signed_out
        if not known:
            self._answer(401, ErrorReply("sign in again").to_dict())
        return known

    def _answer(self, status: int, value: object) -> None:
        self._send(status, {}, json.dumps(value).encode())

    def _send(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)


class _NodeChannel(asyncssh.SSHTCPSession[bytes], asyncio.Protocol):
    """One channel, relayed to an sshd of its own over a socket pair, or to the node's own server."""

    def __init__(self, node: SimulatedNode) -> None:
        self._sshd: subprocess.Popen[bytes] | None = None
        self._socket = socket.create_connection(("127.0.0.1", node.port)) if node.port else self._start_sshd(node)
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def _start_sshd(self, node: SimulatedNode) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._sshd = subprocess.Popen(
                ["/usr/sbin/sshd", "-i", "-f", str(node.config)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                env=os.environ | node.environment,
            )
        return ours

    def connection_made(self, side: object) -> None:
        if isinstance(side, asyncssh.SSHTCPChannel):
            self._channel = side
        elif isinstance(side, asyncio.Transport):
            self._transport = side

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, sock=self._socket)

    def data_received(self, data: bytes, datatype: object = "from sshd") -> None:
        if datatype == "from sshd":
            if self._channel:
                self._channel.write(data)
        elif self._transport:
            self._transport.write(data)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self._transport:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the library's
        if self._transport:
            self._transport.close()
        if self._channel:
            self._channel.close()
        if self._sshd:
            threading.Thread(target=self._sshd.wait, daemon=True).start()


class _ClientDoor(asyncssh.SSHServer):
    def __init__(self, proxy: SimulatedProxy) -> None:
        self._proxy = proxy
        self._gate: Gate[UserIdentity] = Gate(
            lambda certificate, _user: judge_user_certificate(
                certificate, authorities=[key_blob(proxy.user_ca.line)], now=datetime.now(UTC), login=None
            )
        )

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._proxy.connections.append(conn)
        self._gate.guard(conn)

    def public_key_auth_supported(self) -> bool:
        return True

    async def connection_requested(
        self,
        dest_host: str,
        dest_port: int,
        orig_host: str,  # noqa: ARG002 - the library's
        orig_port: int,  # noqa: ARG002 - the library's
    ) -> asyncssh.SSHTCPSession[bytes]:
        self._proxy.channels.append((dest_host, dest_port))
        if dest_host in self._proxy.traps:
            self._proxy.drop_connections()
        node = self._proxy.find(dest_host)
        reason = self._proxy.refusals.get(dest_host, None if node else f'no node "{dest_host}" is known')
        if reason is not None or node is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, reason or "")
        channel = _NodeChannel(node)
        await channel.connect()
        if self._connection.is_closed():  # then nobody tells the channel
            channel.connection_lost(None)
        return channel


@contextmanager
def running(proxy: SimulatedProxy) -> Iterator[SimulatedProxy]:
    """Serve until left."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd, as root, confines its unprivileged half
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("WebDoor", (_WebDoor,), {"proxy": proxy}))
    web.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is what some tests do
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(proxy.web_ca.certificate_file, proxy.web_ca.key_file)
    web.socket = context.wrap_socket(web.socket, server_side=True)
    proxy.web_port = web.server_port
    started, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        stop = asyncio.Event()
        proxy.loop = asyncio.get_running_loop()
        proxy.stop = lambda: proxy.loop.call_soon_threadsafe(stop.set)  # type: ignore[attr-defined]
        door = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: _ClientDoor(proxy),
            server_host_keys=[proxy.door_key],
            gss_host=None,
            allow_pty=False,
        )
        proxy.ssh_port = door.get_port()
        started.set()
        await stop.wait()
        door.close()
        for connection in proxy.connections:
            connection.abort()
        await door.wait_closed()
        ended.set()

    threads = [
        threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}),
        threading.Thread(target=asyncio.run, args=(serve(),)),
    ]
    for thread in threads:
        thread.start()
    try:
        assert started.wait(10)
        yield proxy
    finally:
        web.shutdown()
        web.server_close()
        proxy.stop()  # type: ignore[attr-defined]
        for thread in threads:
            thread.join(10)
