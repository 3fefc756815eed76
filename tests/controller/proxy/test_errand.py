from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest

from controller.proxy import errand
from controller.proxy.errand import Errands
from protocol import events
from protocol.decision import Refused
from protocol.events import Json
from protocol.instants import format_instant
from tests.controller.proxy.lab import (
    PATIENCE,
    ProxyLab,
    eventually,
    exchange,
    open_to,
    refusal,
    running_proxy,
    unwritable_audit_log,
)

NO_AUDIT_LOG = (
    asyncssh.OPEN_RESOURCE_SHORTAGE,
    "the controller cannot keep its audit log now; try again later or tell the administrator",
)
CONNECT: dict[str, Json] = {"user": "a", "server_id": "b", "server_hostname": "c", "addr.remote": "d"}


async def test_nobody_is_let_through_unrecorded_and_what_could_not_be_written_is_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        person = await lab.person_connected()
        running = await open_to(person)
        await lab.audited("session.connect")
        with unwritable_audit_log(lab):
            lab.clock.move(seconds=10)
            happened = lab.clock()
            await open_to(person)  # nothing is known of the trouble until this cannot be written
            await eventually(lambda: "until the audit log can be kept again" in caplog.text)
            assert await refusal(person, "gw-1") == NO_AUDIT_LOG
            assert await exchange(running, b"goes on") == b"goes on"
            lab.clock.move(seconds=10)
        entries = await lab.audited("session.connect", 2)
        assert entries[1]["time"] == format_instant(happened)
        await eventually(lambda: "the audit log is kept again" in caplog.text)
        assert await exchange(await open_to(person), b"x") == b"x"
        await lab.audited("session.connect", 3)


async def test_events_that_had_to_wait_are_written_once_each_in_their_order(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab, asyncio.TaskGroup() as tasks:
        errands = Errands(lab.cluster.audit, lab.clock)
        expected = []
        with unwritable_audit_log(lab):
            running = tasks.create_task(errands.run())
            for number in range(5):
                lab.clock.move(seconds=1)
                expected.append((f"user-{number}", format_instant(lab.clock())))
                errands.audit(events.SESSION_CONNECT, {**CONNECT, "user": f"user-{number}"})
            await eventually(lambda: not errands.is_keeping)
        entries = await lab.audited("session.connect", 5)
        assert [(entry["user"], entry["time"]) for entry in entries] == expected
        await eventually(lambda: errands.is_keeping)
        running.cancel()


async def test_a_proxy_that_stops_says_in_the_log_what_it_could_not_write(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        person = await lab.person_connected()
        with unwritable_audit_log(lab):
            await open_to(person)
            await eventually(lambda: "until the audit log can be kept again" in caplog.text)
            person.abort()
            lab.stop.set()
            async with asyncio.timeout(PATIENCE):
                await lab.ended.wait()
    (line,) = [record.getMessage() for record in caplog.records if "the controller stops" in record.getMessage()]
    assert "session.connect" in line
    assert "alice" in line


async def fail(lab: ProxyLab, address: str) -> None:
    stranger = lab.certify(lab.user_order("nobody"))
    with pytest.raises(asyncssh.PermissionDenied):
        await lab.connect(stranger.client_keys(), local_addr=(address, 0))


async def test_a_stranger_who_fails_again_and_again_fills_neither_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_proxy(tmp_path) as lab:
        burst = errand._FAILURES.burst
        for _ in range(burst + 5):
            await fail(lab, "127.0.0.5")
        await fail(lab, "127.0.0.6")
        entries = await lab.audited("T3007W", burst + 1)
        assert len(entries) == burst + 1
        assert entries[-1]["addr.remote"].startswith("127.0.0.6:")
        lab.clock.move(minutes=1)
        for _ in range(errand._FAILURES.per_minute + 1):
            await fail(lab, "127.0.0.5")
        await lab.audited("T3007W", burst + 1 + errand._FAILURES.per_minute)
    counts = [record.getMessage() for record in caplog.records if "too many refusals" in record.getMessage()]
    assert counts == [f"too many refusals: {many} were not written to the audit log" for many in (1, 5)]


async def test_refusals_crowd_out_no_deed(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        errands = Errands(lab.cluster.audit, lab.clock)
        for number in range(errand._REFUSALS_MAX * 2):
            # Each from another network: no bucket is empty but the one of all together.
            errands.auth_failed("client", f"192.0.{number // 256}.{number % 256}:1", "x", Refused("a test", "K2"))
        for _ in range(errand._BRIM):
            assert errands.is_keeping
            errands.audit(events.SESSION_CONNECT, CONNECT)
        assert not errands.is_keeping
        assert len(errands._waiting) == errand._BRIM + errand._REFUSALS_MAX
