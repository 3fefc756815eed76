"""Locks, end to end: the admin's command, and what people and devices that are locked out get to see."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from protocol.instants import parse_instant
from tests.harness.real_cluster import LOGIN, Person, RealCluster
from tests.harness.running_program import BIN, PATIENCE

pytestmark = pytest.mark.system
# A second is what is promised; these are two cores that do other things besides.
_SOON = timedelta(seconds=5)


@contextmanager
def session(person: Person, target: str) -> Iterator[subprocess.Popen[bytes]]:
    """Give a session that has begun and goes on for as long as its standard input is open."""
    command = [str(BIN / "tsh"), "ssh", f"{LOGIN}@{target}", "echo begun; cat"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=person.environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[bytes]) -> str:
    """Wait until a session is over, and return what it said on standard error."""
    assert process.stderr is not None
    said = process.stderr.read().decode()
    assert process.wait(PATIENCE) != 0
    return said


def assert_prompt(cluster: RealCluster, made: str, person: Person) -> None:
    """Look how long after the lock the session was over, both by this machine's clock: however slow it is just now."""
    begun = cluster.await_event("lock.created", name=made)["time"]
    over = cluster.await_event("session.end", user=person.name)["time"]
    assert timedelta(0) <= parse_instant(over) - parse_instant(begun) < _SOON


def lock(cluster: RealCluster, *options: str) -> str:
    found = re.search(r'Created a lock with name "([0-9a-f-]{36})"\.', cluster.tctl("lock", *options).stdout)
    assert found
    return found[1]


def test_a_person_s_sessions_end_with_the_lock_s_words_and_all_is_as_before_without_it(cluster: RealCluster) -> None:
    alice, bob = cluster.add_user("alice"), cluster.add_user("bob")
    agent = cluster.start_agent("gw")
    cluster.sign_in(alice)
    cluster.sign_in(bob)
    text = 'lock targeting User:"alice" is in force: left the company'
    with session(alice, agent.name) as hers, session(bob, agent.name) as his:
        made = lock(cluster, "--user=alice", "--message=left the company")
        assert text in ended(hers)
        assert his.poll() is None
        assert_prompt(cluster, made, alice)
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@{agent.name}", "true")
    assert (done.returncode, text in done.stderr.decode()) == (255, True)
    done = cluster.tsh(alice, "ls")
    assert (done.returncode, text in done.stderr.decode()) == (1, True)
    done = cluster.try_sign_in(alice, alice.password, alice.next_code())
    assert (done.returncode, text in done.stderr.decode()) == (1, True)
    assert cluster.tsh(bob, "ssh", f"{LOGIN}@{agent.name}", "true").returncode == 0
    cluster.tctl("locks", "rm", made)
    assert cluster.tsh(alice, "ls").returncode == 0
    assert cluster.tsh(alice, "ssh", f"{LOGIN}@{agent.name}", "true").returncode == 0


def test_a_login_s_sessions_end_with_the_lock_s_words_and_people_are_not_locked_out(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    agent = cluster.start_agent("gw")
    cluster.sign_in(alice)
    text = f'lock targeting Login:"{LOGIN}" is in force: no more of it'
    with session(alice, agent.name) as hers:
        made = lock(cluster, f"--login={LOGIN}", "--message=no more of it")
        assert text in ended(hers)
        assert_prompt(cluster, made, alice)
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@{agent.name}", "true")
    assert (done.returncode, text in done.stderr.decode()) == (255, True)
    assert cluster.tsh(alice, "ls").returncode == 0
    cluster.tctl("locks", "rm", made)
    deadline = time.monotonic() + PATIENCE
    while cluster.tsh(alice, "ssh", f"{LOGIN}@{agent.name}", "true").returncode:  # the node is yet to hear of that
        assert time.monotonic() < deadline, agent.program.log()


def test_a_node_s_sessions_end_with_the_lock_s_words_and_it_comes_back_when_it_is_off(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    locked, other = cluster.start_agent("stolen"), cluster.start_agent("kept")
    cluster.sign_in(alice)
    text = f'lock targeting Node:"{locked.node_id}" is in force: stolen'
    with session(alice, locked.name) as to_locked, session(alice, other.name) as to_other:
        made = lock(cluster, "--node=stolen", "--message=stolen")
        assert text in ended(to_locked)
        assert to_other.poll() is None
        assert_prompt(cluster, made, alice)
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@{locked.name}", "true")
    assert (done.returncode, text in done.stderr.decode()) == (255, True)
    mark = cluster.controller.mark()
    cluster.tctl("locks", "rm", made)
    cluster.await_tunnel(locked.node_id, since=mark)
    assert cluster.tsh(alice, "ssh", f"{LOGIN}@{locked.name}", "true").returncode == 0
    mark = cluster.controller.mark()
    lasting = lock(cluster, "--node=stolen")
    access = cluster.data_dir / "broker" / "acl"
    deadline = time.monotonic() + PATIENCE
    while locked.node_id not in access.read_text():  # the broker keeps it silent by then
        assert time.monotonic() < deadline, access.read_text()
        time.sleep(0.05)
    cluster.tctl("locks", "rm", lasting)
    cluster.await_tunnel(locked.node_id, since=mark)
    deadline = time.monotonic() + PATIENCE
    while cluster.tsh(alice, "ssh", f"{LOGIN}@{locked.name}", "true").returncode:
        assert time.monotonic() < deadline, locked.program.log()
