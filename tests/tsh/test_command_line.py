"""What every command has in common: help, version, and how a wrong line is refused."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.harness.tsh_program import TIMEOUT, TshProgram

COMMANDS = ["login", "logout", "status", "ls", "ssh", "recordings", "recordings ls", "play", "proxy"]
COMMANDS += ["proxy ssh", "config", "version", "sessions", "sessions ls", "join", "mfa", "mfa ls", "mfa add", "mfa rm"]


def options_in_help(program: TshProgram, command: str) -> set[str]:
    lines = program.run(*command.split(), "--help").stdout.decode().partition("Options:\n")[2].splitlines()
    return {word.rstrip(",") for line in lines for word in line.split()[:2] if word.startswith("-")}


def test_flags_of_one_command_are_shown_there_alone(newcomer: TshProgram) -> None:
    shown = {command: options_in_help(newcomer, command) for command in COMMANDS}
    assert [command for command in COMMANDS if "--ttl" in shown[command]] == ["login"]
    assert [command for command in COMMANDS if "--login" in shown[command]] == ["ssh", "join"]


@pytest.mark.parametrize("command", ["", "sessions", "recordings", "mfa", "proxy"])
def test_no_line_of_a_list_of_commands_is_cut(newcomer: TshProgram, command: str) -> None:
    listed = newcomer.run(*command.split(), "--help").stdout.decode().partition("Commands:\n")[2].splitlines()
    assert listed
    assert [line for line in listed if line.endswith("...") or len(line) > 80] == []


def test_version_may_be_asked_for_either_way(newcomer: TshProgram) -> None:
    one, other = newcomer.run("version"), newcomer.run("--version")
    assert (one.stdout, one.returncode) == (other.stdout, other.returncode)
    assert re.fullmatch(rb"Skerry v\S+ tsh python3\.\S+\n", one.stdout)


def test_wrong_flag_is_refused_with_usage_and_the_prefix_of_every_error(newcomer: TshProgram) -> None:
    done = newcomer.run("ls", "--no-such")
    assert done.returncode == 2
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith("Usage: tsh ls ")
    assert lines[-1].startswith("ERROR: No such option")


@pytest.mark.parametrize(
    ("package", "line"), [("click", ["status"]), ("cryptography", ["ssh", "x"]), ("asyncssh", ["ssh", "x"])]
)
def test_package_that_is_not_installed_is_one_line_with_the_mend(
    alice: TshProgram, package: str, line: list[str]
) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from tsh.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *line], env=alice.environment, capture_output=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"ERROR: the Python package {package} is not installed; "
        "install tsh again: pip install -r requirements/tsh.txt\n"
    )


@pytest.mark.parametrize("option", ["-o", "-F", "-i", "-X", "-D", "-R", "-J"])
def test_an_option_that_ssh_has_alone_ends_as_ssh_does_with_the_way_to_it(newcomer: TshProgram, option: str) -> None:
    done = newcomer.run("ssh", option, "value", "web1")
    assert (done.returncode, done.stdout) == (255, b"")
    assert done.stderr.startswith(f"ERROR: tsh ssh has no {option}: ssh has, with what `tsh config` prints".encode())


def test_a_number_that_is_none_is_called_that(newcomer: TshProgram) -> None:
    done = newcomer.run("ssh", "-p", "http", "web1")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"'http' is not a whole number" in done.stderr
