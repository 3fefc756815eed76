"""Two people at two terminals in one session: `tsh ssh`, `tsh sessions ls`, `tsh join`, `tsh play`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pexpect
import pytest

from tests.harness.real_cluster import LOGIN, Person, RealCluster
from tests.harness.recordings import Archive
from tests.harness.running_program import BIN, PATIENCE
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system
PROMPT = "ready> "
SHELL = f"PS1='{PROMPT}' exec sh -i"
_POLL = 0.05
Spawn = Callable[..., pexpect.spawn]


@pytest.fixture(scope="module")
def bob(harbour: Harbour) -> Person:
    person = harbour.cluster.add_user("bob-who-joins")
    harbour.cluster.sign_in(person)
    return person


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Run `tsh` on a terminal of so many rows and columns."""
    begun: list[pexpect.spawn] = []

    def begin(person: Person, *arguments: str, size: tuple[int, int] = (24, 80)) -> pexpect.spawn:
        command = str(BIN / "tsh")
        terminal = pexpect.spawn(
            command, list(arguments), env=person.environment, dimensions=size, timeout=PATIENCE, echo=True
        )
        begun.append(terminal)
        return terminal

    yield begin
    for terminal in begun:
        terminal.close(force=True)


@dataclass
class Begun:
    """A session of alice's with a prompt."""

    terminal: pexpect.spawn
    session: str

    def run(self, line: str) -> None:
        self.terminal.send(line + "\r")


@pytest.fixture
def begun(harbour: Harbour, spawn: Spawn) -> Begun:
    terminal = spawn(harbour.alice, "ssh", "-t", f"{LOGIN}@edge-1", SHELL)
    terminal.expect_exact(PROMPT)
    terminal.send("echo id=$SSH_SESSION_ID.\r")
    terminal.expect(r"id=([0-9a-f-]{36})\.")
    session = terminal.match[1].decode()
    terminal.expect_exact(PROMPT)
    return Begun(terminal, session)


def live_sessions(cluster: RealCluster, person: Person) -> dict[str, dict[str, Any]]:
    done = cluster.tsh(person, "sessions", "ls", "--format=json")
    assert done.returncode == 0, done.stderr
    return {entry["session"]: entry for entry in json.loads(done.stdout)}


def await_listed(
    cluster: RealCluster, person: Person, session: str, *, modes: tuple[str, ...] = ("peer",)
) -> dict[str, Any]:
    """Wait until a session is listed with parties of these modes: nothing tells of it but the list itself."""
    deadline = time.monotonic() + PATIENCE
    while True:
        entry = live_sessions(cluster, person).get(session)
        if entry and tuple(party["mode"] for party in entry["parties"]) == modes:
            return entry
        assert time.monotonic() < deadline, entry
        time.sleep(_POLL)


