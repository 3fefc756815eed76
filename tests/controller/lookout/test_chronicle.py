"""The day of heartbeats: kept over restarts of the presence process, and asked for by the others."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from controller.lookout.chronicle import DIRECTORY, Chronicle
from controller.presence.caller import ask_history
from controller.presence.history import STEPS, History, NodeHistory, step_of
from protocol import limits, topics
from protocol.names import NodeId
from tests.controller.broker.lab import NODE, OTHER
from tests.controller.lookout.lab import BEAT, PATIENCE, MovedClock, Port
from tests.controller.lookout.test_service import connected

LOADED = replace(BEAT, load=250, reconnects=4)


def known(port: Port, node_id: NodeId = NODE) -> NodeHistory | None:
    return ask_history(port.cluster.config.data_dir, node_id)


async def until_loads(port: Port, *loads: float) -> NodeHistory:
    def ask() -> NodeHistory | None:
        found = known(port)
        return found if found and tuple(each for each in found.load if each is not None) == loads else None

    found: NodeHistory = await port.until(ask)
    return found


async def test_heartbeats_are_kept_over_a_restart_and_are_nobody_else_s(port: Port) -> None:
    port.enrol(NODE)
    port.enrol(OTHER, "gw-2")
    async with port.watch():
        node = await connected(port)
        await port.until_presence(NODE, "online")
        node.publish(topics.beat(NODE), LOADED.encode(), qos=0)
        await until_loads(port, 2.5)
        port.clock.ahead += limits.HISTORY_STEP
        folder = port.cluster.config.data_dir / DIRECTORY
        await port.until(lambda: list(folder.glob("history-*.bin")))
        node.publish(topics.beat(NODE), replace(LOADED, load=100, reconnects=6).encode(), qos=0)
        found = await until_loads(port, 2.5, 1.0)
        assert found.reconnects[-1] == 2
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert await asyncio.to_thread(known, port) is None  # nobody answers
    async with port.watch():
        await until_loads(port, 2.5, 1.0)
        assert await asyncio.to_thread(known, port, OTHER) is None
        assert await asyncio.to_thread(known, port, NodeId("00000000-0000-4000-8000-000000000009")) is None


async def test_what_is_damaged_is_passed_over_with_one_line(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port.enrol(NODE)
    async with port.watch():
        node = await connected(port)
        await port.until_presence(NODE, "online")
        node.publish(topics.beat(NODE), LOADED.encode(), qos=0)
        await until_loads(port, 2.5)
    folder = port.cluster.config.data_dir / DIRECTORY
    step = step_of(port.clock())
    (folder / f"history-{step - 1}.bin").write_bytes(b"\x00" * 1000)
    (folder / f"history-{step - 2}.bin").mkdir()
    (folder / f"history-{step - 3}.bin").symlink_to(tmp_path / "nowhere")
    (folder / "notes.txt").write_text("of somebody else's")
    with caplog.at_level(logging.WARNING, "PRESENCE"):
        async with port.watch():
            await until_loads(port, 2.5)
    (line,) = [record.message for record in caplog.records if "last day" in record.message]
    assert line.endswith(f"lacks 3 of its files; the first: history-{step - 3}.bin: No such file or directory")


async def test_files_that_nobody_will_read_any_more_are_removed(tmp_path: Path) -> None:
    history, clock = History(), MovedClock()
    history.hear(NODE, LOADED, clock())
    folder = tmp_path / DIRECTORY
    folder.mkdir()
    step = step_of(clock())
    for number in (step - STEPS, step - STEPS + 1, step - 1, step + STEPS + 1):
        (folder / f"history-{number}.bin").write_bytes(b"old")
    (folder / f"history-{step - STEPS}.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_text("of somebody else's")
    await Chronicle(history, tmp_path, clock, lambda: (NODE,)).finish()
    assert {path.name for path in folder.iterdir()} == {
        "notes.txt",
        *(f"history-{number}.bin" for number in (step - STEPS + 1, step - 1, step)),
    }


async def test_a_disk_that_takes_nothing_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / DIRECTORY).write_text("in the way")
    history, clock = History(), MovedClock()
    history.hear(NODE, LOADED, clock())
    chronicle = Chronicle(history, tmp_path, clock, lambda: (NODE,))
    async with asyncio.timeout(PATIENCE):
        await chronicle.finish()
        await chronicle.finish()
    assert len([record for record in caplog.records if "outlive" in record.message]) == 1
    assert history.of(NODE, clock()) is not None
