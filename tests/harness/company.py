"""A node with people on it who share sessions: real SSH on loopback, clients that keep every byte they are sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from edge_agent.control import Control
from edge_agent.meeting import Meeting
from edge_agent.seat import Seat
from edge_agent.ssh_server import NodeServer
from edge_agent.studio import Studio
from protocol.events import EventKind, Json
from protocol.joining import MODE_VARIABLE, NEWS_VARIABLE, SESSION_VARIABLE, SessionNews
from protocol.names import SessionId
from tests.harness.inner_door import inner_door
from tests.harness.road import OWN
from tests.harness.simulated_controller import Person, SimulatedController

PATIENCE = 30.0
# A shell that says when it is ready, and neither echoes nor prompts.
QUIET = "stty -echo; echo ready; exec cat"


class Guest(asyncssh.SSHClientSession[bytes]):
    """One channel of somebody's.

    Attributes:
        seen: all that came, of both streams.
        news: the messages for the client, in order.
    """

    def __init__(self) -> None:
        self.seen = bytearray()
        self.news: list[SessionNews] = []
        self.is_over = False
        self.channel: Any = None
        self._changed = asyncio.Event()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.channel = chan
        self.channel._process_session_news_at_skerry_request = self._hear

    def _hear(self, packet: Any) -> bool:  # noqa: ANN401 - the library's
        self.news.append(SessionNews.decode(packet.get_string()))
        packet.check_end()
        self._changed.set()
        return True

    def data_received(self, data: bytes, datatype: int | None) -> None:
        del datatype
        self.seen += data
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_over = True
        self._changed.set()

    @property
    def status(self) -> int | None:
        """The exit status, minus the signal's number where one ended the program."""
        found: int | None = self.channel.get_returncode()
        return found

    def type(self, data: bytes) -> None:
        self.channel.write(data)

    def stop_reading(self) -> None:
        """Read nothing, as a client that hangs."""
        self._transport.pause_reading()

    def read_on(self) -> None:
        self._transport.resume_reading()

    @property
    def connection(self) -> Any:  # noqa: ANN401 - the library's connection
        return self.channel.get_connection()

    @property
    def _transport(self) -> Any:  # noqa: ANN401 - the library's connection, looked into
        return self.connection._transport

    def resize(self, columns: int, rows: int) -> None:
        self.channel.change_terminal_size(columns, rows)

    async def sees(self, text: bytes, *, after: int = 0) -> int:
        """Wait for `text`, and return where it ends."""
        start = after

        def found() -> bool:
            nonlocal start
            at = self.seen.find(text, start)
            start = at if at >= 0 else max(after, len(self.seen) - len(text))
            return at >= 0

        await self.until(found, lambda: f"{text!r} in {bytes(self.seen[-500:])!r}")
        return start + len(text)

    async def hears(self, good: Callable[[SessionNews], bool]) -> SessionNews:
        """Wait for news, and return the first that is good."""
        await self.until(lambda: any(map(good, self.news)), lambda: f"news among {self.news}")
        return next(filter(good, self.news))

    async def over(self) -> bytes:
        """Wait for the end, and return all that came."""
        await self.until(lambda: self.is_over, lambda: f"the end of {bytes(self.seen[-2000:])!r}")
        return bytes(self.seen)

    async def until(self, ready: Callable[[], bool], what: Callable[[], str]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not ready():
                    assert not self.is_over, f"over before {what()}"
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what()}") from None


