"""Signing in, as a person at a terminal and as a script, and what lies on disk afterwards."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import termios
from datetime import timedelta
from pathlib import Path

import pexpect
import pytest

from tests.harness.simulated_authority import WebAuthority
from tests.harness.simulated_proxy import OTP, PASSWORD, TOKEN, UNIFORM, SimulatedProxy
from tests.harness.tsh_program import TshProgram
from tests.tsh.conftest import ME, login_arguments

NOBODY = b"ERROR: Not logged in; log in with: tsh login --proxy=HOST --user=USER\n"
RIGHT = f"{PASSWORD}\n{OTP}\n".encode()
STATUS = """\
> Profile URL:        https://127.0.0.1:{port}
  Logged in as:       alice
  Cluster:            harbour
  Roles:              access
  Logins:             {logins}
  Valid until:        {until} +0000 UTC [valid for 12h0m0s]
  Extensions:         permit-agent-forwarding, permit-port-forwarding, permit-pty
"""


def asked(proxy: SimulatedProxy, path: str) -> list[bytes]:
    return [body for _method, asked_path, body in proxy.requests if asked_path == path]


def test_login_from_lines_prints_the_status_block(proxy: SimulatedProxy, newcomer: TshProgram) -> None:
    done = newcomer.run(*login_arguments(proxy), typed=RIGHT)
    assert done.returncode == 0
    assert done.stderr.decode() == "Enter password for Skerry user alice:\nEnter your OTP token:\n"
    found = re.search(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \+0000 UTC", done.stdout.decode())
    assert found
    logins = ", ".join(sorted([ME, "nobody-here"]))
    assert done.stdout.decode() == STATUS.format(port=proxy.web_port, until=found[1], logins=logins)


def test_login_on_a_terminal_shows_the_code_and_hides_the_password(proxy: SimulatedProxy, newcomer: TshProgram) -> None:
    terminal = newcomer.on_terminal(*login_arguments(proxy))
    terminal.expect_exact("Enter password for Skerry user alice:")
    assert terminal.waitnoecho(timeout=10)
    terminal.sendline(PASSWORD)
    terminal.expect_exact("Enter your OTP token:")
    terminal.sendline(OTP)
    terminal.expect_exact(OTP)
    assert PASSWORD.encode() not in terminal.before
    terminal.expect_exact("> Profile URL:")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


@pytest.mark.parametrize("typed", [f"insecure wrong one\n{OTP}\n", f"{PASSWORD}\n000000\n"])
def test_wrong_password_and_wrong_code_give_the_servers_one_line(
    proxy: SimulatedProxy, newcomer: TshProgram, typed: str
) -> None:
    done = newcomer.run(*login_arguments(proxy), typed=typed.encode())
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == f"ERROR: {UNIFORM}"
    assert not list(newcomer.home.glob("*.json"))


def test_ctrl_c_at_a_prompt_ends_quietly_and_leaves_the_terminal_echoing(
    proxy: SimulatedProxy, newcomer: TshProgram
) -> None:
    terminal = newcomer.on_terminal(*login_arguments(proxy))
    terminal.expect_exact("Enter password")
    assert terminal.waitnoecho(timeout=10)
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    assert b"Traceback" not in terminal.before
    assert b"ERROR" not in terminal.before
    assert termios.tcgetattr(terminal.child_fd)[3] & termios.ECHO
    terminal.close()
    assert terminal.exitstatus == 130


def test_end_of_input_instead_of_a_password_is_said(proxy: SimulatedProxy, newcomer: TshProgram) -> None:
    done = newcomer.run(*login_arguments(proxy))
    assert done.returncode == 1
    assert b"ERROR: Enter password for Skerry user alice: nothing was entered" in done.stderr
    assert not asked(proxy, "/v1/sign-in")


def test_empty_line_at_a_terminal_is_asked_for_again(proxy: SimulatedProxy, newcomer: TshProgram) -> None:
    terminal = newcomer.on_terminal(*login_arguments(proxy))
    for question, answer in (("Enter password for Skerry user alice:", PASSWORD), ("Enter your OTP token:", OTP)):
        for typed in ("", answer):
            terminal.expect_exact(question)
            assert answer == OTP or terminal.waitnoecho(timeout=10)
            terminal.sendline(typed)
    terminal.expect_exact("> Profile URL:")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert len(asked(proxy, "/v1/sign-in")) == 1


def test_end_of_input_at_a_terminal_is_said(proxy: SimulatedProxy, newcomer: TshProgram) -> None:
    terminal = newcomer.on_terminal(*login_arguments(proxy))
    terminal.expect_exact("Enter password for Skerry user alice:")
    assert terminal.waitnoecho(timeout=10)
    terminal.sendeof()
    terminal.expect_exact("ERROR: Enter password for Skerry user alice: nothing was entered")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 1


@pytest.mark.parametrize("pin", ["sha256:abc", "md5:0", "", "0" * 64])
def test_malformed_pin_is_said_to_be_malformed_and_nobody_is_asked(
    proxy: SimulatedProxy, newcomer: TshProgram, pin: str
) -> None:
    done = newcomer.run("login", f"--proxy=127.0.0.1:{proxy.web_port}", "--user=alice", f"--ca-pin={pin}", typed=RIGHT)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1].startswith("ERROR: Invalid value for --ca-pin: not a CA pin (sha256:")
    assert proxy.requests == []


def test_life_beyond_the_most_is_said_to_be_and_asked_for_as_the_most(
    proxy: SimulatedProxy, newcomer: TshProgram
) -> None:
    done = newcomer.run(*login_arguments(proxy), "--ttl=99h", typed=RIGHT)
    assert done.returncode == 0
    assert done.stderr.decode().splitlines()[0] == "WARNING: --ttl=99h: 12h is the most a certificate lives"
    assert json.loads(asked(proxy, "/v1/sign-in")[0])["ttl_seconds"] == 12 * 3600
    exactly = newcomer.run(*login_arguments(proxy), "--ttl=12h", typed=RIGHT)
    assert b"WARNING" not in exactly.stderr


def test_wrong_pin_sends_nothing_secret(proxy: SimulatedProxy, newcomer: TshProgram) -> None:
    arguments = ["login", f"--proxy=127.0.0.1:{proxy.web_port}", "--user=alice", f"--ca-pin=sha256:{'0' * 64}"]
    done = newcomer.run(*arguments, typed=RIGHT)
    assert done.returncode == 1
    assert b"is not the one that --ca-pin names" in done.stderr
    assert b"Enter password" not in done.stderr
    assert [path for _method, path, _body in proxy.requests] == ["/v1/authorities"]


def test_a_sign_in_takes_up_the_authorities_of_the_day_and_keeps_its_own_where_they_are_not_told(
    proxy: SimulatedProxy, alice: TshProgram, tmp_path: Path
) -> None:
    def known() -> list[str]:
        (path,) = alice.home.glob("*.json")
        anchors: list[str] = json.loads(path.read_text())["anchors"]
        return anchors

    (tmp_path / "next").mkdir()
    following = WebAuthority(tmp_path / "next").pem
    assert known() == [proxy.web_ca.pem]
    try:
        for further in (following, "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n"):
            proxy.further_anchors = further
            assert alice.run("login", "--ttl=1h", typed=RIGHT).returncode == 0
            assert known() == [proxy.web_ca.pem, following]
    finally:
        proxy.further_anchors = ""  # the proxy is every test's


def test_certificate_of_no_known_authority_is_refused_before_anything_is_asked(
    proxy: SimulatedProxy, newcomer: TshProgram
) -> None:
    done = newcomer.run("login", f"--proxy=127.0.0.1:{proxy.web_port}", "--user=alice", typed=RIGHT)
    assert done.returncode == 1
    assert b"its certificate is not trusted" in done.stderr
    assert f"tsh login --proxy=127.0.0.1:{proxy.web_port} --user=alice --ca-pin=sha256:".encode() in done.stderr
    assert proxy.requests == []


def test_insecure_login_warns_and_later_commands_warn_too(proxy: SimulatedProxy, newcomer: TshProgram) -> None:
    warning = f"WARNING: You are using insecure connection to Skerry proxy https://localhost:{proxy.web_port}\n"
    done = newcomer.run("login", f"--proxy=localhost:{proxy.web_port}", "--user=alice", "--insecure", typed=RIGHT)
    assert done.returncode == 0
    assert done.stderr.decode().startswith(warning)
    assert newcomer.run("ls").stderr.decode() == warning


def test_login_again_with_a_valid_certificate_only_shows_the_status(proxy: SimulatedProxy, alice: TshProgram) -> None:
    done = alice.run("login", f"--proxy=127.0.0.1:{proxy.web_port}", "--user=alice")
    assert done.returncode == 0
    assert done.stdout.startswith(b"> Profile URL:")
    assert proxy.requests == []


def test_ttl_is_asked_of_the_server(proxy: SimulatedProxy, alice: TshProgram) -> None:
    done = alice.run("--ttl", "30", "login", f"--proxy=127.0.0.1:{proxy.web_port}", typed=RIGHT)
    assert done.returncode == 0, done.stderr
    assert json.loads(asked(proxy, "/v1/sign-in")[0])["ttl_seconds"] == 1800
    assert b"[valid for 30m0s]" in done.stdout


def test_each_login_makes_a_new_key(proxy: SimulatedProxy, alice: TshProgram) -> None:
    key = alice.home / "keys" / "127.0.0.1" / "alice"
    before = key.read_bytes()
    assert alice.run("login", "--ttl=1h", typed=RIGHT).returncode == 0
    assert proxy.requests
    assert key.read_bytes() != before


def test_files_lie_where_openssh_finds_them_and_are_private(alice: TshProgram) -> None:
    files = {str(path.relative_to(alice.home)): path.stat().st_mode & 0o777 for path in alice.home.rglob("*")}
    keys = "keys/127.0.0.1"
    assert files == {
        "keys": 0o700,
        keys: 0o700,
        f"{keys}/alice": 0o600,
        f"{keys}/alice.pub": 0o600,
        f"{keys}/alice-cert.pub": 0o600,
        f"{keys}/known_hosts": 0o600,
        "known_hosts": 0o600,
        "127.0.0.1.json": 0o600,
        "current-profile": 0o600,
    }
    assert (alice.home / "known_hosts").read_text().startswith("@cert-authority * ssh-ed25519 ")


def test_nothing_listens_is_said_in_one_line(newcomer: TshProgram) -> None:
    done = newcomer.run("login", "--proxy=127.0.0.1:1", "--user=alice", typed=RIGHT)
    assert done.returncode == 1
    expected = "ERROR: cannot reach https://127.0.0.1:1: Connection refused. Is the address right, and the network up?"
    assert done.stderr.decode() == f"{expected}\n"


def test_status_of_an_expired_certificate_says_so(proxy: SimulatedProxy, newcomer: TshProgram) -> None:
    proxy.lifetime = timedelta(seconds=-1)
    assert b"[EXPIRED]" in newcomer.run(*login_arguments(proxy), typed=RIGHT).stdout
    assert b"[EXPIRED]" in newcomer.run("status").stdout
    for command in (["ssh", "web1", "true"], ["ls"]):
        done = newcomer.run(*command)
        assert done.returncode == (255 if command[0] == "ssh" else 1)
        assert b"ERROR: your certificate for 127.0.0.1 expired at " in done.stderr
        assert f"tsh login --proxy=127.0.0.1:{proxy.web_port} --user=alice".encode() in done.stderr
    assert proxy.channels == []


def test_status_without_a_profile_is_not_logged_in(newcomer: TshProgram) -> None:
    done = newcomer.run("status")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", NOBODY)


@pytest.mark.parametrize("command", ["ls", "config", "status --format=json", "ssh web1", "proxy ssh web1"])
def test_whoever_is_not_signed_in_is_told_what_to_type(newcomer: TshProgram, command: str) -> None:
    done = newcomer.run(*command.split())
    assert done.returncode == (255 if "ssh" in command else 1)
    assert done.stderr == NOBODY


@pytest.mark.parametrize("command", ["ls", "config", "status", "ssh web1", "proxy ssh web1"])
def test_whoever_is_not_signed_in_there_is_told_what_to_type_for_it(alice: TshProgram, command: str) -> None:
    done = alice.run(*command.split(), "--proxy=edge.example.com:1080", "--user=bob")
    told = "ERROR: Not logged in at edge.example.com:1080; "
    typed = "log in with: tsh login --proxy=edge.example.com:1080 --user=bob\n"
    if command == "ssh web1":  # there, what follows the host is the remote command
        done = alice.run("ssh", "--proxy=edge.example.com:1080", "--user=bob", "web1")
    assert done.stderr.decode() == told + typed
    assert done.stdout == b""


def test_who_is_signed_in_nowhere_is_logged_out_already(newcomer: TshProgram) -> None:
    done = newcomer.run("logout")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"All users logged out.\n", b"")
    done = newcomer.run("logout", "--proxy=edge.example.com:1080")
    assert (done.returncode, done.stdout) == (0, b"Nobody is signed in to edge.example.com.\n")


def test_status_as_json(alice: TshProgram) -> None:
    (profile,) = json.loads(alice.run("status", "--format=json").stdout)
    assert profile["active"] is True
    assert profile["username"] == "alice"
    assert profile["expired"] is False


def test_logout_tells_the_cluster_and_deletes_the_keys(proxy: SimulatedProxy, alice: TshProgram) -> None:
    done = alice.run("logout")
    assert done.returncode == 0, done.stderr
    assert proxy.signed_out
    assert [path for path in alice.home.rglob("*") if path.is_file()] == []
    assert alice.run("status").returncode == 1


def test_damaged_profile_is_one_line_with_the_mend_and_logout_mends_it(
    proxy: SimulatedProxy, alice: TshProgram
) -> None:
    (alice.home / "127.0.0.1.json").write_text('{"host": "../../etc"}')
    done = alice.run("ls")
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"ERROR: the profile {alice.home}/127.0.0.1.json is damaged; "
        "remove it with: tsh logout --proxy=127.0.0.1, then log in again\n"
    )
    assert alice.run("logout", "--proxy=127.0.0.1").returncode == 0
    assert alice.run(*login_arguments(proxy), typed=RIGHT).returncode == 0


def test_session_that_the_cluster_ended_says_to_log_in(proxy: SimulatedProxy, alice: TshProgram) -> None:
    proxy.signed_out = True
    done = alice.run("ls")
    assert done.returncode == 1
    assert b"has ended; log in: tsh login --proxy=127.0.0.1:" in done.stderr
    assert TOKEN.encode() not in done.stderr


def test_help_loads_neither_ssh_nor_cryptography(newcomer: TshProgram, tmp_path: Path) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text(
        "import sys\nfrom tsh import cli\ncli.run(['--help'])\n"
        "heavy = {'asyncssh', 'cryptography', 'ssl', 'asyncio', 'http'}\n"
        "print([name for name in sys.modules if name.split('.')[0] in heavy])\n"
    )
    done = subprocess.run([sys.executable, probe], env=newcomer.environment, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"[]"
    assert b"Commands:" in done.stdout
