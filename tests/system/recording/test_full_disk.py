"""A device whose disk is full: it does as the cluster says, lives on, and goes on by itself when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.real_cluster import LOGIN, Agent, Person, RealCluster
from tests.harness.recordings import Archive
from tests.harness.running_program import BIN, PATIENCE

pytestmark = pytest.mark.system
DISK = 4 * 1024 * 1024
# Prints a line whenever it reads one, so that it goes on for as long as it is fed, and no longer.
_ECHO = 'echo "session $SSH_SESSION_ID"; while read -r line; do echo "heard $line"; done; echo over'


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    options = f"size={DISK},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "skerry-test", path], check=True, timeout=20)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True, timeout=20)


def fill(disk: Path) -> Path:
    """Leave nothing of a disk, and return the file that takes the room."""
    path = disk / "something large"
    with path.open("wb", buffering=0) as file:
        block = 64 * 1024
        while block:
            try:
                file.write(bytes(block))
            except OSError:
                block //= 2
    assert os.statvfs(disk).f_bavail == 0
    return path


@dataclass
class Device:
    """A device on a small disk, in a cluster with a rule of its own for what cannot be recorded."""

    cluster: RealCluster
    alice: Person
    agent: Agent
    disk: Path

    @contextmanager
    def talk(self) -> Iterator[Talk]:
        """Begin a session, and end it."""
        talk = Talk(self)
        try:
            yield talk
        finally:
            talk.close()

    def run(self, command: str) -> subprocess.CompletedProcess[bytes]:
        return self.cluster.tsh(self.alice, "ssh", f"{LOGIN}@kiosk", command)


class Talk:
    """A session that answers every line."""

    def __init__(self, device: Device) -> None:
        self._process = subprocess.Popen(
            [str(BIN / "tsh"), "ssh", f"{LOGIN}@kiosk", _ECHO],
            env=device.alice.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout
        self.session = self._process.stdout.readline().decode().removeprefix("session ").strip()

    def say(self, line: str) -> bool:
        """Say something and hear the answer; tell whether there was one."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return self._process.stdout.readline() == f"heard {line}\n".encode()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=PATIENCE)

    def finish(self) -> tuple[int, str, str]:
        """Say that there is no more; return status, the rest of the output, and what `tsh` had to say."""
        out, err = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, out.decode(), err.decode()


@pytest.fixture
def on_small_disk(make_cluster: Callable[..., RealCluster], disk: Path) -> Callable[[str], Device]:
    """Makes a device on a small disk, in a cluster where recording is ``strict`` or ``best_effort``."""

    def make(mode: str) -> Device:
        cluster = make_cluster(
            {"auth_service": {"cluster_name": "harbour", "listen_addr": "127.0.0.1:0", "record_session": mode}}
        )
        cluster.start()
        alice = cluster.add_user("alice")
        cluster.sign_in(alice)
        agent = cluster.start_agent("kiosk", folder=str(disk / "data"), settings={"recording": {"min_free": "256KiB"}})
        return Device(cluster, alice, agent, disk)

    return make


def test_strict_ends_the_session_with_a_word_and_refuses_more_until_there_is_room(
    on_small_disk: Callable[[str], Device],
) -> None:
    device = on_small_disk("strict")
    archive = Archive(device.cluster)
    with device.talk() as talk:
        assert talk.say("before")
        archive.await_output(talk.session, "heard before\n")
        large = fill(device.disk)
        number = 0
        while talk.say(f"after {number}"):
            number += 1
        status, _, err = talk.finish()
    assert status != 0
    assert "cannot be recorded" in err, err
    refused = device.run("echo not to be")
    assert refused.returncode != 0
    assert refused.stdout == b""
    assert b"cannot be recorded" in refused.stderr
    large.unlink()
    check_recovery(device, archive)
    archive.await_state(talk.session, "complete", "stopped")
    assert "heard before\n" in archive.contents(talk.session).output()


def test_best_effort_goes_on_and_says_so_in_the_audit_log(on_small_disk: Callable[[str], Device]) -> None:
    device = on_small_disk("best_effort")
    archive = Archive(device.cluster)
    with device.talk() as talk:
        assert talk.say("before")
        archive.await_output(talk.session, "heard before\n")
        large = fill(device.disk)
        unrecorded = device.run("echo new and unrecorded")
        assert (unrecorded.returncode, unrecorded.stdout) == (0, b"new and unrecorded\n"), unrecorded.stderr
        number = 0
        while not any(event.get("sid") == talk.session for event in device.cluster.events("recording.gap")):
            assert talk.say(f"{number} {'x' * 500}"), "the session ended, though the rule is best_effort"
            number += 1
        assert talk.say("still here")
        large.unlink()
        assert talk.say("and again")
        check_recovery(device, archive)
        status, out, _ = talk.finish()
    assert (status, out) == (0, "over\n")
    gaps = device.cluster.events("recording.gap")
    # Told at once; and where more was lost before it was recorded again, once more with that.
    assert sum(gap.get("sid") == talk.session for gap in gaps) in {1, 2}
    assert {(gap["user"], gap["server_id"]) for gap in gaps} == {("alice", device.agent.node_id)}
    archive.await_state(talk.session, "complete", "stopped")
    assert "heard before\n" in archive.contents(talk.session).output()


def check_recovery(device: Device, archive: Archive) -> None:
    """See that with room on the disk, everything is as it was, and the agent is still the same."""
    done = device.run("echo room again")
    assert (done.returncode, done.stdout) == (0, b"room again\n"), done.stderr
    assert device.agent.program.is_running
    last = device.cluster.await_event("exec", command="echo room again")
    archive.await_state(str(last["sid"]), "complete")
    assert archive.contents(str(last["sid"])).output() == "room again\n"
