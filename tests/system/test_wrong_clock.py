"""Devices whose clocks say 1970 and 2040, with the real controller: what they do bears the controller's time."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from protocol.instants import parse_instant
from tests.harness.faketime import year_1970, year_2040
from tests.harness.real_cluster import LOGIN, RealCluster

pytestmark = pytest.mark.system
NEAR = timedelta(minutes=2)


@pytest.mark.parametrize(("year", "clock"), [(1970, year_1970), (2040, year_2040)])
def test_a_device_with_a_wrong_clock_is_a_node_like_any_other(
    cluster: RealCluster, year: int, clock: Callable[[], dict[str, str]]
) -> None:
    alice = cluster.add_user("alice")
    agent = cluster.start_agent("astray", prefix=("env", *(f"{name}={value}" for name, value in clock().items())))
    agent.program.await_line("connected to the broker")
    cluster.sign_in(alice)
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@astray", "echo inside")
    assert (done.returncode, done.stdout) == (0, b"inside\n"), done.stderr

    ended = cluster.await_event("session.end", server_id=agent.node_id)
    assert abs(parse_instant(ended["time"]) - datetime.now(UTC)) < NEAR
    assert parse_instant(ended["device_time"]).year == year

    cluster.tctl("lock", "--user=alice", "--message=lost laptop", "--ttl=1h")
    agent.program.await_line("going by version")
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@astray", "echo inside")
    assert done.returncode == 255, shlex.join(map(str, done.args))
    assert 'lock targeting User:"alice" is in force: lost laptop' in done.stderr.decode()
