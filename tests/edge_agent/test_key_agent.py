"""The person's ssh-agent, lent to a session: OpenSSH's own ssh, ssh-agent and ssh-add at both ends."""

from __future__ import annotations

import shlex
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from protocol.certificates import PERMIT_AGENT_FORWARDING, CertificateOrder
from tests.harness.person_keys import COMMENT, ssh_agent
from tests.harness.road import OWN, Shell
from tests.harness.simulated_controller import Person, SimulatedController

pytestmark = pytest.mark.system
Environment = dict[str, str]


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Environment]:
    """What a program must have in its environment to use the person's keys."""
    with ssh_agent(tmp_path) as path:
        yield {"SSH_AUTH_SOCK": path}


def without_permission(order: CertificateOrder) -> CertificateOrder:
    kept = {name: value for name, value in order.extensions.items() if name != PERMIT_AGENT_FORWARDING}
    return replace(order, extensions=kept)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for what the file system alone shows: the channel is closed a moment after the client has left."""
    until = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_session_may_use_the_persons_keys(shell: Shell, person: Person, keys: Environment) -> None:
    listed = shell.run(person, "-A", "ssh-add -l; ssh-add -L | wc -l", more=keys)
    assert COMMENT.encode() in listed.stdout, listed.stderr
    assert listed.stdout.splitlines()[-1].strip() == b"1"


def test_many_programs_may_use_them_at_once(shell: Shell, person: Person, keys: Environment) -> None:
    command = "for i in 1 2 3 4 5 6 7 8; do ssh-add -l & done; wait"
    assert shell.run(person, "-A", command, more=keys).stdout.count(COMMENT.encode()) == 8


def test_the_socket_is_the_logins_alone_and_gone_with_the_session(
    shell: Shell, controller: SimulatedController, keys: Environment, other_login: str
) -> None:
    person = controller.person("alice", (other_login,))
    command = 'echo $SSH_AUTH_SOCK; id -u; stat -c "%u %a" $(dirname $SSH_AUTH_SOCK) $SSH_AUTH_SOCK; ssh-add -l'
    shown = shell.run(person, "-A", command, login=other_login, more=keys).stdout.decode().splitlines()
    path, uid = Path(shown[0]), shown[1]
    assert shown[2:4] == [f"{uid} 700", f"{uid} 600"]
    assert COMMENT in shown[4]
    wait_until(lambda: not path.parent.exists())


def test_a_link_that_the_login_puts_in_its_place_removes_nothing(
    shell: Shell, person: Person, keys: Environment, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "agent").touch()
    swap = 'd=$(dirname $SSH_AUTH_SOCK); echo $d; mv $d $d.moved && ln -s "$0" $d'
    shown = shell.run(person, "-A", f"sh -c {shlex.quote(swap)} {victim}", more=keys)
    directory = Path(shown.stdout.decode().strip())
    moved = directory.with_name(f"{directory.name}.moved")
    wait_until(lambda: list(moved.iterdir()) == [])
    assert (victim / "agent").exists()
    assert directory.is_symlink()
    directory.unlink()
    moved.rmdir()


def test_without_the_certificates_permission_there_is_none(
    shell: Shell, controller: SimulatedController, keys: Environment
) -> None:
    person = controller.person("alice", (OWN,), change=without_permission)
    done = shell.run(person, "-A", "echo on; echo $SSH_AUTH_SOCK", more=keys)
    assert done.stdout == b"on\n\n"


def test_unless_it_is_asked_for_there_is_none(shell: Shell, person: Person, keys: Environment) -> None:
    assert shell.run(person, "-a", "echo on; echo $SSH_AUTH_SOCK", more=keys).stdout == b"on\n\n"


def test_an_agent_that_is_gone_ends_the_program_that_asks_and_not_the_session(
    shell: Shell, person: Person, keys: Environment
) -> None:
    gone = {"SSH_AUTH_SOCK": keys["SSH_AUTH_SOCK"] + "-gone"}
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(gone["SSH_AUTH_SOCK"])
    assert stat.S_ISSOCK(Path(gone["SSH_AUTH_SOCK"]).stat().st_mode)
    done = shell.run(person, "-A", "ssh-add -l; echo on", more=gone)
    assert done.stdout.endswith(b"on\n")
    assert COMMENT.encode() not in done.stdout
