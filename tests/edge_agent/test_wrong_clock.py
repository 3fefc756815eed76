"""Devices whose clock says 1970 and 2040: they join, serve, record and report, and all of it bears true times."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.clock import FILE
from edge_agent.identity import DataDirectory
from protocol.instants import parse_instant
from tests.harness.faketime import year_1970, year_2040
from tests.harness.recording_room import play
from tests.harness.road import OWN, Agent, Shell, join_arguments
from tests.harness.simulated_controller import SimulatedController

pytestmark = pytest.mark.system
Start = Callable[..., Agent]
# How far a time in a test may be from now: the tests are not about seconds.
NEAR = timedelta(minutes=2)
YEARS = pytest.mark.parametrize(("year", "clock"), [(1970, year_1970), (2040, year_2040)])


def is_near(moment: datetime) -> bool:
    return abs(moment - datetime.now(UTC)) < NEAR


def from_milliseconds(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


@YEARS
def test_a_device_with_a_wrong_clock_joins_serves_records_and_reports_true_times(
    own_controller: SimulatedController,
    start_agent: Start,
    tmp_path: Path,
    year: int,
    clock: Callable[[], dict[str, str]],
) -> None:
    data = tmp_path / "data"
    start_agent(own_controller, *join_arguments(own_controller, "astray", data), environment=clock())
    node_id = own_controller.wait_for_node("astray")
    shell = Shell(own_controller, own_controller.door_to(node_id), node_id)

    done = shell.run(own_controller.person("alice", (OWN,)), "echo inside")
    assert (done.returncode, done.stdout) == (0, b"inside\n")
    late = own_controller.person("bob", (OWN,), now=datetime.now(UTC) - timedelta(hours=3))
    assert shell.run(late, "echo inside").returncode == 255
    early = own_controller.person("carol", (OWN,), now=datetime.now(UTC) + timedelta(hours=3))
    assert shell.run(early, "echo inside").returncode == 255

    refusals = [own_controller.wait_for_event("T3007W", check="K3")]
    ended = own_controller.wait_for_event("T2004I", user="alice")
    for event in (*refusals, ended):
        assert is_near(parse_instant(event.time))
        assert parse_instant(event.fields["device_time"]).year == year
    assert is_near(parse_instant(ended.fields["session_start"]))
    assert is_near(parse_instant(ended.fields["session_stop"]))

    identity = DataDirectory(data).load()
    assert identity
    signer = identity.signing_key().public_key().public_bytes_raw()
    recorded = data / "spool" / f"{ended.fields['sid']}.skr"
    played = play(recorded.read_bytes(), signer, own_controller.recording_key)
    for seal in played.seals:
        assert is_near(from_milliseconds(seal.corrected))
        assert from_milliseconds(seal.device).year == year


@YEARS
def test_it_knows_the_time_at_its_next_start_without_a_controller(
    own_controller: SimulatedController,
    start_agent: Start,
    tmp_path: Path,
    year: int,
    clock: Callable[[], dict[str, str]],
) -> None:
    data = tmp_path / "data"
    agent = start_agent(own_controller, *join_arguments(own_controller, "astray", data), environment=clock())
    own_controller.wait_for_node("astray")
    agent.stop()
    kept = json.loads((data / FILE).read_text())
    assert is_near(from_milliseconds(kept["good"]))
    assert from_milliseconds(round(time.time() * 1000) + kept["offset"]).year == year
