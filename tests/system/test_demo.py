"""`make demo`, as a person runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.harness.empty_home import with_empty_homes
from tests.harness.running_program import PATIENCE, RunningProgram, clean_environment

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "demo.py"
pytestmark = pytest.mark.system


def demo(folder: Path, *arguments: str) -> RunningProgram:
    environment = clean_environment(SKERRY_DEMO_ROOT=str(folder), **with_empty_homes(folder / "home"))
    return RunningProgram("demo", [sys.executable, str(SCRIPT), *arguments], environment)


def test_demonstration_ends_by_itself_and_shows_every_command_before_its_output(tmp_path: Path) -> None:
    program = demo(tmp_path, "--once")
    assert program.await_end(150) == 0, program.log()
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
        "tctl -c var/demo/controller.yaml users add bob ",
        "tsh sessions ls",
        "tsh join --mode=peer ",
        "kill -9 ",
        "tctl -c var/demo/controller.yaml lock --user=alice ",
        "tctl -c var/demo/controller.yaml locks ls",
        "tctl -c var/demo/controller.yaml locks rm ",
        "tctl -c var/demo/controller.yaml status",
        "tctl -c var/demo/controller.yaml audit verify",
    ]
    places = [log.index(f"$ {command}") for command in commands]
    assert places == sorted(places)
    assert "edge-1    ⟵ Tunnel site=harbour\n" in log
    assert "hello from edge-2\n" in log
    assert "The audit log is intact" in log
    assert "bob joined as peer (2 here)" in log
    assert "two heads are 2" in log
    assert "bob left" in log
    parts = dict(zip(commands, (log[begin:end] for begin, end in pairwise([*places, len(log)])), strict=True))
    assert "User ID    : alice" in parts["tsh play "]
    verified = parts["tctl -c var/demo/controller.yaml recordings verify "]
    assert re.search(r"^intact: \d+ records, session ", verified, re.MULTILINE)
    assert_goes_offline_and_comes_back(log)
    assert_locked_out_and_let_in_again(log)
    assert re.search(r"^Nodes +2: 2 online$", parts["tctl -c var/demo/controller.yaml status"], re.MULTILINE)
    assert os.listdir(tmp_path / "var") == ["demo"]  # noqa: PTH208 - names are compared
    assert_nothing_is_left(program, tmp_path)


def assert_nothing_is_left(program: RunningProgram, folder: Path) -> None:
    """Look for whoever was told of `folder`: all that is started inherits that, the broker's process too."""
    program.await_silence()
    told = f"SKERRY_DEMO_ROOT={folder}\0".encode()
    deadline = time.monotonic() + PATIENCE
    while left := [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if told in read_quietly(path)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


def read_quietly(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def assert_goes_offline_and_comes_back(log: str) -> None:
    gone, back = log.split("$ tsh ls -v\n")[1:]
    assert re.search(r"^edge-1 +\S+ online ", gone, re.MULTILINE)
    assert re.search(r"^edge-2 +\S+ offline since \d\d \w+ \d{4} \d\d:\d\d UTC ", gone, re.MULTILINE)
    assert re.search(r'^ERROR: node "edge-2" is offline since .*: it is reachable again as soon as', gone, re.MULTILINE)
    assert "$ edge-agent start --data-dir=var/demo/edge-2\n" in gone
    assert re.search(r"^edge-2 +\S+ online ", back, re.MULTILINE)


def assert_locked_out_and_let_in_again(log: str) -> None:
    lock = 'lock targeting User:"alice" is in force: Under investigation\n'
    locked, free = re.split(r"^\$ tctl \S+ \S+ locks rm .*$", log, flags=re.MULTILINE)
    assert f"In the session:\nat work\nSkerry: {lock}" in locked
    assert f"ERROR: the proxy closed the connection: {lock}" in locked
    assert "has been deleted\n" in free
    assert "\nback at work\n" in free


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_demonstration_leaves_nothing_running_however_it_is_ended(tmp_path: Path, how: signal.Signals) -> None:
    program = demo(tmp_path)
    program.await_line(r"TOTP secret: [A-Z2-7]{32}", timeout=110)
    program.await_line("Running until Ctrl-C")
    os.kill(program.pid, how)
    assert program.await_end() in {0, 128 + how}
    assert_nothing_is_left(program, tmp_path)
    assert (tmp_path / "var" / "demo" / "controller.log").exists()


def test_demonstration_refuses_what_it_does_not_know() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--onec"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unrecognized arguments: --onec" in done.stderr
