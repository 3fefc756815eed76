from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import asyncssh

from protocol.ssh.tunnel import WINDOW
from tests.controller.proxy.lab import PATIENCE, exchange, open_to, running_proxy

MIB = 1024 * 1024


def resident() -> int:
    """Return this process's resident memory, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_ten_mebibytes_go_both_ways_at_once_and_arrive_as_they_were_sent(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        reader, writer = await open_to(await lab.person_connected())
        sent = os.urandom(10 * MIB)

        async def send() -> None:
            for start in range(0, len(sent), 256 * 1024):
                writer.write(sent[start : start + 256 * 1024])
                await writer.drain()
            writer.write_eof()

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            received = tasks.create_task(reader.read())
        assert received.result() == sent


async def test_what_a_node_says_first_arrives(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:

        async def greet(_reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            writer.write(b"SSH-2.0-node\r\n" * 1000)
            writer.close()

        await lab.node(handler=greet)
        person = await lab.person_connected()
        for _ in range(20):
            reader, _ = await open_to(person)
            async with asyncio.timeout(PATIENCE):
                assert await reader.read() == b"SSH-2.0-node\r\n" * 1000


async def test_what_a_node_sent_before_it_closed_arrives_at_a_reader_that_is_slow(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        closed = asyncio.Event()

        async def say_and_go(_reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            writer.write(b"\0" * 5 * MIB)
            writer.close()
            closed.set()

        await lab.node(handler=say_and_go)
        reader, _ = await open_to(await lab.person_connected())
        async with asyncio.timeout(PATIENCE):
            await closed.wait()
            received = 0
            while data := await reader.read(64 * 1024):
                received += len(data)
                await asyncio.sleep(0.005)  # a slow reader
        assert received == 5 * MIB


async def test_the_end_of_what_a_person_sends_reaches_the_node_whose_answer_still_arrives(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:

        async def count(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            writer.write(str(len(await reader.read())).encode())
            writer.close()

        await lab.node(handler=count)
        reader, writer = await open_to(await lab.person_connected())
        writer.write(b"x" * 300_000)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b"300000"


async def test_the_end_of_what_a_node_sends_reaches_the_person_whose_words_still_arrive(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def finish_first(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            writer.write(b"bye")
            writer.write_eof()
            heard.put_nowait(await reader.read())

        await lab.node(handler=finish_first)
        reader, writer = await open_to(await lab.person_connected())
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b"bye"
            writer.write(b"still here")
            writer.write_eof()
            assert await heard.get() == b"still here"
            await writer.wait_closed()  # with both directions over, nobody holds the channel open


async def test_a_reader_that_stalls_holds_bounded_memory_and_slows_no_other_channel(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        written = 0

        async def flood(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            nonlocal written
            if await reader.read(5) != b"flood":
                writer.write(b"quick")
                writer.close()
                return
            with suppress(asyncssh.Error, OSError):
                while True:
                    writer.write(b"\0" * 64 * 1024)
                    written += 64 * 1024
                    await writer.drain()

        await lab.node(handler=flood)
        person = await lab.person_connected()
        stalled_reader, stalled = await open_to(person)
        before = resident()
        stalled.write(b"flood")  # and nothing is read of it
        level = -1
        while level != written:  # until everything on the way is full
            level = written
            await asyncio.sleep(0.5)
        assert written < 8 * WINDOW
        assert resident() - before < 16 * WINDOW  # all three ends live in this process
        for _ in range(5):  # the stalled one stays so for good: others do not wait for it
            reader, writer = await open_to(person)
            writer.write(b"hello")
            async with asyncio.timeout(PATIENCE):
                assert await reader.read() == b"quick"
        async with asyncio.timeout(PATIENCE):
            assert len(await stalled_reader.readexactly(4 * WINDOW)) == 4 * WINDOW  # it goes on where it was
        stalled.channel.abort()


async def test_a_node_that_stalls_stops_the_person_who_sends_and_nobody_else(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        go_on = asyncio.Event()

        async def stall(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            if await reader.readexactly(1) == b"s":
                await go_on.wait()
            while data := await reader.read(64 * 1024):
                writer.write(str(len(data)).encode())
            writer.close()

        await lab.node(handler=stall)
        person = await lab.person_connected()
        _, writer = await open_to(person)
        writer.write(b"s")
        sent = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                while sent < 64 * MIB:
                    writer.write(b"\0" * 64 * 1024)
                    sent += 64 * 1024
                    await writer.drain()
        assert sent < 8 * WINDOW
        other = await open_to(person)
        other[1].write(b"gabc")
        async with asyncio.timeout(PATIENCE):
            assert await other[0].readexactly(1) == b"3"
        go_on.set()


async def test_a_node_that_vanishes_ends_the_channels_of_the_people_on_it_and_no_others(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        node = await lab.node()
        await lab.node("other")
        person = await lab.person_connected()
        here, there = await open_to(person), await open_to(person, "other")
        assert await exchange(here, b"x") == b"x"
        node.connection.abort()
        async with asyncio.timeout(PATIENCE):
            assert await here[0].read() == b""
            await here[1].wait_closed()
        assert await exchange(there, b"y") == b"y"


async def test_a_person_who_vanishes_ends_the_channels_on_the_node(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        ended = asyncio.Event()

        async def watch(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            writer.write(await reader.readexactly(1))
            with suppress(asyncssh.Error, OSError):
                await reader.read()
            ended.set()

        await lab.node(handler=watch)
        person = await lab.person_connected()
        assert await exchange(await open_to(person), b"x") == b"x"
        person.abort()
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
