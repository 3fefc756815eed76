from __future__ import annotations

import asyncio
import json
import logging
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.clock import FILE, Clock, device_milliseconds, time_told, uptime_milliseconds
from protocol import limits
from protocol.ssh.certificate import parse_certificate_line
from tests.harness.inner_door import joined_identity
from tests.harness.simulated_controller import SimulatedController

NOW = 1_795_000_000_000
DAY = 24 * 3600 * 1000
END = 253_402_300_799_999


@dataclass
class Device:
    """A machine whose clocks a test sets."""

    directory: Path
    device: int = 40_000
    uptime: int = 40_000
    boot: str = "first"

    def clock(self) -> Clock:
        return Clock(self.directory, device=lambda: self.device, uptime=lambda: self.uptime, boot=self.boot)

    def goes_on(self, milliseconds: int) -> None:
        self.device += milliseconds
        self.uptime += milliseconds

    def restarts(self, device: int) -> None:
        self.device, self.uptime, self.boot = device, 5_000, self.boot + " and another"


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_new_device_goes_by_its_own_clock_and_says_that_it_does_not_know(device: Device) -> None:
    clock = device.clock()
    assert clock.times() == (40_000, 40_000)
    assert clock.offset_ms is None
    assert not clock.is_known


def test_the_time_goes_on_whatever_is_done_to_the_device_s_clock(device: Device) -> None:
    clock = device.clock()
    clock.learn(NOW, after_s=2.5)
    device.goes_on(10_000)
    device.device += 20 * 365 * DAY
    assert clock.times() == (device.device, NOW + 12_500)
    assert clock.now() == datetime.fromtimestamp((NOW + 12_500) / 1000, UTC)
    assert clock.offset_ms == device.device - NOW - 12_500


def test_an_agent_that_is_started_again_knows_the_time_at_once(device: Device) -> None:
    clock = device.clock()
    clock.learn(NOW)
    clock.keep()
    device.goes_on(60_000)
    again = device.clock()
    assert again.is_known
    assert again.times()[1] == NOW + 60_000
    assert stat.S_IMODE((device.directory / FILE).stat().st_mode) == 0o600


def test_after_a_restart_of_the_machine_it_is_later_than_the_last_good_time(device: Device) -> None:
    clock = device.clock()
    clock.learn(NOW)
    device.goes_on(DAY)
    clock.keep()
    device.restarts(device=7_000)
    again = device.clock()
    assert again.times() == (7_000, NOW + DAY + 5_000)
    assert again.offset_ms is None


def test_a_clock_that_is_set_to_2040_is_known_to_be_wrong_after_a_restart(device: Device) -> None:
    device.device = NOW + 14 * 365 * DAY
    clock = device.clock()
    clock.learn(NOW)
    clock.keep()
    device.restarts(device=device.device + 3 * DAY)
    assert device.clock().times()[1] == NOW + 3 * DAY


def test_a_machine_that_counts_from_nought_again_was_restarted_whatever_its_name(device: Device) -> None:
    clock = device.clock()
    clock.learn(NOW)
    clock.keep()
    device.uptime = 1_000
    assert not device.clock().is_known


def test_a_pulse_that_was_held_back_does_not_turn_the_clock_back_and_has_the_controller_asked(device: Device) -> None:
    asked: list[bool] = []
    clock = device.clock()
    clock.doubted = lambda: asked.append(True)
    clock.learn(NOW)
    clock.hear(NOW - 1_000)
    assert clock.times()[1] == NOW
    assert not asked
    assert not clock.is_late(NOW - 1_000)
    clock.hear(NOW - 61_000)
    assert clock.times()[1] == NOW
    assert asked
    assert clock.is_late(NOW - 61_000)
    clock.learn(NOW - 61_000)  # the controller itself says so
    assert clock.times()[1] == NOW - 61_000


def test_a_pulse_teaches_who_knows_nothing_but_not_what_is_past(device: Device) -> None:
    asked: list[bool] = []
    clock = device.clock()
    clock.remember(NOW)
    clock.doubted = lambda: asked.append(True)
    clock.hear(NOW - DAY)
    assert not clock.is_known
    assert asked
    clock.hear(NOW + DAY)
    assert clock.times()[1] == NOW + DAY


def test_what_the_controller_said_when_the_node_joined_is_the_least_that_is_known(device: Device) -> None:
    clock = device.clock()
    clock.remember(NOW)
    clock.remember(NOW + DAY)  # the first holds
    assert clock.times()[1] == NOW
    assert not clock.is_known


@pytest.mark.parametrize("there", [-1, END + 1, 2**70])
def test_a_time_beyond_the_calendar_is_not_learned(device: Device, there: int) -> None:
    clock = device.clock()
    clock.learn(there)
    assert not clock.is_known
    clock.hear(there)
    assert not clock.is_known


