"""A week of sessions is uploaded over a slow link, and somebody who works on the device hardly feels it."""

from __future__ import annotations

import itertools
import random
import statistics
import string
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pexpect
import pytest

from tests.harness.namespaces import Internet
from tests.harness.real_cluster import LOGIN, Person, RealCluster
from tests.harness.recordings import Archive, device, spooled, week_of_sessions
from tests.harness.running_program import BIN, PATIENCE

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(400)]
LINK = 128  # kbit/s, each way
CAP = 32  # kbit/s
SESSIONS = 28
KEYS = 40
# What a key may take longer, in the median of many, while the upload runs. A full packet takes the link 94 ms. Beside
# a plain TCP upload without a cap, it takes a key 2.7 s through this modem's buffer: the two are told apart on a busy
# machine, too.
LATER = 0.7


@contextmanager
def typing(net: Internet, person: Person) -> Iterator[Callable[[], float]]:
    """Work on the device at a terminal; yield what types a key and returns the seconds until its echo."""
    prefix = net.controller.prefix
    command = [
        *prefix,
        str(BIN / "tsh"),
        "ssh",
        "-t",
        f"{LOGIN}@kiosk",
        "stty -icanon; echo rea''dy; exec cat >/dev/null",
    ]
    terminal = pexpect.spawn(command[0], command[1:], env=person.environment, timeout=PATIENCE, encoding="utf-8")
    terminal.delaybeforesend = None
    keys = itertools.cycle(string.ascii_letters)
    try:
        terminal.expect_exact("ready\r\n")

        def press() -> float:
            key = next(keys)
            begun = time.monotonic()
            terminal.send(key)
            terminal.expect_exact(key)
            return time.monotonic() - begun

        yield press
    finally:
        terminal.close(force=True)


def test_week_of_recordings_is_uploaded_in_order_under_a_cap_beside_somebody_who_works(
    net: Internet, far_cluster: RealCluster, far_alice: Person, chance: random.Random
) -> None:
    cluster, archive = far_cluster, Archive(far_cluster)
    recording = {"upload_rate": f"{CAP}kbit/s", "upload_order": "oldest"}
    agent = cluster.start_agent("kiosk", prefix=net.device.prefix, settings={"recording": recording})
    agent.program.stop()
    found = device(agent, archive)
    week = week_of_sessions(found, chance, SESSIONS, datetime.now(UTC))
    kept = {path.stem: path.read_bytes() for path in [found.spool(one) for one in chance.sample(week, len(week))]}
    sent = net.meter(3025)
    begun = time.monotonic()
    cluster.restart_agent(agent)
    net.narrow(LINK)
    beside, alone = [], []
    with typing(net, far_alice) as press:
        while set(kept) & {path.stem for path in spooled(agent)}:
            beside.append(press())
        took, size = time.monotonic() - begun, sent()
        alone += [press() for _ in range(KEYS)]
    medians = statistics.median(beside), statistics.median(alone)
    figures = f"{len(beside)} keys beside the upload took {medians[0]:.3f} s, alone {medians[1]:.3f} s"
    print(
        f"{figures}; {size} bytes on the wire in {took:.1f} s for {sum(map(len, kept.values()))} of {SESSIONS} sessions"
    )
    assert len(beside) >= KEYS
    assert medians[0] - medians[1] < LATER, figures
    assert size <= 1.1 * CAP * 1000 / 8 * took + 16_384, f"{size} bytes in {took:.1f} s"
    uploads = [str(event["sid"]) for event in cluster.events("session.upload")]
    assert [sid for sid in uploads if sid in kept] == [one.session for one in week]
    assert {session: archive.data(session) for session in kept} == kept
