"""The whole road of a recording, as people go it: work, look it up, play it, check it, take it along."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pexpect
import pytest

from protocol import limits
from tests.harness.real_cluster import LOGIN, Agent, Person, RealCluster
from tests.harness.recordings import Archive, await_empty
from tests.harness.running_program import BIN, PATIENCE, clean_environment
from tests.harness.stalls import Stalls
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system
PROMPT = b"ready> "
_COUNT = """
import itertools, os, time
print("session", os.environ["SSH_SESSION_ID"], flush=True)
for number in itertools.count():
    print("line", number, flush=True)
    time.sleep(0.005)
"""


@pytest.fixture
def archive(harbour: Harbour) -> Archive:
    return Archive(harbour.cluster)


def work_at_terminal(person: Person) -> tuple[str, bytes]:
    """Work on a device as people do; return the session, and all that was on the screen."""
    seen = BytesIO()
    remote = "PS1='ready> ' exec sh -i"
    command = ["ssh", "-t", f"{LOGIN}@edge-1", remote]
    terminal = pexpect.spawn(str(BIN / "tsh"), command, env=person.environment, dimensions=(30, 90), timeout=PATIENCE)
    terminal.logfile_read = seen
    terminal.expect_exact(PROMPT)
    for typed in (
        "echo id:$SSH_SESSION_ID:",
        r"printf '\033[1;31mred\033[0m and \303\244\342\202\254\360\237\230\200\n'",
        "ls -l /etc | head -n 40",
        r"printf '\033[2J\033[Htop left\033[10;20Hmiddle\n'; cat -v /dev/null",
    ):
        terminal.sendline(typed)
        terminal.expect_exact(PROMPT)
    terminal.setwinsize(40, 120)
    terminal.sendline("until test \"$(stty size)\" = '40 120'; do sleep 0.05; done; head -c 3000 /dev/urandom | base64")
    terminal.expect_exact(PROMPT)
    terminal.sendline("exit 3")
    assert finish(terminal) == 3
    told = re.search(rb"id:([0-9a-f-]{36}):", seen.getvalue())
    assert told
    return told[1].decode(), seen.getvalue()


def shown_by_asciinema(cast: Path) -> bytes:
    """Return what `asciinema cat` writes to a terminal, which must not make anything else of it."""
    shown = BytesIO()
    environment = clean_environment(HOME=str(cast.parent), CAST=str(cast))
    terminal = pexpect.spawn("sh", ["-c", 'stty -opost; exec asciinema cat "$CAST"'], env=environment, timeout=PATIENCE)
    terminal.logfile_read = shown
    assert finish(terminal) == 0, shown.getvalue()
    return shown.getvalue()


def finish(terminal: pexpect.spawn) -> int | None:
    """Wait for the end, and return the exit status."""
    terminal.expect(pexpect.EOF)
    terminal.wait()
    status: int | None = terminal.exitstatus
    return status


def test_what_people_are_shown_of_a_session_is_what_was_on_the_screen(
    harbour: Harbour, archive: Archive, tmp_path: Path
) -> None:
    cluster, alice = harbour.cluster, harbour.alice
    session, screen = work_at_terminal(alice)
    archive.await_state(session, "complete")

    listed = cluster.tsh(alice, "recordings", "ls").stdout.decode().splitlines()
    assert re.fullmatch(r"ID +Type +Participants +Hostname +Timestamp", listed[0].rstrip())
    line = next(line for line in listed if line.startswith(session))
    assert re.search(r"\s+ssh\s+alice\s+edge-1\s+[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d UTC", line)
    entries = json.loads(cluster.tsh(alice, "recordings", "ls", "--last", "1h", "--format", "json").stdout)
    assert next(entry for entry in entries if entry["session"] == session)["state"] == "complete"

    played = cluster.tsh(alice, "play", session, "--format", "text")
    assert (played.returncode, played.stdout) == (0, screen), played.stderr
    told = [json.loads(line) for line in cluster.tsh(alice, "play", session, "--format", "json").stdout.splitlines()]
    assert told

    assert cluster.tctl("recordings", "verify", session).stdout.startswith("intact: ")
    text, cast = tmp_path / "session.txt", tmp_path / "session.cast"
    cluster.tctl("recordings", "export", session, "--format", "text", "-o", str(text))
    assert text.read_bytes() == screen
    cluster.tctl("recordings", "export", session, "--format", "cast", "-o", str(cast))
    lines = [json.loads(line) for line in cast.read_text(encoding="utf-8").splitlines()]
    assert (lines[0]["version"], lines[0]["width"], lines[0]["height"]) == (2, 90, 30)
    assert "".join(data for _, code, data in lines[1:] if code == "o").encode() == screen
    assert [data for _, code, data in lines[1:] if code == "r"] == ["120x40"]
    assert shown_by_asciinema(cast) == screen

    kinds = {event["event"] for event in cluster.events() if event.get("sid") == session}
    assert {"session.start", "session.end", "session.upload", "session.recording.access"} <= kinds


def test_recording_of_a_command_keeps_its_streams_and_its_end(harbour: Harbour, archive: Archive) -> None:
    command = "echo $SSH_SESSION_ID; echo grumble >&2; exit 4"
    done = harbour.cluster.tsh(harbour.alice, "ssh", f"{LOGIN}@edge-2", command)
    session = done.stdout.decode().strip()
    entry = archive.await_state(session, "complete")
    assert (entry.participants, entry.login, entry.command) == (("alice",), LOGIN, command)
    assert (entry.interactive, entry.hostname) == (False, "edge-2")
    contents = archive.contents(session)
    assert contents.output("o") == done.stdout.decode()
    assert contents.output("e") == done.stderr.decode() == "grumble\n"
    assert [event.data for event in contents.events if event.code == "x"] == ["4"]
    assert [event.data for event in contents.events if event.code == "j"] == ["alice"]
    assert contents.seals[-1].reason == "final"


def test_what_is_typed_is_not_recorded(harbour: Harbour, archive: Archive) -> None:
    secret = b"insecure word that nobody prints"
    remote = "echo $SSH_SESSION_ID; cat | wc -c"
    done = harbour.cluster.tsh(harbour.alice, "ssh", f"{LOGIN}@edge-1", remote, typed=secret)
    session = done.stdout.decode().splitlines()[0]
    archive.await_state(session, "complete")
    contents = archive.contents(session)
    assert not [event for event in contents.events if event.code == "i"]
    assert secret.decode() not in b"".join(contents.pieces).decode()


def test_others_do_not_see_a_recording(harbour: Harbour, archive: Archive) -> None:
    cluster = harbour.cluster
    session = cluster.tsh(harbour.alice, "ssh", f"{LOGIN}@edge-1", "echo $SSH_SESSION_ID").stdout.decode().strip()
    archive.await_state(session, "complete")
    quentin = cluster.add_user("quentin")
    cluster.sign_in(quentin)
    assert session not in cluster.tsh(quentin, "recordings", "ls").stdout.decode()
    refused = cluster.tsh(quentin, "play", session, "--format", "text")
    assert (refused.returncode != 0, refused.stdout) == (True, b"")
    assert b"not found" in refused.stderr


# --- controller and agent killed ------------------------------------------------------------------------------------


def count_until_both_are_killed(cluster: RealCluster, alice: Person, agent: Agent) -> tuple[str, float, list[float]]:
    """Return the session, when the kill was, and when each line had arrived."""
    program = cluster.folder / "count.py"
    program.write_text(_COUNT, encoding="utf-8")
    command = [str(BIN / "tsh"), "ssh", "-t", f"{LOGIN}@edge-1", f"exec {sys.executable} '{program}'"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=alice.environment, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet) as process:
        assert process.stdout
        session = process.stdout.readline().decode().removeprefix("session ").strip()
        arrived: list[float] = []
        begun = time.monotonic()
        for line in process.stdout:
            assert line.rstrip() == f"line {len(arrived)}".encode()
            arrived.append(time.monotonic())
            if arrived[-1] - begun > 5:
                break
        killed = time.monotonic()
        cluster.controller.kill()
        agent.program.kill()
        process.kill()
    return session, killed, arrived


def test_session_cut_by_killing_controller_and_agent_shows_up_by_itself_once_they_are_back(
    cluster: RealCluster, alice: Person, archive_of_fresh: Archive
) -> None:
    cluster.keep_ports()
    agent = cluster.start_agent("edge-1")
    with Stalls() as stalls:
        session, killed, arrived = count_until_both_are_killed(cluster, alice, agent)
    cluster.controller.await_silence()
    cluster.start()
    cluster.restart_agent(agent)
    archive_of_fresh.await_state(session, "interrupted")
    listed = cluster.tsh(alice, "recordings", "ls", "--format", "json")
    assert [(one["session"], one["state"]) for one in json.loads(listed.stdout)] == [(session, "interrupted")]
    played = cluster.tsh(alice, "play", session, "--format", "text")
    assert played.returncode == 0, played.stderr
    assert b"interrupted" in played.stderr
    lines = played.stdout.decode().split("\r\n")[1:-1]
    assert lines == [f"line {number}" for number in range(len(lines))]
    allowed = limits.RECORDING_LOSS_MAX.total_seconds() + stalls.worst(killed - 4, killed)
    assert len(lines) >= sum(at <= killed - allowed for at in arrived)
    told = cluster.tctl("recordings", "ls", "--format", "json").stdout
    assert session in told
    await_empty(agent)


@pytest.fixture
def archive_of_fresh(cluster: RealCluster) -> Archive:
    return Archive(cluster)
