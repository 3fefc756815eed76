"""Devices without a battery and devices from the future, which slept past the end of their certificates besides."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from protocol import limits
from protocol.instants import parse_instant
from tests.harness.faketime import year_1970, year_2040
from tests.harness.real_cluster import LOGIN
from tests.harness.recordings import Archive
from tests.harness.running_program import PATIENCE
from tests.system.identity.conftest import Past, switched_off

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
NEAR = timedelta(minutes=2)
OVER = limits.HOST_CERTIFICATE_TTL + timedelta(days=10)


def is_near(milliseconds: float) -> bool:
    return abs(datetime.fromtimestamp(milliseconds / 1000, UTC) - datetime.now(UTC)) < NEAR


@pytest.mark.parametrize(("year", "clock"), [(1970, year_1970), (2040, year_2040)])
def test_a_device_with_a_wrong_clock_comes_home_late_and_what_it_does_bears_true_times(
    past: Past, year: int, clock: Callable[[], dict[str, str]]
) -> None:
    past.go(OVER)
    wrong = ("env", *(f"{name}={value}" for name, value in clock().items()))
    agent = past.cluster.start_agent("astray", prefix=wrong)
    agent.program.await_line("connected to the broker")
    assert agent.program.stop() == 0
    switched_off(agent)
    cluster = past.come_home()
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)

    cluster.restart_agent(agent)
    agent.program.await_line("new certificates, generation 2")
    agent.program.await_line("connected to the broker")
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@astray", "echo $SSH_SESSION_ID")
    assert done.returncode == 0, done.stderr
    session = done.stdout.decode().strip()
    archive = Archive(cluster)
    entry = archive.await_state(session, "complete")
    assert is_near(entry.started)
    seals = archive.contents(session).seals
    assert all(is_near(seal.corrected) for seal in seals)
    assert {datetime.fromtimestamp(seal.device / 1000, UTC).year for seal in seals} == {year}
    for kind in ("session.start", "session.end"):
        told = cluster.await_event(kind, sid=session)
        assert is_near(parse_instant(told["time"]).timestamp() * 1000)
        assert parse_instant(told["device_time"]).year == year

    deadline = time.monotonic() + PATIENCE
    while True:
        shown = json.loads(cluster.tctl("nodes", "show", "astray", "--format=json").stdout)
        if shown["status"] == "online" and shown["heartbeat"]:
            break
        assert time.monotonic() < deadline, shown
    assert is_near(parse_instant(shown["since"]).timestamp() * 1000)
    assert is_near(time.time() * 1000 + shown["heartbeat"]["clock_offset"]) is False
