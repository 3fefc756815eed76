"""A proxy on 127.0.0.1 with a cluster of real parts, nodes that hold tunnels, and people who come with certificates."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controller.audit import Intact
from controller.cluster import Cluster, open_cluster
from controller.config import parse_config
from controller.proxy.service import ProxyService, ProxySockets
from controller.store.durable import locked
from protocol import certificates, limits, names
from protocol.access import ACCESS
from protocol.certificates import CertificateOrder
from protocol.decision import Granted
from protocol.messages import JoinReply
from protocol.names import NodeId
from tests.controller.harbour import ADMIN, PING, STATIC, WEB, Device, HandClock, public_line

PATIENCE = 20.0
Streams = tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]
Handler = Callable[[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]], Awaitable[None]]


async def echo(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
    """Send back what comes, and the end of it."""
    with suppress(asyncssh.Error, OSError):
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def private_key(key: Ed25519PrivateKey) -> asyncssh.SSHKey:
    return asyncssh.import_private_key(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))


@dataclass
class Credential:
    """A key and a certificate for it, as a peer brings them to a door; `forged` is sent in the certificate's place."""

    line: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    forged: bytes = b""

    def client_keys(self) -> list[Any]:
        pair = asyncssh.load_keypairs([(private_key(self.key), asyncssh.import_certificate(self.line))])[0]
        if self.forged:
            pair.public_data = self.forged  # the library itself would not load it
        return [pair]

    def write(self, folder: Path) -> Path:
        """Write both for OpenSSH's client, and return the key's path."""
        path = folder / "id"
        path.touch(mode=0o600)
        path.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        (folder / "id-cert.pub").write_text(self.line + "\n")
        return path


@dataclass
class SimulatedNode:
    """A node that holds a tunnel; `handler` is given each channel that comes through it."""

    reply: JoinReply
    credential: Credential
    connection: asyncssh.SSHClientConnection
    handler: Handler = echo
    accepting: bool = True

    async def serve(self) -> None:
        def accept(_host: str, _port: int) -> Handler:
            if not self.accepting:
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many connections")
            return self.handler

        await self.connection.start_server(accept, "node", 22, encoding=None)


