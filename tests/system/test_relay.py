"""The relay between person and device: nothing is lost at the start, and nobody pays for another's stalled reader."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncssh
import pytest

from tests.harness.real_cluster import LOGIN, Person, RealCluster
from tests.harness.running_program import BIN
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system
MIB = 1024 * 1024
ROUNDS = 1000


def memory_of(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) * 1024


@contextmanager
def session(person: Person, command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `tsh ssh edge-1 COMMAND` with its streams on pipes, and end it."""
    process = subprocess.Popen(
        [BIN / "tsh", "ssh", "edge-1", command],
        env=person.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate(timeout=10)


def echo(process: subprocess.Popen[bytes], rounds: int) -> None:
    """Send lines and see each of them come back."""
    assert process.stdin
    assert process.stdout
    for number in range(rounds):
        line = f"line {number}\n".encode()
        process.stdin.write(line)
        process.stdin.flush()
        assert process.stdout.readline() == line


@asynccontextmanager
async def connected(cluster: RealCluster, person: Person) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Connect to the client door as a program of the person's own would."""
    keys = person.keys
    async with asyncssh.connect(
        "127.0.0.1",
        cluster.port("ssh"),
        username=person.name,
        client_keys=[(str(keys / person.name), str(keys / f"{person.name}-cert.pub"))],
        known_hosts=str(keys / "known_hosts"),
        host_key_alias="proxy@harbour",
        config=[],
        agent_path=None,
    ) as connection:
        yield connection


async def flood(outer: asyncssh.SSHClientConnection, person: Person) -> None:
    """Have the device send without end through `outer`, into a window that never fills, and read no more of it."""
    keys = person.keys
    inner = await outer.connect_ssh(
        "edge-1",
        22,
        username=LOGIN,
        client_keys=[(str(keys / person.name), str(keys / f"{person.name}-cert.pub"))],
        known_hosts=str(keys / "known_hosts"),
        config=[],
        agent_path=None,
    )
    process = await inner.create_process("cat /dev/zero", encoding=None, window=2**31 - 1)
    assert await process.stdout.readexactly(MIB) == bytes(MIB)
    assert outer._transport
    outer._transport.pause_reading()


def growth(pids: list[int], before: list[int]) -> list[int]:
    return [(memory_of(pid) - then) // MIB for pid, then in zip(pids, before, strict=True)]


async def test_peer_that_stops_reading_costs_bounded_memory_and_slows_nobody(cluster: RealCluster) -> None:
    alice = await asyncio.to_thread(cluster.add_user, "alice")
    await asyncio.to_thread(cluster.sign_in, alice)
    agent = await asyncio.to_thread(cluster.start_agent, "edge-1")
    pids = [cluster.role_pid("proxy"), agent.program.pid]
    with session(alice, "cat") as talk:
        await asyncio.to_thread(echo, talk, 20)
        before = [memory_of(pid) for pid in pids]
        async with connected(cluster, alice) as outer:
            await flood(outer, alice)
            await asyncio.to_thread(echo, talk, ROUNDS)
            assert max(growth(pids, before)) < 30, f"proxy and agent grew by {growth(pids, before)} MiB"
            outer.abort()


def test_stalled_tsh_slows_nobody(harbour: Harbour) -> None:
    with session(harbour.alice, "cat") as talk, session(harbour.alice, "cat /dev/zero") as stalled:
        assert stalled.stdout
        assert stalled.stdout.read(MIB) == bytes(MIB)
        stalled.send_signal(signal.SIGSTOP)
        echo(talk, ROUNDS)


async def first_bytes(connection: asyncssh.SSHClientConnection) -> bytes:
    reader, writer = await connection.open_connection("edge-1", 0, encoding=None)
    async with asyncio.timeout(20):
        line: bytes = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line


async def test_first_words_of_a_device_are_never_lost(harbour: Harbour) -> None:
    for _ in range(5):
        async with connected(harbour.cluster, harbour.alice) as connection:
            for _ in range(5):
                lines = await asyncio.gather(*(first_bytes(connection) for _ in range(8)))
                assert {line[:8] for line in lines} == {b"SSH-2.0-"}


def test_large_output_and_a_slow_reader_lose_nothing(harbour: Harbour) -> None:
    size = 8 * MIB
    with session(harbour.alice, f"head -c {size} /dev/zero; echo end") as process:
        assert process.stdout
        got = 0
        while chunk := os.read(process.stdout.fileno(), 4096):
            got += len(chunk)
        assert got == size + len(b"end\n")
