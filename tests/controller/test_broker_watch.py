from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from controller.addresses import BoundAddresses
from controller.broker.broker import Change
from controller.broker_watch import BrokerWatch
from controller.cluster import Cluster, open_cluster
from controller.config import parse_config
from controller.origin import Origin
from controller.process import Process, Program, lifeline
from protocol import limits
from protocol.decision import Granted
from tests.controller.harbour import PING, WEB, Device, HandClock

ADMIN = Origin(via="tctl", actor="root")
HERE = ("127.0.0.1", 0)
PATIENCE = 20


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def cluster(tmp_path: Path, clock: HandClock) -> Cluster:
    text = f"teleport: {{data_dir: '{tmp_path / 'data'}'}}\nauth_service: {{cluster_name: harbour}}\n"
    return open_cluster(parse_config(text, "controller.yaml"), clock)


def watch_over(cluster: Cluster, port: int | None) -> BrokerWatch:
    mqtt = None if port is None else ("127.0.0.1", port)
    return BrokerWatch(cluster, BoundAddresses(HERE, HERE, HERE, HERE, mqtt))


@pytest.fixture
def port() -> Iterator[int]:
    """Keep a port for a broker, as the supervisor does: nobody else is given it before mosquitto has bound it."""
    with socket.socket() as berth:
        berth.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        berth.bind(("127.0.0.1", 0))
        yield berth.getsockname()[1]


async def test_the_process_reads_again_or_ends_as_the_change_demands(cluster: Cluster, port: int) -> None:
    watch = watch_over(cluster, port)
    watch.broker.prepare()
    program = watch.program()
    with lifeline() as life:
        process = await Process.start(program, life)
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            tasks.create_task(process.relay_log())
            await watch.apply(Change.NONE, process)  # that is how it comes to be known
            assert not watch.took_down()
            cluster.authority.rotate("tls", "init", cluster.clock())
            change = watch.look()
            assert change is Change.RESTART
            await watch.apply(change, process)
            assert watch.took_down()
            assert not watch.took_down()  # a fall after that would be one
            await process.wait()


@asynccontextmanager
async def at_work(watch: BrokerWatch, said: list[str]) -> AsyncIterator[Process]:
    """Run the broker until it answers, and to its end: then all that it logged has been `said`."""
    with lifeline() as life:
        process = await Process.start(replace(watch.program(), log=said.append), life)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(process.relay_log())
            try:
                async with asyncio.timeout(PATIENCE):
                    while not await watch.ask():
                        pass  # nobody listens yet
                yield process
            finally:
                await process.end(timedelta(seconds=PATIENCE))


async def test_a_broker_is_asked_whether_it_answers_and_its_log_has_no_line_of_it(cluster: Cluster, port: int) -> None:
    watch = watch_over(cluster, port)
    watch.broker.prepare()
    assert not await watch.ask()
    said: list[str] = []
    async with at_work(watch, said) as process, asyncio.TaskGroup() as tasks:
        os.kill(process.pid, signal.SIGSTOP)
        asking = tasks.create_task(watch.ask())
        await asyncio.wait((asking,), timeout=1)
        assert not asking.done()  # it listens, and says nothing
        os.kill(process.pid, signal.SIGCONT)
        assert await asking
        for _ in range(3):
            assert await watch.ask()
    assert [line for line in said if "does not contain" not in line] == []


async def test_a_broker_that_thinks_nothing_of_who_asks_it_answers_as_well(cluster: Cluster, port: int) -> None:
    watch = watch_over(cluster, port)
    watch.broker.prepare()
    said: list[str] = []
    async with at_work(watch, said):
        for phase in ("init", "update_clients", "update_servers"):
            cluster.authority.rotate("tls", phase, cluster.clock())
        async with asyncio.timeout(PATIENCE):
            while not any("OpenSSL Error" in line for line in said):
                assert await watch.ask()


async def test_a_broker_that_we_cannot_ask_for_our_own_disk_or_threads_are_late_is_not_held_silent(
    cluster: Cluster, port: int
) -> None:
    watch, late = watch_over(cluster, port), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        pool.submit(late.wait)
        try:
            assert await watch.ask()
            assert await watch.ask()
            assert pool._work_queue.qsize() == 1  # nothing heaps up meanwhile
        finally:
            late.set()
        assert not await watch.ask()  # nobody listens there


