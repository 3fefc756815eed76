"""The agent's sessions, end to end: OpenSSH's client, through a tunnel, to a real agent process."""

from __future__ import annotations

import hashlib
import os
import pwd
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pexpect
import pytest

from protocol.names import parse_node_id, parse_session_id
from protocol.session_ids import is_minted_by
from tests.harness.road import OWN, ROOT, Shell
from tests.harness.simulated_controller import Person, SimulatedController

pytestmark = pytest.mark.system
TEN_MIB = 10 * 1024 * 1024


def test_output_and_errors_come_apart_and_the_exit_code_is_passed_on(shell: Shell, person: Person) -> None:
    result = shell.run(person, "echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.returncode) == (b"out\n", b"err\n", 3)


def test_a_signal_that_ended_the_program_is_told(shell: Shell, person: Person, controller: SimulatedController) -> None:
    result = shell.run(person, "kill -TERM $$")
    assert result.returncode == 255
    event = controller.wait_for_event("T2004I", exitSignal="TERM")
    assert "exitCode" not in event.fields


def test_ten_mebibytes_pass_unharmed_both_ways(shell: Shell, person: Person) -> None:
    data = os.urandom(TEN_MIB)
    result = shell.run(person, "cat", text=data)
    assert result.returncode == 0
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()


def test_the_end_of_input_is_passed_on(shell: Shell, person: Person) -> None:
    result = shell.run(person, "wc -c; echo done", text=b"12345")
    assert result.stdout == b"5\ndone\n"


def test_a_program_that_reads_no_input_may_end_all_the_same(shell: Shell, person: Person) -> None:
    result = shell.run(person, "exec true", text=b"x" * TEN_MIB)
    assert result.returncode == 0


def test_output_after_standard_input_has_ended_arrives(shell: Shell, person: Person) -> None:
    result = shell.run(person, "cat > /dev/null; head -c 300000 /dev/zero", text=b"x")
    assert result.stdout == bytes(300_000)


def test_a_command_line_that_is_no_utf_8_arrives_as_it_is(shell: Shell, person: Person) -> None:
    command = [argument.encode() for argument in shell.command(person)]
    result = subprocess.run(
        [*command, b"printf %s \xff\xfe | od -An -tx1"], capture_output=True, timeout=30, check=False
    )
    assert result.stdout.split() == [b"ff", b"fe"]


def test_the_environment_is_the_users_own_and_ours(
    shell: Shell, person: Person, controller: SimulatedController
) -> None:
    result = shell.run(person, "exec env")
    found = dict(line.split("=", 1) for line in result.stdout.decode().splitlines() if "=" in line)
    own = pwd.getpwnam(OWN)
    assert (found["HOME"], found["USER"], found["LOGNAME"]) == (own.pw_dir, own.pw_name, own.pw_name)
    assert found["SHELL"] == own.pw_shell
    assert (found["SSH_SKERRY_USER"], found["SSH_SKERRY_CLUSTER_NAME"]) == ("alice", "simulated")
    assert (found["SSH_SKERRY_HOST_UUID"], found["SSH_SKERRY_NODE_NAME"]) == (shell.node_id, "shared-node")
    assert found["SSH_SESSION_WEBPROXY_ADDR"] == controller.address
    address, port, here, own_port = found["SSH_CONNECTION"].split()
    assert (address, here, own_port) == ("127.0.0.1", "127.0.0.1", "3022")
    assert found["SSH_CLIENT"] == f"127.0.0.1 {port} 3022"
    event = controller.wait_for_event("T2000I", sid=found["SSH_SESSION_ID"])
    assert is_minted_by(parse_session_id(found["SSH_SESSION_ID"]), parse_node_id(shell.node_id))
    assert event.fields["addr.remote"] == f"127.0.0.1:{port}"


def test_of_the_clients_variables_only_the_harmless_are_taken(shell: Shell, person: Person) -> None:
    sent = {"LC_TIME": "de_DE.UTF-8", "COLORTERM": "truecolor", "LD_PRELOAD": "/tmp/x.so", "BASH_ENV": "/tmp/x"}
    options = [part for name in sent for part in ("-o", f"SendEnv={name}")]
    result = shell.run(person, *options, "exec env", more=sent)
    assert b"LC_TIME=de_DE.UTF-8\n" in result.stdout
    assert b"COLORTERM=truecolor\n" in result.stdout
    assert b"LD_PRELOAD" not in result.stdout
    assert b"BASH_ENV" not in result.stdout


def test_nothing_of_the_agents_own_is_open_in_the_program(shell: Shell, person: Person) -> None:
    result = shell.run(person, "exec ls /proc/self/fd")
    assert result.stdout.split() == [b"0", b"1", b"2", b"3"]  # the fourth is ls's own, on the directory


def test_the_program_leads_a_session_of_its_own_with_umask_022(shell: Shell, person: Person) -> None:
    result = shell.run(person, "umask; ps -o pid=,pgid=,sid= -p $$")
    umask, pid, pgid, sid = result.stdout.split()
    assert umask == b"0022"
    assert pid == pgid == sid


def test_a_terminal_has_the_size_type_and_owner_it_should(shell: Shell, person: Person) -> None:
    child = pexpect.spawn(
        shell.command(person)[0],
        [*shell.command(person)[1:], "-tt", "stty size; echo $TERM; tty; echo $SSH_TTY; stat -c '%U %a' $(tty)"],
        env=dict(os.environ) | {"TERM": "xterm-256color"},
        dimensions=(31, 117),
        timeout=15,
    )
    child.expect(pexpect.EOF)
    size, kind, tty, ssh_tty, owner = (line.strip() for line in child.before.decode().splitlines()[:5])
    child.close()
    assert (size, kind, owner) == ("31 117", "xterm-256color", f"{OWN} 620")
    assert tty == ssh_tty
    assert child.exitstatus == 0


def test_a_login_shell_knows_that_it_is_one_and_hears_of_resizing(shell: Shell, person: Person) -> None:
    command = shell.command(person)
    child = pexpect.spawn(command[0], command[1:], dimensions=(24, 80), timeout=15, encoding="utf-8")
    child.sendline("PS1='ready> '; echo argv0=$0")
    child.expect(r"argv0=-\w+")
    child.sendline("sh -c 'trap \"stty size; exit\" WINCH; echo trap-set-$((40+2)); while :; do sleep 0.05; done'")
    child.expect("trap-set-42")
    child.setwinsize(40, 100)
    child.expect("40 100")
    child.sendline("exit 9")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 9


def test_control_c_reaches_the_program_in_the_foreground(shell: Shell, person: Person) -> None:
    command = shell.command(person)
    # The program that is to be interrupted says so itself: while it is being started the key would be the shell's.
    script = "sh -c 'echo up; exec sleep 60'; echo code=$?"
    child = pexpect.spawn(command[0], [*command[1:], "-tt", script], timeout=15)
    child.expect("up")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert b"code=0" not in child.before


def test_all_that_was_printed_before_the_end_arrives_on_a_terminal(shell: Shell, person: Person) -> None:
    result = shell.run(person, "-tt", "seq 50000")
    lines = result.stdout.split()
    assert (len(lines), lines[-1]) == (50_000, b"50000")


def test_what_prints_on_in_the_background_does_not_hold_a_terminal_open(shell: Shell, person: Person) -> None:
    # Longer than the client is waited for.
    result = shell.run(person, "-tt", "(trap '' HUP; exec sleep 120) & echo gone $! end; exit 4")
    said = result.stdout.split()
    assert (result.returncode, said[0], said[2]) == (4, b"gone", b"end")
    with suppress(ProcessLookupError):
        os.kill(int(said[1]), signal.SIGKILL)


def test_closing_the_line_ends_the_program(shell: Shell, person: Person, controller: SimulatedController) -> None:
    client = subprocess.Popen(
        shell.command(person, "echo $$; exec sleep 300"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert client.stdout
    pid = int(client.stdout.readline())
    sid = controller.wait_for_event("T2000I", initial_command=["echo $$; exec sleep 300"]).fields["sid"]
    client.kill()
    client.communicate()
    event = controller.wait_for_event("T2004I", sid=sid)
    assert event.fields["exitSignal"] == "HUP"
    assert "connection" in str(event.fields["reason"])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_under_nohup_outlives_the_line(shell: Shell, person: Person, controller: SimulatedController) -> None:
    command = "echo $$; exec nohup sleep 301"
    client = subprocess.Popen(shell.command(person, command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert client.stdout
    pid = int(client.stdout.readline())
    sid = controller.wait_for_event("T2000I", initial_command=[command]).fields["sid"]
    _wait_until_it_is("sleep", pid)
    client.kill()
    client.communicate()
    controller.wait_for_event("T2004I", sid=sid)
    event = controller.wait_for_event("T3002E", sid=sid)
    assert event.fields["exitError"] == "left running"
    assert "exitCode" not in event.fields
    os.kill(pid, 0)
    os.kill(pid, 9)


def _wait_until_it_is(name: str, pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/comm").read_text().strip() != name:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_another_login_is_served_with_all_its_groups(
    shell: Shell, controller: SimulatedController, other_login: str
) -> None:
    them = controller.person("bob", (other_login,))
    result = shell.run(
        them, "id -un; id -G; echo $HOME; pwd; echo $PATH; exec cat /proc/self/status", login=other_login
    )
    entry = pwd.getpwnam(other_login)
    name, groups, home, here, path = result.stdout.decode().splitlines()[:5]
    assert name == other_login
    assert {int(group) for group in groups.split()} == set(os.getgrouplist(other_login, entry.pw_gid))
    assert home == here == entry.pw_dir
    assert path.startswith("/usr/local/bin:/usr/bin:/bin:/usr/games")
    assert f"Uid:\t{entry.pw_uid}\t{entry.pw_uid}\t{entry.pw_uid}\t{entry.pw_uid}" in result.stdout.decode()


def test_another_login_owns_its_terminal(shell: Shell, controller: SimulatedController, other_login: str) -> None:
    them = controller.person("bob", (other_login,))
    result = shell.run(them, "-tt", "stat -c '%U %a' $(tty)", login=other_login)
    assert result.stdout.split() == [other_login.encode(), b"620"]


def test_a_missing_home_is_said_and_the_session_starts_in_the_root(
    shell: Shell, controller: SimulatedController, homeless_login: str
) -> None:
    them = controller.person("bob", (homeless_login,))
    result = shell.run(them, "pwd", login=homeless_login)
    assert result.stdout == b"/\n"
    assert b"could not change to the home directory" in result.stderr


def test_a_login_the_device_has_not_is_told_plainly_and_audited(
    shell: Shell, person: Person, controller: SimulatedController
) -> None:
    result = shell.run(person, "true", login="ghost")
    assert result.returncode == 255
    assert b'this device has no user "ghost"' in result.stderr
    assert controller.wait_for_event("T3007W", login="ghost").fields["check"] == "L1"


def test_a_command_is_audited_with_its_outcome(shell: Shell, person: Person, controller: SimulatedController) -> None:
    shell.run(person, "true; exit 0")
    assert controller.wait_for_event("T3002I", command="true; exit 0").fields["exitCode"] == 0
    shell.run(person, "exit 17")
    event = controller.wait_for_event("T3002E", command="exit 17")
    assert (event.fields["exitCode"], event.fields["exitError"]) == (17, "exit status 17")
    assert event.fields["user"] == "alice"


def test_status_inside_a_session_says_who_and_where(
    shell: Shell, person: Person, controller: SimulatedController
) -> None:
    # Its environment is all that the command knows; the interpreter of the tests may not be theirs to run.
    inside = shell.run(person, "exec env").stdout.decode().splitlines()
    environment = dict(line.split("=", 1) for line in inside if "=" in line)
    command = [sys.executable, "-c", "from edge_agent.cli import main; main()", "status"]
    said = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = said.stdout.splitlines()
    assert lines[0].startswith(f"User ID    : alice, logged in as {OWN} from 127.0.0.1 ")
    session = lines[1].removeprefix("Session ID : ")
    assert lines[2] == f"Session URL: https://{controller.address}/web/sessions/{session}"
    controller.wait_for_event("T2004I", sid=session)


@pytest.mark.parametrize("tool", ["sftp", "scp", "scp -O"])
def test_files_are_copied(shell: Shell, person: Person, tmp_path: Path, tool: str) -> None:
    data = os.urandom(3_000_000)
    source, target, back = tmp_path / "source", Path(pwd.getpwnam(OWN).pw_dir, "copied"), tmp_path / "back"
    source.write_bytes(data)
    options = [*shell.options(person), "-P", str(shell.port)]
    if tool == "sftp":
        batch = f"put {source} {target}\nget {target} {back}\n".encode()
        subprocess.run(["sftp", *options, "-b", "-", f"{OWN}@127.0.0.1"], input=batch, check=True, timeout=30)
    else:
        for copy in ([str(source), f"{OWN}@127.0.0.1:{target}"], [f"{OWN}@127.0.0.1:{target}", str(back)]):
            subprocess.run([*tool.split(), *options, *copy], check=True, timeout=30)
    assert target.read_bytes() == data
    target.unlink()
    assert back.read_bytes() == data


def test_sftp_is_audited_as_a_subsystem(shell: Shell, person: Person, controller: SimulatedController) -> None:
    options = [*shell.options(person), "-P", str(shell.port)]
    subprocess.run(["sftp", *options, "-b", "-", f"{OWN}@127.0.0.1"], input=b"pwd\n", check=True, timeout=30)
    assert controller.wait_for_event("T3001I", name="sftp").fields["exitCode"] == 0


def test_a_subsystem_we_have_not_is_refused(shell: Shell, person: Person, controller: SimulatedController) -> None:
    result = shell.run(person, "-s", "netconf")
    assert result.returncode != 0
    controller.wait_for_event("T3001E", name="netconf")


def test_many_sessions_share_one_connection(shell: Shell, person: Person) -> None:
    socket = f"/tmp/skerry-test-{os.getpid()}"
    master = subprocess.Popen(
        shell.command(person, "-M", "-S", socket, "cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert master.stdin
    assert master.stdout
    master.stdin.write(b"up\n")
    master.stdin.flush()
    assert master.stdout.readline() == b"up\n"
    others = [
        subprocess.Popen(
            [*shell.command(person, "-S", socket), f"echo {number}; cat /dev/zero | head -c 200000 | wc -c"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        for number in range(6)
    ]
    answers = [other.communicate(timeout=20)[0].split() for other in others]
    assert answers == [[str(number).encode(), b"200000"] for number in range(6)]
    master.communicate(timeout=10)
