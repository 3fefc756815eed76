"""The whole road, as a person goes it at a terminal: sign in, look around, work on a device."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.harness.person_keys import COMMENT, ssh_agent
from tests.harness.real_cluster import LOGIN, Person
from tests.harness.running_program import BIN
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system
TIMEOUT = 20
PROMPT = "ready> "


def at_terminal(person: Person, *arguments: str, size: tuple[int, int] = (24, 80)) -> pexpect.spawn:
    """Start `tsh` on a pseudo-terminal of `size` rows and columns."""
    return pexpect.spawn(
        str(BIN / "tsh"), list(arguments), env=person.environment, dimensions=size, timeout=TIMEOUT, encoding="utf-8"
    )


def finish(terminal: pexpect.spawn) -> int | None:
    """Wait for the end, and return the exit status."""
    terminal.expect(pexpect.EOF)
    terminal.wait()
    status: int | None = terminal.exitstatus
    return status


@pytest.fixture
def shell(harbour: Harbour) -> Iterator[pexpect.spawn]:
    """`tsh ssh edge-1` at a terminal of 31 rows and 97 columns, at a prompt that is easy to find."""
    terminal = at_terminal(harbour.alice, "ssh", f"{LOGIN}@edge-1", size=(31, 97))
    terminal.sendline("PS1='rea''dy> ' exec sh -i")
    terminal.expect_exact(PROMPT)
    yield terminal
    terminal.close(force=True)


def test_sign_in_at_a_terminal_asks_hides_the_password_and_ends_with_the_status(harbour: Harbour) -> None:
    cluster = harbour.cluster
    bob = cluster.add_user("bob", f"{LOGIN},pi")
    address = cluster.address("web")
    terminal = at_terminal(bob, "login", f"--proxy={address}", "--user=bob", f"--ca-pin={cluster.pin}")
    terminal.expect(r"^Enter password for Skerry user bob:\s")
    terminal.waitnoecho(TIMEOUT)
    terminal.sendline(bob.password)
    terminal.expect(r"Enter your OTP token:\s")
    hidden = terminal.before
    terminal.sendline(bob.next_code())
    assert finish(terminal) == 0
    assert bob.password not in hidden + terminal.before
    block = terminal.before[terminal.before.index("> Profile URL") :].replace("\r\n", "\n")
    assert re.fullmatch(
        rf"> Profile URL:        https://{re.escape(address)}\n"
        r"  Logged in as:       bob\n"
        r"  Cluster:            harbour\n"
        r"  Roles:              access\n"
        rf"  Logins:             {', '.join(sorted([LOGIN, 'pi']))}\n"
        r"  Valid until:        \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC \[valid for 12h0m0s\]\n"
        r"  Extensions:         permit-agent-forwarding, permit-port-forwarding, permit-pty\n",
        block,
    )
    assert cluster.tsh(bob, "status").stdout.decode() == block
    files = [path for path in (bob.home / ".tsh").rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert cluster.tsh(bob, "logout").returncode == 0
    assert cluster.tsh(bob, "ls").returncode != 0


def test_listing_shows_nodes_with_address_and_labels(harbour: Harbour) -> None:
    text = harbour.cluster.tsh(harbour.alice, "ls", "env=staging").stdout.decode()
    lines = text.splitlines()
    assert lines[0].split("  ")[0].startswith("Node Name Address")
    assert re.fullmatch(r"-+ -+ -+", lines[1])
    assert [line.rstrip() for line in lines[2:]] == [
        "edge-1    ⟵ Tunnel env=staging, site=harbour",
        "edge-2    ⟵ Tunnel env=staging, site=lighthouse",
    ]
    with_ids = harbour.cluster.tsh(harbour.alice, "ls", "-v", "site=harbour").stdout.decode()
    assert harbour.edge_1.node_id in with_ids
    assert "edge-2" not in with_ids


def test_shell_runs_what_is_typed_and_hands_back_its_exit_status(shell: pexpect.spawn) -> None:
    shell.sendline("id -un; tty; stty size")
    shell.expect_exact(f"{LOGIN}\r\n")
    shell.expect(r"/dev/pts/\d+\r\n31 97\r\n")
    shell.sendline("exit 9")
    assert finish(shell) == 9


def test_shell_learns_that_the_window_was_resized(shell: pexpect.spawn) -> None:
    shell.sendline("trap 'stty size; echo re''sized' WINCH; sleep 60 & echo lis''tening; wait; kill %1; trap - WINCH")
    shell.expect_exact("listening")
    shell.setwinsize(40, 120)
    shell.expect_exact("40 120\r\nresized")


def test_escape_ends_the_connection_and_gives_the_terminal_back(shell: pexpect.spawn) -> None:
    shell.send("\r~.")
    assert finish(shell) == 255
    assert "Connection to edge-1 closed." in shell.before


def test_exit_status_of_a_command_comes_back(harbour: Harbour) -> None:
    assert harbour.cluster.tsh(harbour.alice, "ssh", "edge-1", "exit 7").returncode == 7
    assert harbour.cluster.tsh(harbour.alice, "ssh", "edge-1", "true").returncode == 0


def test_streams_of_a_command_stay_apart(harbour: Harbour) -> None:
    done = harbour.cluster.tsh(harbour.alice, "ssh", f"{LOGIN}@edge-2", "cat; echo grumble >&2", typed=b"one\r\n\0two")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"one\r\n\0two", b"grumble\n")


def test_twenty_mebibytes_arrive_unchanged_in_both_directions(harbour: Harbour) -> None:
    data = os.urandom(20 * 1024 * 1024)
    digest = hashlib.sha256(data).hexdigest()
    up = harbour.cluster.tsh(harbour.alice, "ssh", "edge-1", "sha256sum", typed=data)
    assert up.stdout.split() == [digest.encode(), b"-"]
    back = harbour.cluster.tsh(harbour.alice, "ssh", "edge-1", "cat", typed=data)
    assert hashlib.sha256(back.stdout).hexdigest() == digest


def test_command_ended_by_a_signal_gives_128_and_its_number(harbour: Harbour) -> None:
    done = harbour.cluster.tsh(harbour.alice, "ssh", "edge-1", "kill -TERM $$")
    assert done.returncode == 128 + signal.SIGTERM


def test_interrupt_typed_at_a_terminal_reaches_the_program(shell: pexpect.spawn) -> None:
    shell.sendline("sh -c 'echo wai''ting; exec sleep 60'")
    shell.expect_exact("waiting")
    shell.sendintr()
    shell.expect_exact(PROMPT)
    shell.sendline("echo sta''tus $?")
    shell.expect_exact(f"status {128 + signal.SIGINT}")


def test_own_ssh_agent_may_be_used_on_the_node(harbour: Harbour, tmp_path: Path) -> None:
    with ssh_agent(tmp_path) as path:
        environment = harbour.alice.environment | {"SSH_AUTH_SOCK": path}
        command = [str(BIN / "tsh"), "ssh", "-A", "edge-1", "ssh-add -l"]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    assert COMMENT.encode() in done.stdout


def test_session_knows_who_and_where_it_is(harbour: Harbour) -> None:
    done = harbour.cluster.tsh(harbour.alice, "ssh", "edge-1", "edge-agent status; env")
    text = done.stdout.decode()
    told = re.match(
        r"User ID    : (\S+), logged in as (\S+) from (127\.0\.0\.1 \d+ \d+)\n"
        r"Session ID : ([0-9a-f-]{36})\n"
        r"Session URL: (\S+)\n",
        text,
    )
    assert told, f"{text}{done.stderr!r}"
    assert told.group(1, 2) == ("alice", LOGIN)
    assert told[5] == f"https://{harbour.cluster.address('web')}/web/sessions/{told[4]}"
    variables = dict(line.split("=", 1) for line in text.splitlines()[3:] if "=" in line)
    expected = {
        "SSH_SESSION_ID": told[4],
        "SSH_CLIENT": told[3],
        "SSH_SKERRY_USER": "alice",
        "SSH_SKERRY_NODE_NAME": "edge-1",
        "SSH_SKERRY_HOST_UUID": harbour.edge_1.node_id,
        "SSH_SKERRY_CLUSTER_NAME": "harbour",
        "USER": LOGIN,
        "LOGNAME": LOGIN,
        "HOME": str(harbour.cluster.device_home),
    }
    assert {name: variables.get(name) for name in expected} == expected
    assert "SKERRY_TOKEN" not in variables


def test_status_outside_a_session_says_that_it_is_none(harbour: Harbour) -> None:
    done = subprocess.run(
        [BIN / "edge-agent", "status"], env=harbour.alice.environment, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"ERROR: not inside a Skerry session")