async def hears(line: asyncio.Queue[str], text: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while text not in await line.get():
            pass


async def test_what_changed_while_the_process_was_starting_is_taken_up_once_it_has_started(
    tmp_path: Path, cluster: Cluster, port: int
) -> None:
    watch = watch_over(cluster, port)
    watch.broker.prepare()
    said: asyncio.Queue[str] = asyncio.Queue()
    # It says when it is told to read again, and dies of it where it was told too early, as mosquitto does.
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGHUP, lambda *_: print('read again', file=sys.stderr, flush=True))\n"
        "print('begun', file=sys.stderr, flush=True)\n"
        "while True: time.sleep(60)\n"
    )
    program = Program("test", (sys.executable, "-c", code), is_role=False, directory=tmp_path, log=said.put_nowait)
    await watch.apply(Change.RELOAD, None)  # it is being started, and may have read the files already
    with lifeline() as life:
        process = await Process.start(program, life)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(process.relay_log())
            await watch.apply(Change.NONE, process)
            await hears(said, "begun")
            assert said.empty()
            await watch.apply(Change.NONE, process)
            await hears(said, "read again")
            await watch.apply(Change.NONE, process)  # nothing is left to tell
            assert not watch.took_down()
            await process.end(timedelta(seconds=PATIENCE))
    assert said.empty()


async def test_the_process_may_take_as_much_as_its_fleet_needs(cluster: Cluster, port: int) -> None:
    watch = watch_over(cluster, port)
    watch.broker.prepare()
    code = (
        "import resource, sys\n"
        "held = [resource.getrlimit(number)[0] for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)]\n"
        "print(*held, file=sys.stderr)"
    )
    said: asyncio.Queue[str] = asyncio.Queue()
    program = replace(watch.program(), command=(sys.executable, "-c", code), user=None, log=said.put_nowait)
    with lifeline() as life:
        process = await Process.start(program, life)
        await process.relay_log()
        await process.wait()
    files, memory = (int(number) for number in said.get_nowait().split())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert files == min(hard, watch.broker.connections + 100)
    assert 512 * 2**20 < memory < 2**30


def test_a_locked_node_s_certificates_are_on_the_list(cluster: Cluster, clock: HandClock, port: int) -> None:
    token, _ = cluster.enrolment.tokens.add(ttl=limits.JOIN_TOKEN_TTL, uses=1, labels={}, claimable=None, origin=ADMIN)
    joined = cluster.enrolment.join(Device().request(token.reveal()), PING, WEB)
    assert isinstance(joined, Granted), joined
    watch = watch_over(cluster, port)
    watch.broker.prepare()
    cluster.locks.add("node", joined.value.node_id, "stolen", None, ADMIN)
    clock.move(seconds=3)
    assert watch.look() is Change.RELOAD
    listed = x509.load_pem_x509_crl((watch.broker.directory / "revoked.crl").read_bytes())
    held = x509.load_pem_x509_certificate(joined.value.tls_certificate.encode())
    assert [entry.serial_number for entry in listed] == [held.serial_number]


async def test_a_broker_that_is_not_ours_is_given_files_and_its_admin_a_line(
    cluster: Cluster, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    watch = watch_over(cluster, None)
    watch.broker.prepare()
    assert not (watch.broker.directory / "mosquitto.conf").exists()
    assert (watch.broker.directory / "acl").exists()
    cluster.store.collection("revoked").create("a1", {}, now=clock())
    clock.move(seconds=3)
    caplog.set_level(logging.INFO)
    await watch.apply(watch.look(), None)
    await watch.apply(watch.look(), None)
    told = [record.message for record in caplog.records if record.name == "CONTROLLER"]
    assert told == [f"{watch.broker.directory} has changed: bring it to the broker, and reload that"]


def test_files_that_cannot_be_written_are_complained_of_once_and_seen_to_in_the_end(
    cluster: Cluster, clock: HandClock, caplog: pytest.LogCaptureFixture, port: int
) -> None:
    watch = watch_over(cluster, port)
    watch.broker.prepare()
    aside = watch.broker.directory.with_name("aside")
    watch.broker.directory.rename(aside)
    watch.broker.directory.write_text("in the way")
    cluster.store.collection("revoked").create("a1", {}, now=clock())
    clock.move(seconds=3)
    assert [watch.look(), watch.look()] == [Change.NONE, Change.NONE]
    told = [record.message for record in caplog.records if record.name == "CONTROLLER"]
    assert len(told) == 1
    assert told[0].startswith("who may come to the broker cannot be seen to: ")
    watch.broker.directory.unlink()
    aside.rename(watch.broker.directory)
    assert watch.look() is Change.RELOAD
