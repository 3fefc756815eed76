"""A node's end of joining (`protocol.joining`), for tests of `tsh join`: a real SSH server that knows some sessions.

It applies what a node applies to the keys of each mode, and keeps what reached it. The program that would run there
is the test: it says what is shown, and reads what was typed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import asyncssh

from protocol.certificates import UserIdentity, judge_user_certificate
from protocol.joining import END_KEY, LEAVE_KEY, MODE_VARIABLE, NO_SUCH_SESSION, SESSION_VARIABLE
from protocol.ssh.certificate import key_blob
from protocol.ssh.gate import Gate
from tests.harness.simulated_proxy import SimulatedNode, SimulatedProxy

READY = "the screen as it is\r\n"


@dataclass
class Joined:
    """One channel that joined.

    Attributes:
        login: as whom it came.
        environment: what it said.
        sizes: columns and rows, each time it told of them.
        typed: what came from it, keys that mean something to the node included.
        ends: how often it said that no more would come.
    """

    login: str
    environment: dict[str, str]
    sizes: list[tuple[int, int]]
    typed: bytearray = field(default_factory=bytearray)
    ends: int = 0


@dataclass
class SimulatedCompany:
    """Sessions on one node, and who joined.

    Attributes:
        sessions: the ids that are known.
        screen: what who joins is shown first.
        port: where the node listens.
    """

    sessions: set[str] = field(default_factory=set)
    screen: str = READY
    joined: list[Joined] = field(default_factory=list)
    port: int = 0


class _Channel(asyncssh.SSHServerSession[bytes]):
    def __init__(self, company: SimulatedCompany, login: str) -> None:
        self._company, self._login = company, login
        self._sizes: list[tuple[int, int]] = []
        self._channel: asyncssh.SSHServerChannel[bytes]

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def pty_requested(self, term_type: str, term_size: tuple[int, int, int, int], term_modes: object) -> bool:  # noqa: ARG002 - the library's
        self._sizes.append(term_size[:2])
        return True

    def shell_requested(self) -> bool:
        said = {key.decode(): value.decode() for key, value in self._channel.get_environment_bytes().items()}
        self._mode = said.get(MODE_VARIABLE, "")
        self._told = Joined(self._login, said, self._sizes)
        self._is_known = said.get(SESSION_VARIABLE) in self._company.sessions
        return True

    def session_started(self) -> None:
        if not self._is_known:
            self._channel.write(f"Skerry: {NO_SUCH_SESSION}\r\n".encode())
            self._channel.exit(255)
            return
        self._company.joined.append(self._told)
        self._channel.write(self._company.screen.encode())

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:  # noqa: ARG002 - the library's
        self._sizes.append((width, height))
        self._channel.write(f"size {width} {height}\r\n".encode())

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - the library's
        self._told.typed += data
        if self._mode == "peer":
            self._channel.write(b"<" + data + b">")
        elif LEAVE_KEY in data:
            self._channel.exit(0)
        elif self._mode == "moderator" and END_KEY in data:
            self._channel.exit_with_signal("HUP")

    def eof_received(self) -> bool:
        self._told.ends += 1
        self._channel.write(b"no more input\r\n")
        if self._mode == "peer":
            self._channel.exit(3)
        return True


class _NodeDoor(asyncssh.SSHServer):
    def __init__(self, proxy: SimulatedProxy, company: SimulatedCompany) -> None:
        self._company = company
        self._gate: Gate[UserIdentity] = Gate(
            lambda certificate, user: judge_user_certificate(
                certificate, authorities=[key_blob(proxy.user_ca.line)], now=datetime.now(UTC), login=user
            )
        )
        self._proxy = proxy

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._proxy.connections.append(conn)
        self._gate.guard(conn)

    def public_key_auth_supported(self) -> bool:
        return True

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return _Channel(self._company, self._connection.get_extra_info("username"))


@contextmanager
def company_on(proxy: SimulatedProxy, node: SimulatedNode) -> Iterator[SimulatedCompany]:
    """Let `node` be reached at a server that knows joining, by its own door and through the proxy."""
    company = SimulatedCompany()
    assert proxy.loop
    folder = node.config.parent
    key = asyncssh.read_private_key(folder / "host")
    certificate = asyncssh.read_certificate(folder / "host-cert.pub")

    async def begin() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=partial(_NodeDoor, proxy, company),
            server_host_keys=[(key, certificate)],
            gss_host=None,
            encoding=None,
            line_editor=False,
        )

    async def end() -> None:
        acceptor.close()
        await acceptor.wait_closed()

    acceptor = asyncio.run_coroutine_threadsafe(begin(), proxy.loop).result(10)
    company.port = node.port = acceptor.get_port()
    try:
        yield company
    finally:
        node.port = None
        asyncio.run_coroutine_threadsafe(end(), proxy.loop).result(10)
