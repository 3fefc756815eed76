"""The node's own door: the same rules as through the tunnel, with and without a controller."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from protocol import limits
from tests.harness.road import OWN, Agent, Shell, join_arguments
from tests.harness.simulated_controller import Person, SimulatedController

pytestmark = pytest.mark.system
Start = Callable[..., Agent]


def start_with_door(
    controller: SimulatedController, start_agent: Start, folder: Path, listen: str
) -> tuple[Agent, Shell]:
    """Start an agent with a door of its own; the shell goes there."""
    settings = folder / "edge_agent.yaml"
    settings.write_text(f'listen_addr: "{listen}"\n')
    arguments = join_arguments(controller, "n1", folder / "data")
    agent = start_agent(controller, *arguments, "-c", str(settings))
    node_id = controller.wait_for_node("n1")
    line = agent.wait_for_line("people on this device's network reach it at ")
    return agent, Shell(controller, int(line.rpartition(":")[2]), node_id)


@pytest.fixture
def door(own_controller: SimulatedController, start_agent: Start, tmp_path: Path) -> tuple[Agent, Shell]:
    return start_with_door(own_controller, start_agent, tmp_path, "127.0.0.1:0")


@pytest.fixture
def alice(own_controller: SimulatedController) -> Person:
    return own_controller.person("alice", (OWN,))


def test_a_person_on_the_network_comes_in_and_is_audited_and_recorded(
    own_controller: SimulatedController, door: tuple[Agent, Shell], alice: Person, tmp_path: Path
) -> None:
    agent, shell = door
    result = shell.run(alice, "echo $SSH_CONNECTION; echo $SSH_SKERRY_USER")
    connection, user = result.stdout.decode().splitlines()
    assert re.fullmatch(rf"127\.0\.0\.1 \d+ 127\.0\.0\.1 {shell.port}", connection)
    assert user == "alice"
    event = own_controller.wait_for_event("T2000I", user="alice")
    assert str(event.fields["addr.remote"]).startswith("127.0.0.1:")
    assert any((tmp_path / "data" / "spool").rglob("*"))
    assert agent.stop() == 0


def test_its_address_may_be_a_name(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path, alice: Person
) -> None:
    _, shell = start_with_door(own_controller, start_agent, tmp_path, "localhost:0")
    assert shell.run(alice, "echo inside").stdout == b"inside\n"


def test_it_serves_while_the_controller_is_gone(
    own_controller: SimulatedController, door: tuple[Agent, Shell], alice: Person
) -> None:
    agent, shell = door
    own_controller.api_is_down = True
    own_controller.close_tunnel_door()
    agent.wait_for_line("the tunnel is gone")
    assert shell.run(alice, "echo inside").stdout == b"inside\n"


def test_the_same_rules_hold_as_through_the_tunnel(
    own_controller: SimulatedController, door: tuple[Agent, Shell]
) -> None:
    agent, shell = door
    expired = own_controller.person("late", (OWN,), now=datetime.now(UTC) - timedelta(hours=3))
    result = shell.run(expired, "echo inside")
    assert (result.returncode, result.stdout) == (255, b"")
    event = own_controller.wait_for_event("T3007W", check="K3", login=OWN)
    assert str(event.fields["addr.remote"]).startswith("127.0.0.1:")
    assert "expired" in agent.wait_for_line("refused login")


def test_new_connections_see_the_renewed_certificate_and_old_ones_live_on(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path, alice: Person
) -> None:
    now = datetime.now(UTC)
    own_controller.renewals.lifetime = (now - timedelta(days=10), now + timedelta(days=20))
    own_controller.renewals.next_id = "00000000-0000-4000-8000-000000000001"
    agent, shell = start_with_door(own_controller, start_agent, tmp_path, "127.0.0.1:0")
    before = shown_serial(shell, alice)
    with running(shell, alice, "echo up; read line; echo $line") as client:
        assert client.stdout
        assert client.stdin
        assert client.stdout.readline() == b"up\n"
        own_controller.renewals.lifetime = None
        own_controller.tunnel_refuses = True
        own_controller.close_tunnel_door()
        own_controller.open_tunnel_door()
        agent.wait_for_line("new certificates, generation 2", 60)
        assert shown_serial(shell, alice) > before
        client.stdin.write(b"still here\n")
        client.stdin.close()
        assert client.stdout.readline() == b"still here\n"
        assert client.wait(20) == 0


def shown_serial(shell: Shell, person: Person) -> int:
    command = shell.command(person, "-v", "-o", "LogLevel=DEBUG1", "true")
    said = subprocess.run(command, capture_output=True, timeout=30, check=True, stdin=subprocess.DEVNULL).stderr
    found = re.search(rb"Server host certificate: \S+ \S+, serial (\d+)", said)
    assert found, said
    return int(found[1])


@contextlib.contextmanager
def running(shell: Shell, person: Person, command: str) -> Iterator[subprocess.Popen[bytes]]:
    client = subprocess.Popen(shell.command(person, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield client
    finally:
        client.kill()
        client.wait(10)
        for stream in (client.stdin, client.stdout):
            assert stream
            with contextlib.suppress(OSError):
                stream.close()


@pytest.mark.parametrize(("listen", "hosts"), [(":0", ("127.0.0.1", "::1")), ("[::1]:0", ("::1",))])
def test_it_is_reached_by_ipv4_and_by_ipv6(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path, listen: str, hosts: tuple[str, ...]
) -> None:
    _, shell = start_with_door(own_controller, start_agent, tmp_path, listen)
    for host in hosts:
        with socket.create_connection((host, shell.port), 10) as peer:
            peer.settimeout(10)
            assert peer.recv(100).startswith(b"SSH-2.0-Skerry_")


def test_one_address_holds_no_more_places_than_its_share(
    own_controller: SimulatedController, door: tuple[Agent, Shell], alice: Person
) -> None:
    agent, shell = door
    with contextlib.ExitStack() as stack:
        crowd = [
            stack.enter_context(socket.create_connection(("127.0.0.1", shell.port), 10))
            for _ in range(limits.UNAUTHENTICATED_PER_NETWORK + 40)
        ]
        greeted = sum(_is_greeted(peer) for peer in crowd)
        assert greeted >= limits.UNAUTHENTICATED_PER_NETWORK
        agent.wait_for_line("node door: a connection from 127.0.0.1 was turned away: too many unauthenticated")
        tunnel = Shell(own_controller, own_controller.door_to(shell.node_id), shell.node_id)
        assert tunnel.run(alice, "echo not held up").stdout == b"not held up\n"
        for peer in crowd:
            _leave(peer)
    assert shell.run(alice, "echo room again").stdout == b"room again\n"
    assert len([line for line in agent.lines if "was turned away" in line]) == 1


def _leave(peer: socket.socket) -> None:
    """Hang up, and see that the other end has done so too: from then on there is room."""
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(4096):
            pass


def _is_greeted(peer: socket.socket) -> bool:
    peer.settimeout(10)
    try:
        return peer.recv(4) == b"SSH-"
    except ConnectionError:
        return False


def test_an_address_that_is_taken_is_one_line_and_the_tunnel_stands(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = tmp_path / "edge_agent.yaml"
        settings.write_text(f'listen_addr: "127.0.0.1:{port}"\n')
        arguments = join_arguments(own_controller, "n1", tmp_path / "data")
        agent = start_agent(own_controller, *arguments, "-c", str(settings))
        line = agent.wait_for_line("cannot listen on")
        assert f"cannot listen on 127.0.0.1:{port} (listen_addr): Address already in use; trying again" in line
        own_controller.wait_for_node("n1")
        assert agent.stop() == 0


def test_without_the_setting_nothing_listens(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"))
    own_controller.wait_for_node("n1")
    inodes = {
        link.readlink().name[8:-1]
        for link in Path(f"/proc/{agent.process.pid}/fd").iterdir()
        if link.readlink().name.startswith("socket:[")
    }
    listening = [
        fields[9]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/{agent.process.pid}/net/{table}").read_text().splitlines()[1:])
        if fields[3] == "0A"
    ]
    assert inodes
    assert inodes.isdisjoint(listening)


@pytest.mark.parametrize("value", ["no port:x", "fe80::1:3022", "[::1", "127.0.0.1:99999", "", "7"])
def test_an_address_that_is_none_is_named_with_its_key(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path, value: str
) -> None:
    settings = tmp_path / "edge_agent.yaml"
    settings.write_text(f"controller: x:1\nlisten_addr: {value if value == '7' else repr(value)}\n")
    agent = start_agent(own_controller, "-c", str(settings))
    assert agent.wait() == 2
    assert "listen_addr" in agent.lines[-1]
