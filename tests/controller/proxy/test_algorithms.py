"""What stock OpenSSH sees of the doors' algorithms."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from protocol.ssh import algorithms
from tests.controller.proxy.lab import PATIENCE, running_proxy

OLD = re.compile(r"sha1\b|md5|diffie-hellman|rsa2048|rsa1024|ssh-rsa|ssh-dss|cbc")


async def openssh(port: int, key: Path, *options: str) -> str:
    """Come to a door as a person, and return all that OpenSSH says of it."""
    process = await asyncio.create_subprocess_exec(
        *("ssh", "-vv", "-F", "none", "-p", str(port), "-i", str(key), "-o", "BatchMode=yes"),
        *("-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes"),
        *(*options, "-W", "gw-1:22", "pi@127.0.0.1"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        _, said = await process.communicate()
    return said.decode()


async def test_openssh_is_offered_nothing_old_at_either_door_and_comes_in(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        key = lab.person().write(tmp_path)
        for port in (lab.client_port, lab.tunnel_port):
            said = await openssh(port, key)
            proposal = said.partition("peer server KEXINIT proposal")[2].partition("debug1: kex: algorithm")[0]
            (signatures,) = re.findall("server-sig-algs=<(.*)>", said)
            assert "curve25519-sha256" in proposal
            assert not OLD.search(proposal.replace("kex-strict-s-v00@openssh.com", ""))
            assert signatures.split(",") == list(algorithms.SIGNATURES)
        assert "Authenticated to 127.0.0.1" in await openssh(lab.client_port, key)


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("KexAlgorithms=diffie-hellman-group14-sha1", "no matching key exchange method"),
        ("KexAlgorithms=diffie-hellman-group14-sha256", "no matching key exchange method"),
        ("Ciphers=aes256-ctr", "no matching cipher"),
    ],
)
async def test_whoever_insists_on_what_is_old_is_not_served(option: str, problem: str, tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        assert problem in await openssh(lab.client_port, lab.person().write(tmp_path), "-o", option)
