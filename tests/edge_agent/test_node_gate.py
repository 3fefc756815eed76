"""Who gets in at the node's own SSH server, and what becomes of those who do not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from protocol.certificates import CertificateOrder, node_order
from protocol.names import ClusterName, NodeId, NodeName
from tests.harness.inner_door import inner_client, inner_door
from tests.harness.road import OWN, Agent, Shell
from tests.harness.simulated_controller import Person, SimulatedController, public_line, sign_ssh

pytestmark = pytest.mark.system


def assert_refused(shell: Shell, person: Person, *, login: str = OWN) -> None:
    result = shell.run(person, "echo inside", login=login)
    assert result.returncode == 255
    assert b"inside" not in result.stdout
    assert b"Permission denied (publickey)" in result.stderr


def test_a_principal_that_the_certificate_has_not_is_refused(shell: Shell, controller: SimulatedController) -> None:
    assert_refused(shell, controller.person("wrong-principal", ("somebody",)))
    event = controller.wait_for_event("T3007W", check="K7", login=OWN)
    assert 'not in the set of valid principals for given certificate: ["somebody"]'.replace('"', "'") in str(
        event.fields["error"]
    )


def test_an_expired_certificate_is_refused(shell: Shell, controller: SimulatedController) -> None:
    then = datetime.now(UTC) - timedelta(hours=3)
    assert_refused(shell, controller.person("late", (OWN,), now=then))
    assert "expired at" in str(controller.wait_for_event("T3007W", check="K3").fields["error"])


def test_a_foreign_authority_is_refused(shell: Shell, controller: SimulatedController) -> None:
    assert_refused(shell, controller.person("foreign", (OWN,), authority=Ed25519PrivateKey.generate()))
    controller.wait_for_event("T3007W", check="K2")


def test_a_certificate_signed_by_the_host_authority_is_refused(shell: Shell, controller: SimulatedController) -> None:
    before = len(controller.events)
    assert_refused(shell, controller.person("crossed", (OWN,), authority=controller.host_ca))
    controller.wait_for(lambda: any(event.code == "T3007W" for event in controller.events[before:]), "the refusal")


def test_a_host_certificate_is_no_users(shell: Shell, controller: SimulatedController) -> None:
    person = controller.person("host", (OWN,))
    key = load_ssh_private_key(person.key.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    node_id = NodeId(shell.node_id)
    order = node_order(
        node_id=node_id,
        name=NodeName(OWN),
        cluster=ClusterName("simulated"),
        generation=1,
        serial=1,
        now=datetime.now(UTC),
    )
    person.certificate.write_text(sign_ssh(order, public_line(key), controller.user_ca))
    assert_refused(shell, person)


def test_a_plain_key_is_refused(shell: Shell, controller: SimulatedController) -> None:
    person = controller.person("plain", (OWN,))
    person.certificate.unlink()
    person.certificate.write_text("")
    assert_refused(shell, person)
    controller.wait_for_event("T3007W", check="K0")


def test_a_role_that_is_not_known_here_opens_nothing(shell: Shell, controller: SimulatedController) -> None:
    assert_refused(shell, controller.person("roleless", (OWN,), roles=("stowaway",)))
    controller.wait_for_event("T3007W", check="A2")


def test_a_certificate_for_every_login_is_refused(shell: Shell, controller: SimulatedController) -> None:
    def without_logins(order: CertificateOrder) -> CertificateOrder:
        return replace(order, principals=())

    assert_refused(shell, controller.person("everyone", (OWN,), change=without_logins))
    controller.wait_for_event("T3007W", check="K6")


def test_a_session_outlives_its_certificate(shell: Shell, controller: SimulatedController) -> None:
    def brief(order: CertificateOrder) -> CertificateOrder:
        return replace(order, valid_before=datetime.now(UTC) + timedelta(seconds=2))

    person = controller.person("brief", (OWN,), change=brief)
    result = shell.run(person, "sleep 3; echo still here")
    assert result.stdout == b"still here\n"
    assert_refused(shell, person)


def test_no_password_is_ever_asked_for(shell: Shell, person: Person) -> None:
    command = shell.command(person, "-v", "-o", "PubkeyAuthentication=no", "-o", "LogLevel=DEBUG1", "true")
    result = subprocess.run(command, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    assert b"Authentications that can continue: publickey\r\n" in result.stderr


def test_garbage_is_logged_and_the_next_is_served(
    shell: Shell, person: Person, agent: Agent, controller: SimulatedController
) -> None:
    for garbage in (b"GET / HTTP/1.0\r\n\r\n", bytes(range(256)) * 64, b"SSH-2.0-x\r\n" + b"\xff" * 40_000):
        with socket.create_connection(("127.0.0.1", shell.port), 10) as sock:
            sock.settimeout(10)
            sock.sendall(garbage)
            while _receive(sock):
                pass
    agent.wait_for_line("ended before it said who it is")
    assert shell.run(person, "echo served").stdout == b"served\n"
    assert controller.tunnels


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except ConnectionError:
        return b""


def bare(order: CertificateOrder) -> CertificateOrder:
    """Take every permission off a certificate."""
    kept = {name: value for name, value in order.extensions.items() if not name.startswith("permit-")}
    return replace(order, extensions=kept)


async def test_a_client_that_was_refused_a_terminal_and_goes_on_has_none(
    own_controller: SimulatedController, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = asyncssh.SSHClientChannel._make_request
    answers = []

    async def ask_and_go_on(channel: asyncssh.SSHClientChannel[bytes], request: bytes, *arguments: bytes) -> bool:
        answer = bool(await ask(channel, request, *arguments))
        answers.append((request, answer))
        return True

    monkeypatch.setattr(asyncssh.SSHClientChannel, "_make_request", ask_and_go_on)
    person = own_controller.person("bare", (OWN,), change=bare)
    async with inner_client(own_controller, person, OWN) as connection:
        result = await connection.run("tty", request_pty="force", term_type="xterm", timeout=20)
    assert answers == [(b"pty-req", False), (b"exec", True)]
    assert result.stdout == "not a tty\n"


def test_what_a_certificate_does_not_permit_is_not_given(shell: Shell, controller: SimulatedController) -> None:
    person = controller.person("bare", (OWN,), change=bare)
    result = shell.run(person, "-tt", "tty")
    assert b"/dev/pts" not in result.stdout
    with _listener() as (port, _):
        assert _through(shell, person, port) != b"hello"
    controller.wait_for_event("T3003E", user="bare")


class _listener:  # noqa: N801 - reads as a verb where it is used
    """A TCP port that says hello."""

    def __enter__(self) -> tuple[int, socket.socket]:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._greet, daemon=True)
        self._thread.start()
        return self._socket.getsockname()[1], self._socket

    def _greet(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer:
                peer.sendall(b"hello")

    def __exit__(self, *exc: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


def _through(shell: Shell, person: Person, port: int) -> bytes:
    command = shell.command(person, "-W", f"127.0.0.1:{port}")
    return subprocess.run(command, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL).stdout


def test_a_forwarding_is_made_and_audited(shell: Shell, person: Person, controller: SimulatedController) -> None:
    with _listener() as (port, _):
        assert _through(shell, person, port) == b"hello"
        event = controller.wait_for_event("T3003I", addr=f"127.0.0.1:{port}")
        assert (event.fields["user"], event.fields["login"]) == ("alice", OWN)
    assert _through(shell, person, port) == b""
    controller.wait_for_event("T3003E", addr=f"127.0.0.1:{port}", success=False)


def test_a_login_that_may_have_no_session_may_not_forward_either(
    shell: Shell, person: Person, controller: SimulatedController
) -> None:
    with _listener() as (port, _):
        command = shell.command(person, "-W", f"127.0.0.1:{port}", login="ghost")
        result = subprocess.run(command, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
        assert result.stdout == b""
        event = controller.wait_for_event("T3003E", addr=f"127.0.0.1:{port}", login="ghost")
    assert event.fields["error"] == 'this device has no user "ghost"'


async def test_a_signal_is_sent_with_no_more_rights_than_the_login_has(own_controller: SimulatedController) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root serves others, and can make a program that becomes root")
    with _raising_program() as raising:
        async with inner_client(own_controller, own_controller.person("alice", (OWN,)), OWN) as connection:
            command = f"echo $$; exec {raising} --reuid=0 --clear-groups sh -c 'id -ru; exec sleep 300'"
            as_root = await connection.create_process(command)
            pid = int(await as_root.stdout.readline())
            assert await as_root.stdout.readline() == "0\n"
            as_root.send_signal("KILL")
            plain = await connection.create_process("echo up; exec sleep 300")
            assert await plain.stdout.readline() == "up\n"
            plain.send_signal("TERM")
            await plain.wait(timeout=20)
            assert plain.exit_signal is not None
            assert plain.exit_signal[0] == "TERM"
            os.kill(pid, 0)
            os.kill(pid, 15)
            await as_root.wait(timeout=20)
            assert as_root.exit_signal is not None
            assert as_root.exit_signal[0] == "TERM"


@contextlib.contextmanager
def _raising_program() -> Iterator[Path]:
    """A program of root's that makes whoever runs it root, as `sudo` does."""
    program = Path(pwd.getpwnam(OWN).pw_dir, "raising")
    shutil.copy("/usr/bin/setpriv", program)
    program.chmod(0o4755)
    yield program
    program.unlink()