@dataclass
class Company:
    """A node, and what it reported."""

    controller: SimulatedController
    server: NodeServer
    control: Control
    port: int = 0
    reported: list[tuple[str, Mapping[str, Json]]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def person(self, name: str, *logins: str) -> Person:
        return self.controller.person(name, logins or (OWN,))

    @contextlib.asynccontextmanager
    async def line(self, person: Person, login: str = OWN) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Yield a connection of somebody's."""
        connection = await asyncssh.connect(
            "127.0.0.1",
            self.port,
            config=[],
            username=login,
            client_keys=[(str(person.key), str(person.certificate))],
            known_hosts=None,
            agent_path=None,
        )
        try:
            yield connection
        finally:
            connection.abort()
            await connection.wait_closed()

    @contextlib.asynccontextmanager
    async def began(
        self,
        name: str = "alice",
        command: str | None = QUIET,
        *,
        size: tuple[int, int] | None = (80, 24),
        news: bool = False,
    ) -> AsyncIterator[Guest]:
        """Yield a session of somebody's own, on a connection of its own, once it said that it is ready."""
        async with self.line(self.person(name)) as connection:
            guest = await ask(connection, command, size=size, variables={NEWS_VARIABLE: "1"} if news else {})
            await guest.sees(b"ready")
            yield guest

    @contextlib.asynccontextmanager
    async def joined(
        self,
        name: str,
        mode: str | None = None,
        *,
        session: str | None = None,
        size: tuple[int, int] | None = (80, 24),
        news: bool = False,
        window: int = 2**21,
    ) -> AsyncIterator[Guest]:
        """Yield somebody's part in the only session there is, or the one named; it may have been refused."""
        variables = {SESSION_VARIABLE: self.only.plan.session if session is None else session}
        variables |= {MODE_VARIABLE: mode} if mode is not None else {}
        variables |= {NEWS_VARIABLE: "1"} if news else {}
        async with self.line(self.person(name)) as connection:
            yield await ask(connection, None, size=size, variables=variables, window=window)

    @property
    def meetings(self) -> list[Meeting]:
        return list(self.server.house.register)

    @property
    def only(self) -> Meeting:
        (found,) = self.meetings
        return found

    def seat(self, user: str) -> Seat:
        """Return somebody's seat in the only session there is."""
        return next(seat for seat in self.only.seats if seat.user == user)

    @property
    def session(self) -> SessionId:
        return self.only.plan.session

    def events(self, code: str) -> list[Mapping[str, Json]]:
        return [fields for kind, fields in self.reported if kind == code]

    async def event(self, code: str, **wanted: object) -> Mapping[str, Json]:
        """Wait for an event."""

        def found() -> list[Mapping[str, Json]]:
            return [fields for fields in self.events(code) if wanted.items() <= fields.items()]

        await self.until(lambda: bool(found()))
        return found()[0]

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until something is so, which is looked at after every event and every change of a session."""
        async with asyncio.timeout(PATIENCE):
            while not ready():
                self.changed.clear()
                await self.changed.wait()


async def ask(
    connection: asyncssh.SSHClientConnection,
    command: str | None,
    *,
    size: tuple[int, int] | None,
    variables: Mapping[str, str],
    window: int = 2**21,
) -> Guest:
    """Open a channel, and ask for a shell or a command."""
    said: dict[bytes | str, bytes | str] = dict(variables.items())
    guest = Guest()
    await connection.create_session(
        lambda: guest,
        command,
        env=said,
        term_type="xterm" if size else None,
        term_size=size or (0, 0),
        encoding=None,
        window=window,
    )
    return guest


@contextlib.asynccontextmanager
async def company(controller: SimulatedController, studio: Studio | None = None) -> AsyncIterator[Company]:
    """Serve as a node; sessions are recorded by `studio`, where there is one."""
    found: list[Company] = []
    reported: list[tuple[str, Mapping[str, Json]]] = []

    def report(kind: EventKind, fields: Mapping[str, Json]) -> None:
        reported.append((kind.code, fields))
        found[0].changed.set()

    def rule(control: Control, server: NodeServer) -> None:
        found.append(Company(controller, server, control, 0, reported))
        server.house.register.on_change(found[0].changed.set)

    async with inner_door(controller, login_grace=PATIENCE, report=report, rule=rule, studio=studio) as port:
        found[0].port = port
        yield found[0]
