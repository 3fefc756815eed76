"""A real agent in a sandbox like its unit's: what it may not, and what the programs may that it runs for people."""

from __future__ import annotations

import gc
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.threshold import Belongings, Person, Threshold, ThresholdError, take_more
from tests.harness.road import OWN, ROOT, Agent, Shell, join_arguments
from tests.harness.running_program import children_of
from tests.harness.simulated_controller import SimulatedController

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a sandbox to leave")
# A process 1 of its own, and beside it a mount and an IPC namespace in which `$0` is read-only.
_SANDBOX = (
    "unshare --mount --ipc --propagation slave sh -euc '"
    'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; MORE\n exec "$@"'
    '\' "$0" "$@"; exit $?'
)
_ASK = "readlink /proc/self/ns/mnt /proc/1/ns/mnt /proc/self/ns/ipc /proc/1/ns/ipc"
WHO = Person(os.geteuid(), os.getegid(), ())


def sandbox(protected: Path, more: str = ":") -> list[str]:
    script = _SANDBOX.replace("MORE", more)
    return ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, str(protected)]


@contextmanager
def confined(controller: SimulatedController, data: Path, within: list[str]) -> Iterator[tuple[Agent, int, Shell]]:
    """Yield an agent that runs `within`, its pid, and a way to it."""
    agent = Agent(controller, *join_arguments(controller, "n1", data), within=within)
    try:
        node_id = controller.wait_for_node("n1")
        (first,) = children_of(agent.process.pid)
        (pid,) = children_of(first)
        yield agent, pid, Shell(controller, controller.door_to(node_id), node_id)
        os.kill(pid, signal.SIGTERM)
        assert agent.wait(60) == 0
    finally:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.wait()


def in_namespace(pid: int, *command: str) -> subprocess.CompletedProcess[str]:
    enter = ["nsenter", f"--target={pid}", "--mount"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def protected(tmp_path: Path) -> Path:
    place = tmp_path / "usr"
    place.mkdir()
    return place


def test_a_session_of_roots_may_write_what_the_agent_may_not(
    own_controller: SimulatedController, tmp_path: Path, protected: Path
) -> None:
    alice = own_controller.person("alice", ("root", OWN))
    with confined(own_controller, tmp_path / "data", sandbox(protected)) as (_, pid, shell):
        assert "Read-only file system" in in_namespace(pid, "touch", str(protected / "by-agent")).stderr
        done = shell.run(alice, f"echo x >{protected}/by-root && {_ASK}", login="root")
        assert done.returncode == 0, done.stderr
        mount, mount_of_1, ipc, ipc_of_1 = done.stdout.decode().splitlines()
        assert (mount, ipc) == (mount_of_1, ipc_of_1)
        assert mount != in_namespace(pid, "readlink", "/proc/self/ns/mnt").stdout.strip()
        assert (protected / "by-root").read_text() == "x\n"
        for options in ((), ("-tt",)):
            # Whose process 1 is is not for them to see; whose name space they are in is.
            told = shell.run(alice, *options, "readlink /proc/self/ns/mnt /proc/self/ns/ipc; id -un").stdout.decode()
            assert told.split() == [mount, ipc, OWN]


def test_a_person_has_a_home_that_the_agent_may_only_look_at(
    own_controller: SimulatedController, tmp_path: Path, protected: Path
) -> None:
    within = sandbox(protected, "mount --bind /home /home; mount -o remount,bind,ro /home")
    with confined(own_controller, tmp_path / "data", within) as (_, pid, shell):
        home = pwd.getpwnam(OWN).pw_dir
        assert "Read-only file system" in in_namespace(pid, "touch", f"{home}/by-agent").stderr
        told = shell.run(own_controller.person("alice", (OWN,)), "pwd; touch ~/mine; ls ~")
        assert told.stdout.decode().split() == [home, "mine"]


def test_no_session_begins_where_the_way_out_is_not_to_be_found(
    own_controller: SimulatedController, tmp_path: Path, protected: Path
) -> None:
    within = sandbox(protected, "mount -t tmpfs none /proc/1/ns")
    with confined(own_controller, tmp_path / "data", within) as (agent, _, shell):
        done = shell.run(own_controller.person("alice", ("root",)), f"touch {protected}/ran", login="root")
        assert (done.returncode, done.stdout) == (255, b"")
        problem = "cannot find the way out of the agent's sandbox: No such file or directory"
        assert done.stderr.endswith(f": {problem}\n".encode())
        assert agent.wait_for_line("no session for alice").endswith(f"no session for alice: {problem}")
        assert own_controller.wait_for_event("T3002E").fields["exitError"]
        assert not list(protected.iterdir())


def run_over(threshold: Threshold, *command: str, person: Person = WHO, directory: str = "/") -> str:
    read, write = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(read, encoding="utf-8") as output:
        try:
            process = threshold.cross(
                command,
                command[0],
                person=person,
                directory=directory,
                environment={"PATH": "/usr/bin:/bin"},
                streams=(0, write, write),
                on_terminal=False,
            )
        finally:
            os.close(write)
        text = output.read()
    assert process.wait(30) == 0
    return text


def test_a_program_becomes_the_person_with_all_their_groups_and_no_others() -> None:
    told = run_over(Threshold(), "/bin/sh", "-c", "id -u; id -g; id -G; umask", person=Person(4711, 4712, (4713, 4714)))
    assert told.splitlines() == ["4711", "4712", "4712 4713 4714", "0022"]


def test_a_program_gets_back_what_the_agent_took_for_itself() -> None:
    told = run_over(Threshold(Belongings((64, 128), spared=False)), "/bin/sh", "-c", "ulimit -Sn; ulimit -Hn")
    assert told.splitlines() == ["64", "128"]


def test_what_the_agent_was_given_is_what_it_gives_on() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert take_more().files == before
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= before[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_step_that_fails_is_told_with_its_reason_and_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(ThresholdError) as caught:
        run_over(Threshold(), "/bin/sh", "-c", f"touch {tmp_path}/ran", directory=f"{tmp_path}/none")
    assert caught.value.strerror == f"cannot change to {tmp_path}/none: No such file or directory"
    assert not list(tmp_path.iterdir())


def test_a_program_that_is_not_there_is_told_as_ever() -> None:
    with pytest.raises(FileNotFoundError):
        run_over(Threshold(), "/no/such/program")


def test_nothing_stays_open_however_it_goes(tmp_path: Path) -> None:
    def descriptors() -> int:
        gc.collect()  # what earlier tests left open is closed now, and not while this one counts
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = descriptors()
    run_over(Threshold(), "/bin/true")
    for _ in range(3):
        with pytest.raises(ThresholdError):
            run_over(Threshold(), "/bin/true", directory=f"{tmp_path}/none")
    assert descriptors() == before


_SIGNALS = """
import subprocess
from edge_agent.accounts import Account
from edge_agent.child import signal_as
from edge_agent.threshold import Threshold

who = Account("nobody", 65534, 65534, (), "/", "/bin/sh")
group = subprocess.Popen(["sleep", "600"], user=who.uid, start_new_session=True)
print(signal_as(who, group.pid, "USR1", Threshold()).wait())
group.terminate()
print(group.wait())
"""


def test_what_signals_with_a_persons_rights_is_outside_the_sandbox(protected: Path) -> None:
    # Within, no shell works.
    within = sandbox(protected, "mount --bind /bin/false /bin/sh")
    done = subprocess.run(
        [*within, sys.executable, "-c", _SIGNALS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["0", str(-signal.SIGUSR1)]