class ProxyLab:
    """The running proxy."""

    def __init__(self, cluster: Cluster, clock: HandClock, sockets: ProxySockets) -> None:
        self.cluster = cluster
        self.clock = clock
        self.client_port: int = sockets.client.getsockname()[1]
        self.tunnel_port: int = sockets.tunnel.getsockname()[1]
        self.stop = asyncio.Event()
        self.ended = asyncio.Event()
        self.connections: list[asyncssh.SSHClientConnection] = []

    # --- people -------------------------------------------------------------------------------------------------

    def add_user(self, name: str = "alice") -> None:
        parsed = names.parse_user_name(name)
        self.cluster.accounts.users.add(parsed, (names.parse_login("pi"),), limits.INVITE_TTL, ADMIN)

    def user_order(self, name: str = "alice", **changed: Any) -> CertificateOrder:  # noqa: ANN401 - fields of the order
        order = certificates.user_order(
            user=names.parse_user_name(name),
            roles=(ACCESS,),
            logins=(names.parse_login("pi"),),
            ttl=timedelta(hours=1),
            serial=7,
            now=self.clock(),
        )
        return replace(order, **changed)

    def certify(self, order: CertificateOrder, cluster: Cluster | None = None) -> Credential:
        """Return a fresh key with the certificate that `order` describes, by this cluster's authority or another's."""
        key = Ed25519PrivateKey.generate()
        return Credential((cluster or self.cluster).authority.sign_ssh(order, public_line(key)), key)

    def person(self, name: str = "alice") -> Credential:
        if self.cluster.accounts.users.get(name) is None:
            self.add_user(name)
        return self.certify(self.user_order(name))

    async def connect(
        self,
        keys: list[Any],
        port: int | None = None,
        username: str = "pi",
        **options: Any,  # noqa: ANN401 - the library's own
    ) -> asyncssh.SSHClientConnection:
        async with asyncio.timeout(PATIENCE):
            connection = await asyncssh.connect(
                "127.0.0.1",
                port or self.client_port,
                username=username,
                client_keys=keys,
                known_hosts=None,
                config=None,
                agent_path=None,
                **options,
            )
        self.connections.append(connection)
        return connection

    async def person_connected(self, name: str = "alice") -> asyncssh.SSHClientConnection:
        return await self.connect(self.person(name).client_keys())

    # --- devices ------------------------------------------------------------------------------------------------

    def enrol(self, name: str = "gw-1", **labels: str) -> tuple[JoinReply, Credential]:
        device = Device(name)
        joined = self.cluster.enrolment.join(device.request(STATIC, labels=labels), PING, WEB)
        assert isinstance(joined, Granted), joined
        return joined.value, Credential(joined.value.host_certificate, device.key)

    async def dial(
        self, reply: JoinReply, credential: Credential, username: str | None = None
    ) -> asyncssh.SSHClientConnection:
        user = reply.node_id if username is None else username
        return await self.connect(credential.client_keys(), self.tunnel_port, user)

    async def node(self, name: str = "gw-1", handler: Handler = echo, **labels: str) -> SimulatedNode:
        reply, credential = self.enrol(name, **labels)
        node = SimulatedNode(reply, credential, await self.dial(reply, credential), handler)
        await node.serve()
        return node

    # --- what can be seen -----------------------------------------------------------------------------------------

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        return list(self.cluster.audit.entries(kinds=kinds))

    async def audited(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until so many events of a kind are in the audit log, and return them."""
        await eventually(lambda: len(self.entries(kind)) >= count)
        return self.entries(kind)

    def tunnel_state(self, node_id: NodeId) -> str | None:
        tunnel = self.cluster.presence.read().get(node_id)
        return tunnel.state if tunnel else None


async def eventually(condition: Callable[[], bool], within: float = PATIENCE) -> None:
    """Wait for something that shows itself in files or counters alone, which have no event to wait for."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running_proxy(folder: Path, *, drain: str = "1s", login_grace: float = PATIENCE) -> AsyncIterator[ProxyLab]:
    text = (
        f"teleport: {{data_dir: '{folder / 'data'}'}}\n"
        f"auth_service: {{cluster_name: harbour, tokens: ['node:{STATIC}']}}\n"
        f"proxy_service: {{drain_timeout: {drain}}}\n"
    )
    clock = HandClock()
    cluster = open_cluster(parse_config(text, "controller.yaml"), clock)
    with socket.create_server(("127.0.0.1", 0)) as client, socket.create_server(("127.0.0.1", 0)) as tunnel:
        lab = ProxyLab(cluster, clock, ProxySockets(client, tunnel))
        service = ProxyService(cluster, ProxySockets(client, tunnel), login_grace=timedelta(seconds=login_grace))
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(service.run(lab.stop, ready.set))
            running.add_done_callback(lambda _: lab.ended.set())
            await ready.wait()
            try:
                yield lab
            finally:
                for connection in lab.connections:
                    connection.abort()
                lab.stop.set()
                async with asyncio.timeout(PATIENCE):
                    await lab.ended.wait()
    assert isinstance(cluster.audit.verify(), Intact)


async def refusal(connection: asyncssh.SSHClientConnection, target: str) -> tuple[int, str]:
    """Ask for a channel that is refused; return the reason's code and text."""
    try:
        async with asyncio.timeout(PATIENCE):
            await connection.open_connection(target, 22, encoding=None)
    except asyncssh.ChannelOpenError as err:
        return err.code, err.reason
    raise AssertionError(f"a channel to {target!r} was opened")


async def open_to(connection: asyncssh.SSHClientConnection, target: str = "gw-1") -> Streams:
    async with asyncio.timeout(PATIENCE):
        return await connection.open_connection(target, 22, encoding=None)


async def exchange(streams: Streams, data: bytes) -> bytes:
    """Send, and return as many bytes as were sent."""
    reader, writer = streams
    writer.write(data)
    async with asyncio.timeout(PATIENCE):
        return await reader.readexactly(len(data))


@contextmanager
def unwritable_audit_log(lab: ProxyLab) -> Iterator[None]:
    """Have a file where the audit log's directory should be, as after a mistake of an admin's."""
    folder = lab.cluster.config.data_dir / "log"
    with locked(folder / "audit.lock"):  # between two writes
        aside = folder.rename(folder.with_name("log-aside"))
        folder.write_text("in the way")
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)