def test_a_device_s_clock_beyond_the_calendar_is_a_clock_all_the_same(device: Device) -> None:
    device.device = 2**60
    assert device.clock().now().year == 9999


def test_before_the_controller_was_heard_it_may_be_any_time_after_the_last_good_one(device: Device) -> None:
    assert device.clock().span()[0] == datetime.fromtimestamp(0, UTC)
    clock = device.clock()
    clock.learn(NOW)
    clock.keep()
    device.restarts(device=2 * NOW)
    earliest, latest = device.clock().span()
    assert earliest == datetime.fromtimestamp((NOW + 5_000) / 1000, UTC)
    assert latest.year == 9999


def test_once_it_was_heard_there_is_no_doubt(device: Device) -> None:
    clock = device.clock()
    clock.learn(NOW)
    assert clock.span() == (clock.now(), clock.now())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff" * 99,
        b"[" * 100_000,
        b'{"boot": "first", "uptime": 1, "good": 1e3, "offset": 0}',
        b'{"boot": "first", "uptime": 1, "good": 253402300800000, "offset": 0}',
        b'{"boot": "first", "uptime": 1, "good": 1, "offset": true}',
        b'{"boot": "first", "uptime": 1, "good": 1, "offset": 99999999999999999999999}',
    ],
)
def test_a_file_that_is_not_ours_is_passed_over(
    device: Device, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (device.directory / FILE).write_bytes(content)
    assert not device.clock().is_known
    assert f"{FILE} cannot be read" in caplog.text


async def test_the_time_is_kept_soon_after_it_was_learned_and_not_with_every_pulse(device: Device) -> None:
    clock = device.clock()
    file = device.directory / FILE

    async def kept(good: int) -> None:
        while not file.exists() or json.loads(file.read_text())["good"] != good:  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        keeping = group.create_task(clock.run())
        clock.learn(NOW)
        await kept(NOW)
        first = file.stat().st_ino
        device.goes_on(240_000)
        clock.hear(NOW + 240_010)
        for _ in range(20):  # whoever waits to write has had its turn
            await asyncio.sleep(0)
        assert file.stat().st_ino == first
        device.device += 5_000  # somebody set the device's clock
        clock.hear(NOW + 240_020)
        await kept(NOW + 240_020)
        keeping.cancel()


def test_the_first_pulse_counts_for_nothing_where_the_machine_has_been_up_for_longer_than_it_says(
    device: Device,
) -> None:
    clock = device.clock()
    clock.learn(NOW)
    clock.keep()
    device.restarts(device=0)
    again = device.clock()
    device.goes_on(3 * DAY)
    again.hear(NOW + 1)
    assert not again.is_known
    assert again.is_late(NOW + 1)
    again.hear(NOW + 3 * DAY + 6_000)
    assert again.is_known
    assert not again.is_late(NOW + 3 * DAY + 6_000)


def test_a_disk_that_keeps_nothing_is_told_to_the_log(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    (device.directory / FILE).mkdir()
    clock = device.clock()
    clock.learn(NOW)
    caplog.clear()
    clock.keep()
    clock.keep()
    assert [line for line in caplog.messages if "cannot keep the time" in line] == caplog.messages
    assert len(caplog.messages) == 1  # however often it is tried
    assert clock.times()[1] == NOW
    (device.directory / FILE).rmdir()
    clock.keep()
    (device.directory / FILE).unlink()
    (device.directory / FILE).mkdir()
    clock.keep()
    assert len(caplog.messages) == 2


def test_nothing_is_kept_where_nothing_is_known(device: Device) -> None:
    device.clock().keep()
    assert not (device.directory / FILE).exists()


def test_the_machine_s_own_clocks_are_read(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.WARNING)
    before = datetime.now(UTC)
    assert before - timedelta(seconds=1) <= Clock(tmp_path).now() <= datetime.now(UTC)
    assert device_milliseconds() > NOW - 5 * 365 * DAY
    assert uptime_milliseconds() > 0
    assert not caplog.records


def test_the_answer_to_a_join_tells_the_time(own_controller: SimulatedController, tmp_path: Path) -> None:
    before = device_milliseconds()
    with_terms = joined_identity(own_controller, tmp_path / "a").granted
    assert before - 1_000 <= time_told(with_terms) <= device_milliseconds() + 1_000
    own_controller.mode = None
    without = joined_identity(own_controller, tmp_path / "b").granted
    made = parse_certificate_line(without.host_certificate).valid_after + limits.CLOCK_LEEWAY
    assert time_told(without) == made.timestamp() * 1000
