"""The programs `controller` and `tctl`, as they are typed: what they say of themselves and of wrong command lines."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from protocol.version import __version__

ROOT = Path(__file__).parents[2]
MODULES = {"controller": "controller.cli", "tctl": "controller.tctl"}


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", MODULES[program], *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def bare_installation(tmp_path: Path) -> Path:
    """The programs and the library that reads command lines, and no other."""
    installed = Path(sysconfig.get_path("purelib"))
    for name, home in (("controller", ROOT), ("protocol", ROOT), ("click", installed)):
        (tmp_path / name).symlink_to(home / name)
    return tmp_path


@pytest.mark.parametrize(
    ("program", "command"),
    [("controller", "start"), ("controller", "configure"), ("tctl", "status"), ("tctl", "users ls")],
)
def test_without_the_controller_s_libraries_one_line_says_what_to_install(
    program: str, command: str, bare_installation: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", MODULES[program], *command.split()],
        cwd=bare_installation,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"ERROR: {program} needs the Python package ")
    assert "requirements/controller.txt" in done.stderr


@pytest.mark.parametrize("program", MODULES)
def test_the_version_is_the_same_by_flag_and_by_command(program: str) -> None:
    by_flag, by_command = run(program, "--version"), run(program, "version")
    assert (by_flag.returncode, by_flag.stdout) == (0, by_command.stdout)
    assert by_flag.stdout.startswith(f"Skerry v{__version__} {program.rpartition('/')[2]} python3.")


@pytest.mark.parametrize("program", MODULES)
@pytest.mark.parametrize("arguments", [("bogus",), ("--bogus",)])
def test_a_wrong_command_line_ends_with_our_own_mark(program: str, arguments: tuple[str, ...]) -> None:
    done = run(program, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines[0] == f"Usage: {program} [OPTIONS] COMMAND [ARGS]..."
    assert lines[-1].startswith("ERROR: No such ")


@pytest.mark.parametrize(
    ("program", "groups"), [("controller", [()]), ("tctl", [(), ("users",), ("tokens",), ("nodes",), ("audit",)])]
)
def test_no_line_of_help_is_cut_short_on_a_terminal_of_80_columns(program: str, groups: list[tuple[str, ...]]) -> None:
    for group in groups:
        text = run(program, *group, "--help").stdout
        described = text.partition("Commands:\n")[2]
        assert described
        assert "..." not in described
        assert all(len(line) <= 80 for line in text.splitlines())
