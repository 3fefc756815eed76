"""The gate against real clients: OpenSSH's, and asyncssh's where a client must lie."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from protocol.certificates import SshCertificate
from protocol.decision import Granted, Refused
from protocol.ssh.certificate import key_blob
from protocol.ssh.gate import Gate
from tests.protocol.ssh.conftest import ssh_keygen

Certify = Any
TIMEOUT = 30


class Door:
    """A real SSH server on 127.0.0.1 whose every connection passes a gate."""

    def __init__(self, trusted: list[bytes]) -> None:
        self._trusted = trusted
        self.gates: list[Gate[str]] = []
        self.judged: list[tuple[str, str, str]] = []
        self.port = 0

    def judge(self, certificate: SshCertificate, username: str) -> Granted[str] | Refused:
        self.judged.append((certificate.kind, ",".join(certificate.principals), username))
        if certificate.signing_key not in self._trusted:
            return Refused("a stranger's authority", "K2")
        if username not in certificate.principals:
            return Refused("not a principal", "K7")
        return Granted(f"{certificate.kind} {certificate.key_id} serial {certificate.serial}")

    def new_gate(self) -> Gate[str]:
        self.gates.append(Gate(self.judge))
        return self.gates[-1]


class Server(asyncssh.SSHServer):
    def __init__(self, door: Door) -> None:
        self._gate = door.new_gate()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._gate.guard(conn)

    def begin_auth(self, username: str) -> bool:
        return bool(username)

    def public_key_auth_supported(self) -> bool:
        return True


@contextlib.asynccontextmanager
async def serving(door: Door) -> AsyncIterator[Door]:
    async def answer(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write(f"{door.gates[-1].identity}\n")
        process.exit(0)

    server = await asyncssh.create_server(
        lambda: Server(door),
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=answer,
    )
    async with server:
        door.port = server.sockets[0].getsockname()[1]
        yield door


async def openssh(door: Door, user: str, key: Path, *certificates: Path) -> tuple[int, str, str]:
    """Run the stock client with a key and the certificates in their order; return its status, output and errors."""
    options = ["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "IdentityAgent=none"]
    options += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={key.parent / 'known_hosts'}"]
    options += ["-i", str(key), *(f"-oCertificateFile={certificate}" for certificate in certificates)]
    ssh = shutil.which("ssh")
    assert ssh, "the OpenSSH client is needed for this test"
    process = await asyncio.create_subprocess_exec(
        *(ssh, *options, "-p", str(door.port), f"{user}@127.0.0.1", "whoami"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT)
    return process.returncode or 0, out.decode(), err.decode()


def trusting(authority: Path) -> Door:
    return Door([key_blob(authority.with_suffix(".pub").read_text())])


async def test_a_good_certificate_opens_the_door_to_openssh(authority: Path, key: Path, certify: Certify) -> None:
    async with serving(trusting(authority)) as door:
        status, out, err = await openssh(door, "root", key, certify(authority, "-n", "root", "-z", "7"))
    assert (status, out) == (0, "user alice serial 7\n"), err
    assert door.gates[0].identity == "user alice serial 7"
    assert door.gates[0].refused is None


async def test_the_second_certificate_is_tried_when_the_first_is_refused(
    authority: Path, key: Path, certify: Certify
) -> None:
    first = certify(authority, "-n", "somebody-else", "-z", "1")
    second = certify(authority, "-n", "root", "-z", "2")
    async with serving(trusting(authority)) as door:
        status, out, err = await openssh(door, "root", key, first, second)
    assert (status, out) == (0, "user alice serial 2\n"), err
    assert [principals for _, principals, _ in door.judged] == ["somebody-else", "root", "root"]
    assert door.gates[0].refused is not None  # and is not forgotten
    assert door.gates[0].refused.check == "K7"


async def test_a_plain_key_before_the_certificate_is_no_refusal(authority: Path, key: Path, certify: Certify) -> None:
    certificate = asyncssh.read_certificate(certify(authority, "-n", "root", "-z", "7"))
    private = asyncssh.read_private_key(key)
    async with serving(trusting(authority)) as door, connected(door, "root", [private, (private, certificate)]):
        assert door.gates[0].identity == "user alice serial 7"
        assert door.gates[0].refused is None


async def test_a_host_certificate_can_be_a_clients(authority: Path, key: Path, certify: Certify) -> None:
    certificate = asyncssh.read_certificate(certify(authority, "-h", "-n", "kiosk", "-z", "9"))
    private = asyncssh.read_private_key(key)
    async with serving(trusting(authority)) as door, connected(door, "kiosk", [(private, certificate)]) as connection:
        done = await asyncio.wait_for(connection.run("whoami", check=True), TIMEOUT)
    assert done.stdout == "host alice serial 9\n"


async def test_openssh_signs_with_no_host_certificate_and_is_not_let_in_without(
    authority: Path, key: Path, certify: Certify
) -> None:
    async with serving(trusting(authority)) as door:
        status, out, _ = await openssh(door, "kiosk", key, certify(authority, "-h", "-n", "kiosk", "-z", "9"))
    assert (status, out) == (255, "")
    assert door.gates[0].identity is None


@contextlib.asynccontextmanager
async def connected(
    door: Door,
    user: str,
    keys: list[Any],
    *,
    made: Callable[[], asyncssh.SSHClient] = asyncssh.SSHClient,
    **options: Any,  # noqa: ANN401 - the library's own
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    connection = await asyncio.wait_for(
        asyncssh.connect(
            "127.0.0.1",
            door.port,
            username=user,
            client_keys=keys,
            known_hosts=None,
            config=None,
            agent_path=None,
            client_factory=made,
            **options,
        ),
        TIMEOUT,
    )
    async with connection:
        yield connection


async def test_a_strangers_authority_a_plain_key_and_a_wrong_login_are_refused(
    authority: Path, key: Path, tmp_path: Path, certify: Certify
) -> None:
    stranger = tmp_path / "stranger"
    await asyncio.to_thread(asyncssh.generate_private_key("ssh-ed25519").write_private_key, str(stranger))
    stranger.chmod(0o600)
    good, bad = certify(authority, "-n", "root"), certify(stranger, "-n", "root")
    async with serving(trusting(authority)) as door:
        for user, certificates, check in (("root", (bad,), "K2"), ("pi", (good,), "K7"), ("root", (), "K0")):
            status, out, err = await openssh(door, user, key, *certificates)
            assert (status, out) == (255, "")
            assert "Permission denied (publickey)" in err
            refused = door.gates[-1].refused
            assert refused is not None
            assert refused.check == check  # though the plain key is offered last
            assert door.gates[-1].identity is None
    assert [user for _, _, user in door.judged] == ["root", "pi"]


async def test_a_signature_by_another_key_is_refused(authority: Path, key: Path, certify: Certify) -> None:
    certificate = asyncssh.read_certificate(certify(authority, "-n", "root"))
    pair = asyncssh.load_keypairs([(asyncssh.read_private_key(key), certificate)])[0]
    pair._key = asyncssh.generate_private_key("ssh-ed25519")  # type: ignore[attr-defined]  # the thief's own
    async with serving(trusting(authority)) as door:
        with pytest.raises(asyncssh.PermissionDenied):
            async with connected(door, "root", [pair]):
                pass
    refused = door.gates[-1].refused
    assert refused is not None
    assert refused.check == "K8"
    assert door.gates[-1].identity is None


@pytest.mark.parametrize(
    ("algorithm", "reason"), [("rsa-sha2-256", None), ("ssh-rsa", "signed with an algorithm that is not accepted")]
)
async def test_a_signature_with_sha_1_is_refused_though_it_is_right(
    authority: Path, tmp_path: Path, algorithm: str, reason: str | None
) -> None:
    key = tmp_path / "rsa"
    ssh_keygen("-t", "rsa", "-b", "2048", "-N", "", "-f", key)
    ssh_keygen("-s", authority, "-I", "alice", "-n", "root", key.with_suffix(".pub"))
    pair = (asyncssh.read_private_key(key), asyncssh.read_certificate(tmp_path / "rsa-cert.pub"))
    async with serving(trusting(authority)) as door:
        with contextlib.suppress(asyncssh.PermissionDenied):
            async with connected(door, "root", [pair], signature_algs=[algorithm]):
                pass
    refused = door.gates[-1].refused
    assert (refused.reason if refused else None) == reason
    assert (door.gates[-1].identity is None) == (reason is not None)


async def test_a_client_that_offers_without_end_is_refused_and_the_judge_is_spared(
    authority: Path, key: Path, certify: Certify
) -> None:
    other = asyncssh.read_certificate(certify(authority, "-n", "other"))
    good = asyncssh.read_certificate(certify(authority, "-n", "root"))
    private = asyncssh.read_private_key(key)
    async with serving(trusting(authority)) as door:
        with pytest.raises((asyncssh.PermissionDenied, asyncssh.DisconnectError)):
            async with connected(door, "root", [*[(private, other)] * 30, (private, good)]):
                pass
    assert len(door.judged) <= 20
    assert door.gates[-1].identity is None


async def test_garbage_in_the_place_of_a_certificate_is_refused(authority: Path) -> None:
    gate = trusting(authority).new_gate()
    for blob in (b"", b"\0\0\0\x0bssh-ed25519", b"\xff" * 100):
        answer = gate._decide("root", blob)
        assert isinstance(answer, Refused)
        assert answer.check == "K0"


async def test_a_connection_that_says_nothing_identifies_nobody(authority: Path) -> None:
    async with serving(trusting(authority)) as door:
        with socket.create_connection(("127.0.0.1", door.port), timeout=5) as silent:
            silent.setblocking(False)
            loop = asyncio.get_running_loop()
            assert (await asyncio.wait_for(loop.sock_recv(silent, 20), TIMEOUT)).startswith(b"SSH-2.0-")
    assert [gate.identity for gate in door.gates] == [None]


def test_the_library_still_has_what_the_gate_reaches_into() -> None:
    method = asyncssh.SSHServerConnection.validate_public_key
    assert list(inspect.signature(method).parameters) == ["self", "username", "key_data", "msg", "signature"]
    assert inspect.iscoroutinefunction(method)
    assert "String(self._session_id) + msg" in inspect.getsource(method)
