"""Two people in one session of a real cluster: begun with `tsh`, joined with stock OpenSSH, told to the audit log."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from protocol.joining import MODE_VARIABLE, NO_SUCH_SESSION, SESSION_VARIABLE
from tests.harness.real_cluster import LOGIN, Person, RealCluster
from tests.harness.running_program import BIN, clean_environment

pytestmark = pytest.mark.system
TIMEOUT = 50


@dataclass
class Fleet:
    """A cluster with one device, and two people who are signed in."""

    cluster: RealCluster
    alice: Person
    bob: Person
    config: Path

    def begin(self, *arguments: str) -> pexpect.spawn:
        """Begin a session of alice's, and return it when it is ready."""
        command = ["ssh", "-t", f"{LOGIN}@edge-1", *arguments, "stty -echo; echo ready; exec cat"]
        child = pexpect.spawn(str(BIN / "tsh"), command, env=self.alice.environment, timeout=TIMEOUT, echo=False)
        child.expect("ready")
        return child

    @property
    def session(self) -> str:
        return str(self.cluster.await_event("session.start", user="alice")["sid"])

    def ssh(self, session: str, mode: str) -> list[str]:
        said = f"SetEnv={SESSION_VARIABLE}={session} {MODE_VARIABLE}={mode}"
        return ["-F", str(self.config), "-tt", "-o", said, f"{LOGIN}@edge-1.harbour"]

    def join(self, session: str, mode: str) -> pexpect.spawn:
        """Have bob join with OpenSSH."""
        environment = {**clean_environment(), "TERM": "xterm"}
        return pexpect.spawn("ssh", self.ssh(session, mode), env=environment, timeout=TIMEOUT, echo=False)


@pytest.fixture
def fleet(cluster: RealCluster, tmp_path: Path) -> Fleet:
    alice, bob = cluster.add_user("alice"), cluster.add_user("bob")
    for person in (alice, bob):
        cluster.sign_in(person)
    cluster.start_agent("edge-1")
    printed = cluster.tsh(bob, "config")
    assert printed.returncode == 0, printed.stderr
    config = tmp_path / "ssh_config"
    config.write_bytes(printed.stdout)
    return Fleet(cluster, alice, bob, config)


def test_two_people_work_in_one_session_and_all_of_it_is_in_the_audit_log(fleet: Fleet) -> None:
    alice = fleet.begin()
    session = fleet.session
    bob = fleet.join(session, "peer")
    bob.expect("ready")
    alice.expect(r"Skerry: bob joined as peer \(2 here\)")
    bob.sendline("typed by bob")
    alice.expect("typed by bob")
    joined = fleet.cluster.await_event("session.join", sid=session)
    assert (joined["user"], joined["mode"], joined["owner"]) == ("bob", "peer", "alice")
    alice.close(force=True)  # her line is cut; he goes on
    bob.expect("Skerry: alice left")
    bob.sendline("alone")
    bob.expect("alone")
    assert fleet.cluster.await_event("session.leave", sid=session)["user"] == "alice"
    bob.sendeof()
    bob.expect(pexpect.EOF)
    bob.close()
    assert bob.exitstatus == 0
    assert fleet.cluster.await_event("session.end", sid=session)["participants"] == ["alice", "bob"]
    uploaded = fleet.cluster.await_event("session.upload", sid=session, state="complete")
    assert uploaded["participants"] == ["alice", "bob"]


def test_a_moderator_ends_a_session_and_a_session_that_is_over_cannot_be_joined(fleet: Fleet) -> None:
    alice = fleet.begin()
    session = fleet.session
    bob = fleet.join(session, "moderator")
    bob.expect("bob joined as moderator")
    bob.send("t")
    alice.expect("this session was ended by moderator bob")
    alice.expect(pexpect.EOF)
    bob.expect(pexpect.EOF)
    assert fleet.cluster.await_event("session.end", sid=session)["reason"] == "ended by moderator bob"
    refused = subprocess.run(
        ["ssh", *fleet.ssh(session, "peer")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean_environment(),
        timeout=TIMEOUT,
        check=False,
    )
    assert (refused.returncode, NO_SUCH_SESSION in refused.stdout.decode()) == (255, True)
    assert fleet.cluster.await_event("session.join", code="SK038W")["check"] == "Z1"


def test_a_lock_puts_out_who_joined_and_nobody_else(fleet: Fleet) -> None:
    alice = fleet.begin()
    bob = fleet.join(fleet.session, "observer")
    bob.expect("bob joined as observer")
    fleet.cluster.tctl("lock", "--user=bob", "--message=lost laptop")
    bob.expect("lost laptop")
    bob.expect(pexpect.EOF)
    alice.expect("Skerry: bob left")
    alice.sendline("goes on")
    alice.expect("goes on")
    alice.close(force=True)
