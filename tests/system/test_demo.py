"""`make demo`, as a person runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.empty_home import with_empty_homes
from tests.harness.running_program import RunningProgram, clean_environment

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "demo.py"
pytestmark = pytest.mark.system


def demo(folder: Path, *arguments: str) -> RunningProgram:
    environment = clean_environment(SKERRY_DEMO_ROOT=str(folder), **with_empty_homes(folder / "home"))
    return RunningProgram("demo", [sys.executable, str(SCRIPT), *arguments], environment)


def test_demonstration_ends_by_itself_and_shows_every_command_before_its_output(tmp_path: Path) -> None:
    program = demo(tmp_path, "--once")
    assert program.await_end(110) == 0, program.log()
    log = program.log()
    commands = [
        "controller start",
        "tctl -c var/demo/controller.yaml users add alice",
        "edge-agent start --token=",
        "tsh login --proxy=localhost:",
        "tsh ls",
        "tsh ssh",
        "tsh status",
        "tsh recordings ls",
        "tsh play ",
        "tctl -c var/demo/controller.yaml recordings verify ",
    ]
    places = [log.index(f"$ {command}") for command in commands]
    assert places == sorted(places)
    assert "edge-1    ⟵ Tunnel site=harbour\n" in log
    assert "hello from edge-2\n" in log
    assert "The audit log is intact" in log
    played = log[places[-2] : places[-1]]
    assert "User ID    : alice" in played
    assert re.search(r"^intact: \d+ records, session ", log[places[-1] :], re.MULTILINE)
    assert os.listdir(tmp_path / "var") == ["demo"]  # noqa: PTH208 - names are compared


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_demonstration_leaves_nothing_running_however_it_is_ended(tmp_path: Path, how: signal.Signals) -> None:
    program = demo(tmp_path)
    program.await_line(r"TOTP secret: [A-Z2-7]{32}", timeout=110)
    program.await_line("Running until Ctrl-C")
    os.kill(program.pid, how)
    assert program.await_end() in {0, 128 + how}
    program.await_silence()
    assert (tmp_path / "var" / "demo" / "controller.log").exists()


def test_demonstration_refuses_what_it_does_not_know() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--onec"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unrecognized arguments: --onec" in done.stderr
