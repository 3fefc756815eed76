"""Uploads while controller and link break again and again: every recording arrives, once, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from tests.harness.namespaces import Internet
from tests.harness.real_cluster import Agent, RealCluster
from tests.harness.recordings import Archive, await_empty, device, noise, spooled
from tests.harness.running_program import PATIENCE, children_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]
RECORDINGS = 6
SIZE = 600_000
BREAKS = 10
# Slow enough that the uploads last for 24 s at least, and so for half the breaks on any machine.
RATE = "1200kbit/s"


def fill_spool(agent: Agent, archive: Archive, chance: random.Random) -> dict[str, bytes]:
    """Give a device that does not run recordings to upload; return what they are, by session."""
    now, found = datetime.now(UTC), device(agent, archive)
    paths = [
        found.spool(found.script(now - timedelta(hours=number), noise(chance, SIZE)))
        for number in range(1, RECORDINGS + 1)
    ]
    return {path.stem: path.read_bytes() for path in paths}


def break_often(agent: Agent, chance: random.Random, break_once: Callable[[], None]) -> int:
    """Break something at random instants while there are recordings to upload; return how often that was."""
    for number in range(BREAKS):
        if not spooled(agent):
            return number
        time.sleep(chance.uniform(0.2, 2.0))  # that it is any instant is what is tried
        break_once()
    return BREAKS


def await_workers(cluster: RealCluster) -> list[int]:
    """Return the processes that serve the machine API: a role that has just been started has none yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(FileNotFoundError, ProcessLookupError):  # the role itself was started anew just now
            if found := children_of(cluster.role_pid("api")):
                return found
        assert time.monotonic() < deadline, "nobody serves the machine API"
        time.sleep(0.02)  # the role does not say when it has one


def check_arrival(cluster: RealCluster, archive: Archive, agent: Agent, kept: dict[str, bytes]) -> None:
    """See that all is there, unchanged, and was taken once."""
    await_empty(agent, patience=200)
    for session, data in kept.items():
        assert archive.await_state(session, "complete").session == session
        assert archive.data(session) == data
    uploads = cluster.events("session.upload")
    assert sorted(event["sid"] for event in uploads) == sorted(kept)
    assert {event["server_id"] for event in uploads} == {agent.node_id}
    assert not cluster.events("recording.refused", "recording.interrupted", "recording.gap")
    cluster.tctl("audit", "verify")


def test_uploads_survive_kills_of_the_machine_api_and_of_the_whole_controller(
    cluster: RealCluster, archive: Archive, chance: random.Random
) -> None:
    cluster.keep_ports()
    agent = cluster.start_agent("edge-1", settings={"recording": {"upload_rate": RATE}})
    agent.program.stop()
    kept = fill_spool(agent, archive, chance)
    cluster.relaunch_agent(agent)

    def kill_role() -> None:
        mark = cluster.controller.mark()
        os.kill(cluster.role_pid("api"), signal.SIGKILL)
        cluster.controller.await_line("api started, pid", since=mark)

    def kill_worker() -> None:
        os.kill(chance.choice(await_workers(cluster)), signal.SIGKILL)

    def kill_controller() -> None:
        cluster.controller.kill()
        cluster.controller.await_silence()
        cluster.start()

    breaks = break_often(agent, chance, lambda: chance.choice([kill_role, kill_worker, kill_controller])())  # noqa: PLW0108 - a new choice each time
    assert breaks >= BREAKS // 2, f"all was uploaded after {breaks} breaks"
    check_arrival(cluster, archive, agent, kept)


@pytest.mark.netns
def test_uploads_survive_a_link_that_goes_down_at_any_instant(
    net: Internet, far_cluster: RealCluster, chance: random.Random
) -> None:
    cluster, archive = far_cluster, Archive(far_cluster)
    settings = {"recording": {"upload_rate": RATE}}
    agent = cluster.start_agent("kiosk", prefix=net.device.prefix, settings=settings)
    agent.program.stop()
    kept = fill_spool(agent, archive, chance)
    cluster.relaunch_agent(agent)

    def cut() -> None:
        net.cut()
        time.sleep(chance.uniform(0.1, 3.0))  # so long it is down
        net.mend()

    breaks = break_often(agent, chance, cut)
    assert breaks >= BREAKS // 2, f"all was uploaded after {breaks} breaks"
    check_arrival(cluster, archive, agent, kept)