@pytest.mark.parametrize("option", ["-R", "-X"])
def test_other_forwardings_are_refused_and_the_session_goes_on(shell: Shell, person: Person, option: str) -> None:
    more = ["127.0.0.1:0:127.0.0.1:9"] if option == "-R" else []
    result = shell.run(person, option, *more, "echo on; echo $SSH_AUTH_SOCK $DISPLAY")
    assert result.stdout == b"on\n\n"


def test_a_reader_that_stalls_costs_bounded_memory(shell: Shell, person: Person, agent: Agent) -> None:
    before = agent.memory
    stalled = [
        subprocess.Popen(shell.command(person, "cat /dev/zero"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    for client in stalled:
        assert client.stdout
        client.stdout.read(1_000_000)
    assert shell.run(person, "echo not held up").stdout == b"not held up\n"
    used = []
    for _ in range(10):
        used.append(agent.memory)
        time.sleep(0.1)  # a window in which it would grow by hundreds of MiB
    for client in stalled:
        client.kill()
        client.communicate()
    assert max(used) - before < 3 * 4 * 1024


def test_input_that_is_not_read_costs_bounded_memory(shell: Shell, person: Person, agent: Agent) -> None:
    before = agent.memory
    client = subprocess.Popen(
        shell.command(person, "echo up; exec sleep 100"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert client.stdin
    assert client.stdout
    assert client.stdout.readline() == b"up\n"
    thread = threading.Thread(target=_push, args=(client, 30 * 1024 * 1024), daemon=True)
    thread.start()
    thread.join(1.0)
    assert agent.memory - before < 4 * 1024
    client.kill()
    thread.join(10)
    with contextlib.suppress(OSError):
        client.stdin.close()
    client.stdout.close()
    client.wait(10)


def _push(client: subprocess.Popen[bytes], size: int) -> None:
    assert client.stdin
    with contextlib.suppress(OSError):
        client.stdin.write(bytes(size))


async def test_one_that_says_nothing_is_cut_off_after_the_login_grace(
    own_controller: SimulatedController,
) -> None:
    async with inner_door(own_controller, login_grace=0.3) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            greeting = await reader.readline()
            rest = await reader.read()
        assert greeting.startswith(b"SSH-2.0-Skerry_")
        assert len(rest) < 10_000
        writer.close()
        await writer.wait_closed()
