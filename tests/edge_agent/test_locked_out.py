"""Locks at the node itself: who works is ended, who comes is refused, and both are told why."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest

from edge_agent.control import STALE, VOID, Control
from edge_agent.recorder import Recorder, Subject
from edge_agent.ssh_server import NodeServer
from edge_agent.studio import Studio
from protocol import limits
from protocol.decision import Refused
from protocol.events import EventKind, Json
from protocol.instants import to_milliseconds
from protocol.locks import Lock, LockingMode, LockKind
from protocol.names import UserName
from tests.harness.inner_door import inner_door
from tests.harness.recording_room import Room, recording_room
from tests.harness.road import OWN, Agent, Shell, join_arguments
from tests.harness.simulated_controller import CLUSTER, Person, SimulatedController

PATIENCE = 20.0


@dataclass
class Node:
    """A node, its control, and what it reported."""

    controller: SimulatedController
    control: Control
    server: NodeServer
    port: int
    reported: list[tuple[str, Mapping[str, Json]]] = field(default_factory=list)
    version: int = 0
    banners: list[str] = field(default_factory=list)
    farewells: list[str] = field(default_factory=list)
    uptime: int = 100_000

    def lock(self, *locks: tuple[LockKind, str], mode: LockingMode = "best_effort", **void: int) -> None:
        """Have a policy document with these locks come; certificates of whom it names are `void` before then."""
        self.version += 1
        made = tuple(
            Lock(str(uuid.uuid4()), kind, value, "lost laptop", None, datetime.now(UTC)) for kind, value in locks
        )
        policy = replace(self.controller.renewals.policy(CLUSTER), version=self.version, locks=made, locking_mode=mode)
        policy = replace(policy, void_before={UserName(user): before for user, before in void.items()})
        self.control.take_policy(self.controller.renewals.endorse("policy", policy.encode(), CLUSTER), fresh=True)

    @contextlib.asynccontextmanager
    async def client(
        self, person: Person, *, pair: asyncssh.SSHKeyPair | None = None
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        connection, _ = await asyncssh.create_connection(
            lambda: Told(self.banners, self.farewells),
            "127.0.0.1",
            self.port,
            config=[],
            username=OWN,
            client_keys=[pair or (str(person.key), str(person.certificate))],
            known_hosts=None,
            agent_path=None,
        )
        try:
            yield connection
        finally:
            connection.abort()
            await connection.wait_closed()

    def events(self, name: str) -> list[Mapping[str, Json]]:
        return [fields for kind, fields in self.reported if kind == name]


class Told(asyncssh.SSHClient):
    """A client that keeps what it is told before it is let in, and when it is sent away."""

    def __init__(self, banners: list[str], farewells: list[str]) -> None:
        self._banners = banners
        self._farewells = farewells

    def connection_lost(self, exc: Exception | None) -> None:
        self._farewells.append(str(exc))

    def auth_banner_received(self, msg: str, lang: str) -> None:
        del lang
        self._banners.append(msg)


@pytest.fixture
async def node(own_controller: SimulatedController) -> AsyncIterator[Node]:
    async with serving(own_controller) as found:
        yield found


@contextlib.asynccontextmanager
async def serving(controller: SimulatedController, studio: Studio | None = None) -> AsyncIterator[Node]:
    """Serve as a node that knows of no locks yet; sessions are recorded by `studio`, where there is one."""
    found: list[Node] = []
    reported: list[tuple[str, Mapping[str, Json]]] = []

    def report(kind: EventKind, fields: Mapping[str, Json]) -> None:
        reported.append((kind.name, fields))

    def rule(control: Control, server: NodeServer) -> None:
        found.append(Node(controller, control, server, 0, reported))

    def uptime() -> int:
        return found[0].uptime if found else Node.uptime

    async with inner_door(
        controller, login_grace=PATIENCE, report=report, rule=rule, uptime=uptime, studio=studio
    ) as port:
        found[0].port = port
        yield found[0]


@pytest.fixture
def alice(own_controller: SimulatedController) -> Person:
    return own_controller.person("alice", (OWN,))


async def asked(connection: asyncssh.SSHClientConnection, command: str) -> asyncssh.SSHClientProcess[str]:
    """Return the process once it was begun, or not."""
    return await connection.create_process(command)


async def ended(process: asyncssh.SSHClientProcess[str]) -> str:
    """Return what the person saw last, once the session is over."""
    async with asyncio.timeout(PATIENCE):
        said = await process.stdout.read() + await process.stderr.read()
        await process.wait_closed()
    return said


@pytest.mark.parametrize(
    ("kind", "value", "named"),
    [("user", "alice", 'User:"alice"'), ("login", OWN, f'Login:"{OWN}"')],
    ids=["user", "login"],
)
async def test_a_live_session_ends_and_the_person_reads_why(
    node: Node, alice: Person, kind: LockKind, value: str, named: str
) -> None:
    async with node.client(alice) as connection:
        process = await connection.create_process("echo ready; exec sleep 600")
        assert await process.stdout.readline() == "ready\n"
        node.lock((kind, value))
        assert f"Skerry: lock targeting {named} is in force: lost laptop" in await ended(process)
        async with asyncio.timeout(PATIENCE):
            await connection.wait_closed()
    session_end = node.events("session.end")[0]
    assert session_end["reason"] == f"lock targeting {named} is in force: lost laptop"


async def test_a_shell_on_a_terminal_that_ignores_hanging_up_ends_too(node: Node, alice: Person) -> None:
    async with node.client(alice) as connection:
        process = await connection.create_process(
            "trap '' HUP TERM; echo ready; while :; do sleep 600; done", term_type="xterm"
        )
        assert "ready" in await process.stdout.readline()
        node.lock(("node", node.control._papers.identity.granted.node_id))
        said = await ended(process)
    assert "lock targeting Node:" in said


@pytest.mark.parametrize("command", ["trap '' HUP TERM; echo ready; while :; do sleep 600; done", None])
async def test_nothing_is_left_of_the_connection_a_second_after_the_lock(
    node: Node, alice: Person, command: str | None
) -> None:
    """By the order of what is due on the event loop, whatever else keeps the machine busy."""
    async with node.client(alice) as connection:
        if command:
            process = await connection.create_process(command)
            assert await process.stdout.readline() == "ready\n"
        assert node.server.connections == 1
        loop, second = asyncio.get_running_loop(), asyncio.Event()
        loop.call_later(1.0, second.set)
        node.lock(("user", "alice"))
        await second.wait()
        await asyncio.sleep(0)  # what was begun in that second is done in the same turn or the next
        assert node.server.connections == 0


async def test_a_forwarding_without_a_session_ends(node: Node, alice: Person) -> None:
    over = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await reader.read()
        writer.close()
        over.set()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server, node.client(alice) as connection:
        port = server.sockets[0].getsockname()[1]
        reader, _ = await connection.open_connection("127.0.0.1", port, encoding=None)
        async with asyncio.timeout(PATIENCE):
            assert await reader.readexactly(5) == b"hello"
            node.lock(("user", "alice"))
            await over.wait()


async def test_others_go_on(node: Node, alice: Person, own_controller: SimulatedController) -> None:
    bob = own_controller.person("bob", (OWN,))
    async with node.client(bob) as connection:
        process = await connection.create_process("read line; echo got $line")
        node.lock(("user", "alice"))
        process.stdin.write("it\n")
        async with asyncio.timeout(PATIENCE):
            assert await process.stdout.readline() == "got it\n"
        with pytest.raises(asyncssh.PermissionDenied):
            async with node.client(alice):
                pass


async def test_who_is_locked_out_is_not_let_in_and_reads_why(node: Node, alice: Person) -> None:
    node.lock(("user", "alice"))
    with pytest.raises(asyncssh.PermissionDenied):
        async with node.client(alice):
            pass
    assert node.banners == ['Skerry: lock targeting User:"alice" is in force: lost laptop\r\n']
    async with asyncio.timeout(PATIENCE):
        while not node.events("auth"):  # noqa: ASYNC110 - it is reported when the server has seen the end
            await asyncio.sleep(0.01)
    refusal = node.events("auth")[0]
    assert (refusal["check"], refusal["success"]) == ("X1", False)


async def test_a_stranger_is_not_told_of_locks(node: Node, own_controller: SimulatedController) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    node.lock(("user", "alice"))
    forged = own_controller.person("alice", (OWN,), authority=Ed25519PrivateKey.generate())
    with pytest.raises(asyncssh.PermissionDenied):
        async with node.client(forged):
            pass
    assert not node.banners


async def test_who_shows_a_certificate_and_does_not_sign_is_not_told_of_locks(node: Node, alice: Person) -> None:
    """Anybody may have seen a certificate: it is no secret."""
    node.lock(("user", "alice"))
    pair = asyncssh.load_keypairs([(str(alice.key), str(alice.certificate))])[0]
    pair._key = asyncssh.generate_private_key("ssh-ed25519")  # type: ignore[attr-defined]  # the thief's own
    with pytest.raises(asyncssh.PermissionDenied):
        async with node.client(alice, pair=pair):
            pass
    assert not node.banners


async def test_the_end_of_a_lock_lets_people_in_again(node: Node, alice: Person) -> None:
    node.lock(("user", "alice"))
    node.lock()
    async with node.client(alice) as connection:
        done = await connection.run("echo in", check=True)
        assert done.stdout == "in\n"


class HeldStudio(Studio):
    """A studio that begins no recording before it is let."""

    def __init__(self, room: Room) -> None:
        super().__init__(room.identity, room.spool, room.terms, node={}, report=lambda _kind, _fields: None)
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def begin(self, subject: Subject) -> Recorder | Refused | None:
        self.asked.set()
        await self.let.wait()
        return await super().begin(subject)


async def test_a_session_that_is_only_being_prepared_does_not_begin(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    there = tmp_path / "it began"
    async with recording_room(own_controller, tmp_path / "spool") as room:
        studio = HeldStudio(room)
        alice = own_controller.person("alice", (OWN,))
        async with serving(own_controller, studio) as node, node.client(alice) as connection:
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                asking = group.create_task(asked(connection, f"touch '{there}'"))
                await studio.asked.wait()
                node.lock(("user", "alice"))
                studio.let.set()
                process = await asking
            said = await ended(process)
            async with asyncio.timeout(PATIENCE):
                await connection.wait_closed()
        async with asyncio.timeout(PATIENCE):
            await studio.wait_until_sealed()
    assert not there.exists()
    assert "lock targeting User" in said + " ".join(node.farewells)


@pytest.mark.system
def test_who_was_locked_out_when_the_node_joined_stays_so_before_it_hears_anything_else(
    own_controller: SimulatedController, start_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    own_controller.renewals.tells_at_join = True
    own_controller.renewals.locks = (Lock(str(uuid.uuid4()), "user", "alice", "lost laptop", None, datetime.now(UTC)),)
    alice, bob = (own_controller.person(name, (OWN,)) for name in ("alice", "bob"))
    data = tmp_path / "data"
    for arguments in (join_arguments(own_controller, "n1", data), ["--data-dir", str(data)]):
        agent = start_agent(own_controller, *arguments)
        node_id = own_controller.wait_for_node("n1")
        shell = Shell(own_controller, own_controller.door_to(node_id), node_id)
        assert shell.run(alice, "true").returncode == 255
        assert shell.run(bob, "echo in").stdout == b"in\n"
        agent.wait_for_line("refused login")
        assert agent.stop() == 0
        own_controller.wait_for(lambda: not own_controller.tunnels, "the end of the tunnel")
        (data / "policy.json").unlink(missing_ok=True)  # as where the disk would not have it


async def test_in_strict_mode_a_node_that_has_not_heard_for_long_ends_what_goes_on(node: Node, alice: Person) -> None:
    node.lock(mode="strict")
    async with node.client(alice) as connection, asyncio.TaskGroup() as group:
        process = await connection.create_process("echo ready; exec sleep 600")
        assert await process.stdout.readline() == "ready\n"
        node.uptime += limits.LOCKS_STALE // limits.MILLISECOND
        watching = group.create_task(node.control.run())
        assert STALE in await ended(process)
        watching.cancel()
    with pytest.raises(asyncssh.PermissionDenied):
        async with node.client(alice):
            pass
    assert [f"Skerry: {STALE}\r\n"] == node.banners


async def test_who_was_removed_or_reset_is_out_with_the_certificate_of_before(
    node: Node, alice: Person, own_controller: SimulatedController
) -> None:
    async with node.client(alice) as connection:
        process = await connection.create_process("echo ready; exec sleep 600")
        assert await process.stdout.readline() == "ready\n"
        node.lock(alice=to_milliseconds(datetime.now(UTC)))
        assert VOID in await ended(process)
        async with asyncio.timeout(PATIENCE):
            await connection.wait_closed()
    with pytest.raises(asyncssh.PermissionDenied):
        async with node.client(alice):
            pass
    assert node.banners == [f"Skerry: {VOID}\r\n"]
    later = own_controller.person("alice", (OWN,), now=datetime.now(UTC) + timedelta(seconds=2))
    async with node.client(later) as connection:
        done = await connection.run("echo in", check=True)
        assert done.stdout == "in\n"