def await_unlisted(cluster: RealCluster, person: Person, session: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while session in live_sessions(cluster, person):
        assert time.monotonic() < deadline
        time.sleep(_POLL)


def finish(terminal: pexpect.spawn) -> int | None:
    terminal.expect(pexpect.EOF)
    terminal.wait()
    status: int | None = terminal.exitstatus
    return status


def test_a_peer_is_found_in_the_list_joins_types_and_leaves(
    harbour: Harbour, bob: Person, begun: Begun, spawn: Spawn
) -> None:
    entry = await_listed(harbour.cluster, bob, begun.session)
    assert (entry["name"], entry["login"], entry["may_join"]) == ("edge-1", LOGIN, True)
    peer = spawn(bob, "join", "--mode=peer", begun.session[:13], size=(20, 60))
    peer.expect_exact(f"Skerry > Joining {begun.session} on edge-1 ({LOGIN}) as peer")
    begun.terminal.expect_exact(f"Skerry: {bob.name} joined as peer (2 here)")
    peer.expect_exact(f"Skerry: {bob.name} joined as peer (2 here)")
    peer.send("echo from-b''ob; stty size\r")
    for terminal in (begun.terminal, peer):
        terminal.expect_exact("from-bob")
        terminal.expect_exact("20 60")
    await_listed(harbour.cluster, bob, begun.session, modes=("peer", "peer"))
    peer.send("~.")
    peer.expect_exact("You left; the session goes on")
    assert finish(peer) == 0
    begun.terminal.expect_exact(f"Skerry: {bob.name} left")
    begun.run("stty size; exit 7")
    begun.terminal.expect_exact("24 80")
    assert finish(begun.terminal) == 7


def test_an_observer_sees_and_types_nothing(harbour: Harbour, bob: Person, begun: Begun, spawn: Spawn) -> None:
    begun.run("echo shown-be''fore")
    begun.terminal.expect_exact("shown-before")
    await_listed(harbour.cluster, bob, begun.session)
    observer = spawn(bob, "join", begun.session)
    observer.expect_exact("shown-before")
    observer.expect_exact("joined as observer (2 here); CTRL-C leaves")
    observer.send("echo in''trusion\r")
    observer.setwinsize(19, 70)
    begun.run("while [ \"$(stty size)\" != '19 70' ]; do :; done; echo shown-af''ter")
    observer.expect_exact("shown-after")
    assert b"trusion" not in observer.before
    observer.sendintr()
    assert finish(observer) == 0
    begun.terminal.expect_exact(f"Skerry: {bob.name} left")
    begun.run("exit 3")
    assert finish(begun.terminal) == 3


def test_a_moderator_ends_it_and_what_was_recorded_tells_of_all(
    harbour: Harbour, bob: Person, begun: Begun, spawn: Spawn
) -> None:
    cluster = harbour.cluster
    await_listed(cluster, bob, begun.session)
    moderator = spawn(bob, "join", "--mode=moderator", begun.session)
    moderator.expect_exact("CTRL-C leaves, t ends it for all")
    moderator.send("t")
    moderator.expect_exact(f"ended by moderator {bob.name}")
    begun.terminal.expect_exact(f"ended by moderator {bob.name}")
    assert finish(begun.terminal) == finish(moderator) != 0
    Archive(cluster).await_state(begun.session, "complete")
    text = cluster.tsh(bob, "play", "--format=text", begun.session).stdout.decode()
    assert f"Skerry: {bob.name} joined as moderator (2 here)" in text
    told = cluster.tsh(bob, "play", "--format=json", begun.session).stdout.decode().splitlines()
    joined = [event["data"] for event in map(json.loads, told) if event["event"] == "join"]
    assert joined == ["alice", bob.name]
    await_unlisted(cluster, bob, begun.session)
    again = cluster.tsh(bob, "join", begun.session)
    assert again.returncode == 255
    assert again.stderr.decode() == (
        f"ERROR: session {begun.session} on edge-1 is over; its recording is: tsh play {begun.session}\n"
    )


def test_a_full_screen_program_is_put_right_where_the_size_changes_and_where_it_is_ended(
    harbour: Harbour, bob: Person, begun: Begun, spawn: Spawn
) -> None:
    await_listed(harbour.cluster, bob, begun.session)
    moderator = spawn(bob, "join", "--mode=moderator", begun.session, size=(20, 60))
    moderator.expect_exact("CTRL-C leaves, t ends it for all")
    begun.run("printf '\\033[?1049h\\033[1;20reditor'; exec cat")
    for terminal in (begun.terminal, moderator):
        terminal.expect_exact("\x1b[?1049h\x1b[1;20reditor")
    moderator.setwinsize(22, 60)
    for terminal in (begun.terminal, moderator):
        terminal.expect_exact("\x1b7\x1b[r\x1b8")
    moderator.send("t")
    for terminal in (begun.terminal, moderator):
        terminal.expect_exact("\x1b[?1049l")
        terminal.expect_exact("ended by moderator")
        assert finish(terminal) != 0


def test_the_node_says_no_more_than_it_must_and_tsh_what_to_do(harbour: Harbour, bob: Person, begun: Begun) -> None:
    unknown = begun.session[:-4] + ("0000" if begun.session[-4:] != "0000" else "1111")
    done = harbour.cluster.tsh(bob, "join", f"--node={LOGIN}@edge-1", unknown)
    assert done.returncode == 255
    assert b"there is no such session here that you could join" in done.stdout + done.stderr
    assert f"tsh play {unknown}".encode() in done.stderr


def test_a_session_without_a_terminal_is_listed_and_not_joined(harbour: Harbour, bob: Person, spawn: Spawn) -> None:
    command = spawn(harbour.alice, "ssh", "-T", f"{LOGIN}@edge-1", "echo id=$SSH_SESSION_ID.; exec cat")
    command.expect(r"id=([0-9a-f-]{36})\.")
    session = command.match[1].decode()
    entry = await_listed(harbour.cluster, bob, session)
    assert (entry["size"], entry["may_join"]) == (None, False)
    done = harbour.cluster.tsh(bob, "join", session)
    assert done.returncode == 255
    assert b"it has no terminal, and there is nothing to join" in done.stderr


@pytest.mark.usefixtures("begun")
def test_who_opens_a_shell_is_told_who_is_there(bob: Person, spawn: Spawn) -> None:
    shell = spawn(bob, "ssh", f"{LOGIN}@edge-1")
    shell.expect(r"Skerry: alice is on this device too \(\S+, for [^)]+\); tsh sessions ls")
    shell.send("exit\r")
    shell.expect(pexpect.EOF)
    assert not re.search(rb"on this device too", shell.before)


def test_second_factors_are_added_listed_and_removed_and_the_last_one_stays(harbour: Harbour) -> None:
    cluster = harbour.cluster
    carol = cluster.add_user("carol-with-two-apps")
    cluster.sign_in(carol)
    (first,) = json.loads(cluster.tsh(carol, "mfa", "ls", "--format=json").stdout)
    refused = cluster.tsh(carol, "mfa", "rm", first["name"], typed=b"000000\n")
    assert refused.returncode == 1
    assert b"is your last second factor" in refused.stderr

    adding = pexpect.spawn(
        str(BIN / "tsh"), ["mfa", "add", "--name=tablet"], env=carol.environment, timeout=PATIENCE, encoding="utf-8"
    )
    adding.expect(r"Secret: ([A-Z2-7]+)\r\n")
    tablet = Person(carol.name, carol.home, secret=adding.match[1])
    adding.expect_exact("OTP code generated by the app:")
    adding.sendline(tablet.next_code())
    adding.expect_exact("OTP code of an app that you had before:")
    adding.sendline(carol.next_code())
    adding.expect_exact('MFA device "tablet" added.')
    adding.expect(pexpect.EOF)
    adding.close()
    assert adding.exitstatus == 0

    listed = json.loads(cluster.tsh(carol, "mfa", "ls", "--format=json").stdout)
    assert [factor["name"] for factor in listed] == [first["name"], "tablet"]
    done = cluster.tsh(carol, "mfa", "rm", first["name"], typed=tablet.next_code().encode() + b"\n")
    assert (done.returncode, done.stdout.decode()) == (0, f'MFA device "{first["name"]}" removed.\n')
    assert cluster.tsh(carol, "logout").returncode == 0
    cluster.sign_in(tablet)
