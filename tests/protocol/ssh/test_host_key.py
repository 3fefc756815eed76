"""The host key check, against real servers."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import certificates, names
from protocol.certificates import CertificateOrder, HostRole
from protocol.ssh.certificate import key_blob
from protocol.ssh.host_key import ExpectedHost, HostKeyCheck
from tests.harness.simulated_authority import SshAuthority, private_pem, public_line

CLUSTER = names.parse_cluster_name("harbour")
NODE = names.parse_node_id(str(uuid.uuid4()))
TIMEOUT = 30


def proxy_order(now: datetime) -> CertificateOrder:
    return certificates.proxy_order(cluster=CLUSTER, hosts=("Skerry.example",), serial=1, now=now)


def node_order(now: datetime) -> CertificateOrder:
    name = names.parse_node_name("proxy.harbour")
    return certificates.node_order(node_id=NODE, name=name, cluster=CLUSTER, generation=1, serial=1, now=now)


class Caller(asyncssh.SSHClient):
    def __init__(self, expected: ExpectedHost) -> None:
        self.check = HostKeyCheck(expected, lambda: datetime.now(UTC))

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.check.guard(conn)


class OpenServer(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return username != "guest"


@asynccontextmanager
async def serving(authority: SshAuthority, order: CertificateOrder | None) -> AsyncIterator[int]:
    key = Ed25519PrivateKey.generate()
    host = asyncssh.import_private_key(private_pem(key))
    own = [host] if order is None else [(host, asyncssh.import_certificate(authority.sign(order, public_line(key))))]
    async with await asyncssh.listen("127.0.0.1", 0, server_factory=OpenServer, server_host_keys=own) as server:
        yield server.get_port()


async def call(port: int, authority: SshAuthority, principal: str, role: HostRole = "proxy") -> Caller:
    caller = Caller(ExpectedHost(principal, role, {key_blob(authority.line)}))
    connection = await asyncssh.connect(
        "127.0.0.1",
        port,
        client_factory=lambda: caller,
        username="guest",
        known_hosts=([], [], []),
        client_keys=None,
        agent_path=None,
        config=None,
        login_timeout=TIMEOUT,
    )
    connection.close()
    return caller


async def test_a_host_that_proves_its_name_is_taken() -> None:
    authority = SshAuthority()
    async with serving(authority, proxy_order(datetime.now(UTC))) as port:
        assert (await call(port, authority, "proxy@harbour")).check.refused is None
        assert (await call(port, authority, "skerry.EXAMPLE")).check.refused is None


@pytest.mark.parametrize(
    ("order", "principal", "check"),
    [
        (proxy_order, "proxy@elsewhere", "K7"),
        (node_order, "proxy@harbour", "K5"),
        (lambda now: proxy_order(now - timedelta(days=90)), "proxy@harbour", "K3"),
        (None, "proxy@harbour", "K0"),
    ],
)
async def test_a_host_that_does_not_is_refused_before_anything_is_sent(
    order: Callable[[datetime], CertificateOrder] | None, principal: str, check: str
) -> None:
    authority = SshAuthority()
    expected = ExpectedHost(principal, "proxy", {key_blob(authority.line)})
    caller = Caller(expected)
    async with serving(authority, order(datetime.now(UTC)) if order else None) as port:
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            await asyncssh.connect(
                "127.0.0.1",
                port,
                client_factory=lambda: caller,
                known_hosts=([], [], []),
                client_keys=None,
                agent_path=None,
                config=None,
                username="guest",
            )
    assert caller.check.refused is not None
    assert caller.check.refused.check == check


async def test_a_host_of_another_cluster_is_refused() -> None:
    async with serving(SshAuthority(), proxy_order(datetime.now(UTC))) as port:
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            await call(port, SshAuthority(), "proxy@harbour")


def test_the_library_still_judges_host_keys_by_the_method_we_replace() -> None:
    method = asyncssh.SSHClientConnection.validate_server_host_key
    assert list(inspect.signature(method).parameters) == ["self", "key_data"]
    assert "_server_host_key" in inspect.getsource(method)


@pytest.mark.parametrize(
    ("earliest", "latest", "check"),
    [
        (-3650, 3650, None),  # nothing is known of the time
        (-3650, -1, "K3"),  # it is before the certificate's for certain
        (90, 3650, "K3"),  # it is after
    ],
)
async def test_who_does_not_know_the_time_takes_a_host_that_may_be_good(
    earliest: int, latest: int, check: str | None
) -> None:
    now, authority = datetime.now(UTC), SshAuthority()
    line = authority.sign(proxy_order(now), public_line(Ed25519PrivateKey.generate()))
    expected = ExpectedHost("proxy@harbour", "proxy", {key_blob(authority.line)})
    refused = expected.judge(key_blob(line), now + timedelta(days=earliest), now + timedelta(days=latest))
    assert (refused.check if refused else None) == check
