from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import asyncssh
import pytest

from controller.policy.rotation import Phase
from protocol import limits
from protocol.certificates import proxy_principal
from protocol.ssh.certificate import key_blob, parse_certificate
from protocol.ssh.host_key import ExpectedHost, HostKeyCheck
from tests.controller.proxy.lab import PATIENCE, ProxyLab, eventually, exchange, open_to, running_proxy


def expected(lab: ProxyLab) -> ExpectedHost:
    authorities = {key_blob(line) for line in lab.cluster.authority.ssh_authorities("host")}
    return ExpectedHost(proxy_principal(lab.cluster.config.cluster_name), "proxy", authorities)


async def shown(lab: ProxyLab, port: int, now: datetime) -> tuple[bytes, str | None]:
    """Return the host key that a door shows, and why a peer of the cluster would refuse it at `now`."""
    check = HostKeyCheck(expected(lab), lambda: now)
    seen: list[bytes] = []

    class Peer(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            check.guard(conn)
            judge = conn.validate_server_host_key

            def note(key_data: bytes) -> asyncssh.SSHKey:
                seen.append(key_data)
                return judge(key_data)

            conn.validate_server_host_key = note  # type: ignore[method-assign]

    known = [asyncssh.import_public_key(line) for line in lab.cluster.authority.ssh_authorities("host")]
    with pytest.raises((asyncssh.PermissionDenied, asyncssh.HostKeyNotVerifiable)):
        async with asyncio.timeout(PATIENCE):
            await asyncssh.connect(
                "127.0.0.1",
                port,
                username="x",
                client_keys=None,
                agent_path=None,
                config=None,
                client_factory=Peer,
                known_hosts=([], known, []),
            )
    return seen[0], check.refused.reason if check.refused else None


async def test_the_host_key_is_renewed_in_good_time_and_who_is_connected_notices_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "PROXY")
    async with running_proxy(tmp_path) as lab:
        ports = (lab.client_port, lab.tunnel_port)
        await lab.node()
        streams = await open_to(await lab.person_connected())
        first = [await shown(lab, port, lab.clock()) for port in ports]
        lab.clock.now += limits.HOST_CERTIFICATE_TTL * 2 / 3
        await eventually(lambda: "host certificate is renewed" in caplog.text)
        second = [await shown(lab, port, lab.clock()) for port in ports]
        assert {refused for _, refused in first + second} == {None}
        assert len({key for key, _ in first}) == len({key for key, _ in second}) == 1
        assert first[0] != second[0]
        assert await exchange(streams, b"still here") == b"still here"
        late = lab.clock() + limits.HOST_CERTIFICATE_TTL * 2 / 3
        assert (await shown(lab, lab.client_port, late))[1] is None  # when the first would long have expired


async def test_a_rotation_of_the_host_authority_changes_the_doors_key_when_servers_are_updated_and_not_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "PROXY")
    async with running_proxy(tmp_path) as lab:
        authority = lab.cluster.authority
        old = expected(lab).authorities
        first = await shown(lab, lab.client_port, lab.clock())
        phases: tuple[Phase, ...] = ("init", "update_clients")
        for phase in phases:
            authority.rotate("host", phase, lab.clock())
            assert await shown(lab, lab.client_port, lab.clock()) == first
        authority.rotate("host", "update_servers", lab.clock())
        await eventually(lambda: "host certificate is renewed" in caplog.text)
        second = await shown(lab, lab.client_port, lab.clock())
        assert second[0] != first[0]
        assert second[1] is None
        certificate = parse_certificate(second[0])
        assert certificate.signing_key not in old
        # Devices that have not renewed yet are let in by either key.
        await lab.node()
