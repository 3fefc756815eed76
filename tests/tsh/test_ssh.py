"""`tsh ssh` without a terminal: exit statuses, streams, names, and whom it refuses to talk to."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import select
import signal
import socket
import subprocess
from pathlib import Path

import asyncssh
import pytest

from tests.harness.person_keys import COMMENT, ssh_agent
from tests.harness.simulated_authority import SshAuthority
from tests.harness.simulated_proxy import OTP, PASSWORD, SimulatedProxy
from tests.harness.tsh_program import TIMEOUT, TshProgram
from tests.tsh.conftest import ME

TEN_MIB = 10 * 1024 * 1024


def test_output_errors_and_exit_status_arrive_apart(alice: TshProgram) -> None:
    done = alice.run("ssh", "web1", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_command_killed_by_a_signal_is_128_and_the_signal(alice: TshProgram) -> None:
    assert alice.run("ssh", "web1", "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_words_of_the_command_are_joined_and_options_may_follow_the_host(alice: TshProgram) -> None:
    done = alice.run("ssh", "-p", "22", f"{ME}@web1", "-T", "--", "echo", "-d", "a  b")
    assert (done.returncode, done.stdout) == (0, b"-d a b\n")


def test_ten_mebibytes_go_both_ways_unchanged(alice: TshProgram) -> None:
    data = os.urandom(TEN_MIB)
    done = alice.run("ssh", "web1", "cat", typed=data)
    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_end_of_input_reaches_the_command_from_a_pipe_a_file_and_nothing(alice: TshProgram, tmp_path: Path) -> None:
    assert alice.run("ssh", "web1", "wc -c", typed=b"12345").stdout.strip() == b"5"
    file = tmp_path / "input"
    file.write_bytes(b"x" * 300_000)
    for name, size in ((str(file), b"300000"), (os.devnull, b"0")):
        with Path(name).open("rb") as source:
            done = subprocess.run(
                [*alice.command, "ssh", "web1", "wc -c"],
                env=alice.environment, stdin=source, capture_output=True, timeout=TIMEOUT, check=True,
            )  # fmt: skip
        assert done.stdout.strip() == size


def test_command_may_close_its_output_and_still_read(alice: TshProgram) -> None:
    done = alice.run("ssh", "web1", "exec >&-; wc -c >&2", typed=b"x" * 100_000)
    assert (done.returncode, done.stderr.strip()) == (0, b"100000")


def test_no_input_is_passed_with_n(alice: TshProgram) -> None:
    assert alice.run("ssh", "-n", "web1", "wc -c", typed=b"12345").stdout.strip() == b"0"


def test_output_into_a_file_and_a_socket_is_complete(alice: TshProgram, tmp_path: Path) -> None:
    arguments = [*alice.command, "ssh", "-n", "web1", "head -c 3000000 /dev/zero"]
    with (tmp_path / "out").open("wb") as file:
        subprocess.run(arguments, env=alice.environment, stdout=file, timeout=TIMEOUT, check=True)
    assert (tmp_path / "out").stat().st_size == 3_000_000
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            program = subprocess.Popen(arguments, env=alice.environment, stdout=theirs.fileno())
        with ours.makefile("rb") as answer:
            assert len(answer.read()) == 3_000_000
    assert program.wait(TIMEOUT) == 0


def test_reader_that_stalls_holds_the_node_and_loses_nothing(alice: TshProgram) -> None:
    with alice.started("ssh", "-n", "web1", "head -c 50000000 /dev/zero; echo done >&2") as program:
        first = program.stdout.read(1)
        assert select.select([program.stderr], [], [], 1.0) == ([], [], [])  # the node is held: it cannot be done
        shared = fcntl.fcntl(program.stdout, fcntl.F_GETFL)
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{program.process.pid}/status").read_text())[0])
        rest = program.stdout.read()
        assert len(first + rest) == 50_000_000
        assert program.stderr.read() == b"done\n"
        assert program.process.wait(TIMEOUT) == 0
        assert not shared & os.O_NONBLOCK
        assert peak < 100 * 1024


def test_reader_that_leaves_ends_it_quietly(alice: TshProgram) -> None:
    with alice.started("ssh", "-n", "web1", "yes") as program:
        assert program.stdout.readline() == b"y\n"
        program.stdout.close()
        assert program.process.wait(TIMEOUT) == 128 + signal.SIGPIPE
        assert program.stderr.read() == b""


def test_closed_standard_input_is_an_empty_one(alice: TshProgram) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *alice.command, "ssh", "web1", "wc -c"],
        env=alice.environment, capture_output=True, timeout=TIMEOUT, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == b"0"


def test_node_is_found_by_uuid_in_any_case(proxy: SimulatedProxy, alice: TshProgram) -> None:
    node = proxy.nodes[1]
    done = alice.run("ssh", node.node_id.upper(), "echo here")
    assert (done.returncode, done.stdout) == (0, b"here\n")
    assert proxy.channels == [(node.node_id, 0)]


def test_port_is_passed_to_the_proxy(proxy: SimulatedProxy, alice: TshProgram) -> None:
    assert alice.run("ssh", "-p2222", "web1", "true").returncode == 0
    assert proxy.channels == [("web1", 2222)]


def test_what_the_proxy_says_of_an_offline_node_is_shown_and_cannot_command_the_terminal(
    proxy: SimulatedProxy, alice: TshProgram
) -> None:
    proxy.refusals["web2"] = 'node "web2" is offline since 2026-11-22 10:00:00 UTC\n\n\x1b]0;owned\x07hint\r'
    done = alice.run("ssh", "web2")
    assert done.returncode == 255
    assert done.stderr.decode() == (
        'ERROR: node "web2" is offline since 2026-11-22 10:00:00 UTC\n\n\\x1b]0;owned\\x07hint\\r\n'
    )


def test_unknown_node_is_what_the_proxy_says(alice: TshProgram) -> None:
    done = alice.run("ssh", "web9", "true")
    assert (done.returncode, done.stderr) == (255, b'ERROR: no node "web9" is known\n')


@pytest.mark.parametrize("target", ["we b1", "../x", "a@b@c d", "-", "root@", "env=a=b,"])
def test_what_is_no_name_is_refused_here(proxy: SimulatedProxy, alice: TshProgram, target: str) -> None:
    done = alice.run("ssh", target, "true")
    assert done.returncode == 255
    assert done.stderr.startswith(b"ERROR: cannot connect to ")
    assert proxy.channels == []


def test_one_match_of_a_label_is_connected_by_its_id(proxy: SimulatedProxy, alice: TshProgram) -> None:
    assert alice.run("ssh", "env=staging", "echo here").stdout == b"here\n"
    assert proxy.channels == [(proxy.nodes[0].node_id, 0)]


def test_command_runs_on_every_match_and_the_first_failure_counts(proxy: SimulatedProxy, alice: TshProgram) -> None:
    proxy.refusals[proxy.nodes[1].node_id] = "offline since yesterday"
    done = alice.run("ssh", "env=prod", "echo hi; exit 3")
    assert done.stdout == b"Running command on web2:\nRunning command on web3:\nhi\n"
    assert done.stderr == b"ERROR: offline since yesterday\n"
    assert done.returncode == 255
    proxy.refusals.clear()
    assert alice.run("ssh", "env=prod", "exit 3").returncode == 3


def test_shell_on_several_matches_is_ambiguous(proxy: SimulatedProxy, alice: TshProgram) -> None:
    done = alice.run("ssh", "env=prod")
    assert done.returncode == 255
    assert done.stderr.decode() == (
        "ERROR: ambiguous host could match multiple nodes\n\n"
        "Node Name Node ID                              Status  Address  Labels\n"
        "--------- ------------------------------------ ------- -------- --------\n"
        f"web2      {proxy.nodes[1].node_id} unknown ⟵ Tunnel env=prod\n"
        f"web3      {proxy.nodes[2].node_id} unknown ⟵ Tunnel env=prod\n\n"
        "Hint: try addressing the node by unique id (ex: tsh ssh user@node-id)\n"
        "Hint: use 'tsh ls -v' to list all nodes with their unique ids\n"
    )
    assert proxy.channels == []


def test_no_match_of_a_label_is_said(alice: TshProgram) -> None:
    done = alice.run("ssh", "env=nowhere", "true")
    assert (done.returncode, done.stderr) == (
        255,
        b"ERROR: no node has the labels env=nowhere; `tsh ls` lists those there are\n",
    )


def test_login_that_is_not_permitted_is_denied(alice: TshProgram) -> None:
    done = alice.run("ssh", "daemon@web1", "true")
    assert (done.returncode, done.stderr) == (255, b"ERROR: access denied to daemon connecting to web1\n")


def test_login_comes_from_the_flag_then_the_target_then_the_environment(alice: TshProgram) -> None:
    assert alice.run("ssh", "-l", ME, "daemon@web1", "true").returncode == 0
    program = [*alice.command, "ssh", "web1", "true"]
    done = subprocess.run(
        program, env=alice.environment | {"SKERRY_LOGIN": "daemon"}, capture_output=True, timeout=TIMEOUT, check=False
    )
    assert b"access denied to daemon" in done.stderr


def test_node_that_proves_to_be_another_is_refused(proxy: SimulatedProxy, alice: TshProgram) -> None:
    proxy.impostors["web1"] = "web2"
    done = alice.run("ssh", "web1", "echo reached")
    assert done.returncode == 255
    assert done.stdout == b""
    other = proxy.nodes[1].node_id
    assert f'what answered for "web1" did not prove to be it: it proved to be {other} instead' in done.stderr.decode()


def test_proxy_with_a_key_of_another_authority_is_refused(proxy: SimulatedProxy, alice: TshProgram) -> None:
    profile = alice.home / "127.0.0.1.json"
    assert proxy.host_ca.line in profile.read_text()
    profile.write_text(profile.read_text().replace(proxy.host_ca.line, SshAuthority().line))
    done = alice.run("ssh", "web1", "echo reached")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"did not prove to be that of cluster harbour" in done.stderr
    assert proxy.channels == []


def test_after_a_refusal_the_login_that_is_suggested_signs_in_anew_and_once(
    proxy: SimulatedProxy, alice: TshProgram
) -> None:
    profile = alice.home / "127.0.0.1.json"
    profile.write_text(profile.read_text().replace(proxy.host_ca.line, SshAuthority().line))
    done = alice.run("ssh", "web1", "echo reached")
    suggested = done.stderr.decode().partition("log in again: tsh ")[2].split()
    assert suggested == ["login", f"--proxy=127.0.0.1:{proxy.web_port}", "--user=alice"]
    assert alice.run(*suggested, typed=f"{PASSWORD}\n{OTP}\n".encode()).returncode == 0
    assert alice.run("ssh", "web1", "echo reached").stdout == b"reached\n"
    proxy.requests.clear()
    assert alice.run(*suggested).returncode == 0  # valid, and refused by nobody
    assert proxy.requests == []


def test_certificate_that_the_proxy_refuses_is_replaced_by_the_login_that_is_suggested(
    proxy: SimulatedProxy, alice: TshProgram
) -> None:
    mine = proxy.user_ca
    try:
        proxy.user_ca = SshAuthority()  # as after a rotation of the user CA: at the proxy, and in new certificates
        done = alice.run("ssh", "web1", "echo reached")
        assert b"refused your certificate; log in again: tsh login --proxy=" in done.stderr
        login = ("login", f"--proxy=127.0.0.1:{proxy.web_port}", "--user=alice")
        assert alice.run(*login, typed=f"{PASSWORD}\n{OTP}\n".encode()).returncode == 0
        assert b"refused" not in alice.run("ssh", "web1", "true").stderr
    finally:
        proxy.user_ca = mine  # the proxy is every test's


def test_proxy_that_is_gone_is_said(proxy: SimulatedProxy, alice: TshProgram) -> None:
    profile = alice.home / "127.0.0.1.json"
    profile.write_text(profile.read_text().replace(f'"ssh_port": {proxy.ssh_port}', '"ssh_port": 1'))
    done = alice.run("ssh", "web1", "true")
    assert (done.returncode, done.stderr) == (
        255,
        b"ERROR: cannot reach the proxy at 127.0.0.1:1: nothing listens there\n",
    )


def test_lost_connection_is_said_with_the_nodes_name(proxy: SimulatedProxy, alice: TshProgram) -> None:
    with alice.started("ssh", "-n", "web1", "echo started; exec tail -f /dev/null") as program:
        assert program.stdout.readline() == b"started\n"
        proxy.drop_connections()
        assert program.process.wait(TIMEOUT) == 255
        assert program.stderr.read().startswith(b"Connection to web1 lost: ")


def test_proxy_that_drops_the_connection_while_it_opens_a_node_is_said(
    proxy: SimulatedProxy, alice: TshProgram
) -> None:
    proxy.traps.add("web1")
    for command in (["ssh", "web1", "true"], ["proxy", "ssh", "web1"]):
        done = alice.run(*command)
        assert (done.returncode, done.stdout) == (255, b"")
        assert done.stderr == b"Connection to web1 lost: the proxy closed the connection\n"


def test_proxy_ssh_ends_when_its_input_does(alice: TshProgram) -> None:
    done = alice.run("proxy", "ssh", "web1")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_it_quietly(alice: TshProgram, number: signal.Signals) -> None:
    with alice.started("ssh", "-n", "web1", "echo started; exec tail -f /dev/null") as program:
        assert program.stdout.readline() == b"started\n"
        program.process.send_signal(number)
        assert program.process.wait(TIMEOUT) == 128 + number
        assert program.stderr.read() == b""


def test_local_port_is_forwarded_from_the_node(alice: TshProgram) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there, socket.create_server(("127.0.0.1", 0)) as spare:
        port, far = spare.getsockname()[1], there.getsockname()[1]
        spare.close()
        with alice.started("ssh", "-L", f"127.0.0.1:{port}:127.0.0.1:{far}", "web1", "echo up; cat") as program:
            assert program.stdout.readline() == b"up\n"
            with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as near:
                accepted, _ = there.accept()
                with accepted:
                    near.sendall(b"ping")
                    assert accepted.recv(4) == b"ping"
            program.stdin.close()
            assert program.process.wait(TIMEOUT) == 0


def test_port_that_is_taken_is_said(alice: TshProgram) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = alice.run("ssh", "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:1", "web1")
    assert done.returncode == 255
    assert f"ERROR: cannot listen on 127.0.0.1 port {port}: ".encode() in done.stderr


@pytest.mark.parametrize("spec", ["80", "x:host:80", "0:host:80", "80::80", "[::1:80:host:80", "1:2:3:4:5", "1:2"])
def test_forwarding_that_is_none_is_a_usage_error_that_names_the_form(
    proxy: SimulatedProxy, alice: TshProgram, spec: str
) -> None:
    done = alice.run("ssh", "-N", "-L", spec, "web1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(b"ERROR: Invalid value for -L: not a ")
    assert done.stderr.endswith(b"(write [BIND:]PORT:HOST:PORT)\n")
    assert b" -L [BIND:]PORT:HOST:PORT " in alice.run("ssh", "--help").stdout
    assert proxy.channels == []


def test_own_ssh_agent_is_lent_where_it_is_asked_for(
    alice: TshProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ssh_agent(tmp_path) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        lent = alice.run("ssh", "-A", "web1", "ssh-add -l")
        assert COMMENT.encode() in lent.stdout, lent.stderr
        assert alice.run("ssh", "web1", "echo on; echo $SSH_AUTH_SOCK").stdout == b"on\n\n"
    assert alice.run("ssh", "-A", "web1", "ssh-add -l; echo on").stdout.endswith(b"on\n")  # it is gone


def test_no_ssh_agent_to_lend_is_said(alice: TshProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    done = alice.run("ssh", "-A", "web1", "echo on")
    assert (done.returncode, done.stdout) == (0, b"on\n")
    assert done.stderr == b"WARNING: -A has no effect: no ssh-agent runs here (SSH_AUTH_SOCK is not set)\n"


def test_damaged_key_is_one_line_with_the_mend(alice: TshProgram) -> None:
    (alice.home / "keys" / "127.0.0.1" / "alice").write_text("garbage\n")
    done = alice.run("ssh", "web1", "true")
    assert done.returncode == 255
    assert b"are damaged; log in: tsh login" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_stock_openssh_reaches_a_node_with_the_printed_configuration(alice: TshProgram, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_bytes(alice.run("config").stdout)
    done = subprocess.run(
        ["ssh", "-F", config, f"{ME}@web1.harbour", "echo through; exit 5"],
        capture_output=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (5, b"through\n", b"")


@pytest.mark.parametrize("address", ["web1", "web1:22", "web1.harbour:22"])
def test_stock_openssh_reaches_a_node_through_tsh_proxy_ssh(alice: TshProgram, tmp_path: Path, address: str) -> None:
    keys = alice.home / "keys" / "127.0.0.1"
    config = tmp_path / "config"
    config.write_text(
        f"UserKnownHostsFile {alice.home}/known_hosts\nIdentityFile {keys}/alice\nIdentitiesOnly yes\n"
        f"StrictHostKeyChecking yes\nProxyCommand {' '.join(alice.command)} proxy ssh {address}\n"
    )
    done = subprocess.run(
        ["ssh", "-F", config, f"{ME}@web1", "cat"],
        env=alice.environment, input=b"x" * 1_000_000, capture_output=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert (done.returncode, len(done.stdout)) == (0, 1_000_000), done.stderr


def test_library_still_has_what_the_host_key_judgement_stands_in_for() -> None:
    assert callable(asyncssh.SSHClientConnection.validate_server_host_key)
