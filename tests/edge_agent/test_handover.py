"""What the process that serves is told, by a real agent and by itself, and what it has in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from edge_agent.config import Settings
from edge_agent.handover import VARIABLE, decode, encode, without_token
from edge_agent.policy.upload import RecordingSettings, Window
from protocol import names
from tests.harness.road import ROOT, Agent, join_arguments
from tests.harness.simulated_controller import SimulatedController

_RECORDING = RecordingSettings(
    spool_max=10**9, min_free=5, upload_rate=4000, upload_window=Window(60, 120), upload_order="oldest"
)
FULL = Settings(
    controller=("2001:db8::1", 3080),
    nodename=names.parse_node_name("kiosk-17"),
    data_dir=Path("/data/\udce9"),  # as Python has what is not UTF-8
    labels=names.parse_labels({"env": "staging"}),
    ca_pins=("sha256:" + "0" * 64,),
    token_file=Path("/etc/token"),
    insecure=True,
    severity="DEBUG",
    recording=_RECORDING,
    listen=("", 3022),
    heartbeat=60,
    severity_file=Path("/etc/settings.yaml"),
)
PLAIN = Settings(("x", 1), names.parse_node_name("n1"), Path("data"))


@pytest.mark.parametrize("settings", [FULL, PLAIN])
def test_settings_cross_whole(settings: Settings) -> None:
    assert decode(encode(settings)) == settings


def test_nothing_in_the_full_settings_is_as_it_would_be_anyway() -> None:
    for name in (field.name for field in fields(Settings)):
        assert getattr(FULL, name) != getattr(PLAIN, name)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["start", "--token=secret", "-d"], ["start", "-d"]),
        (["start", "--token", "secret", "-d"], ["start", "-d"]),
        (["start", "--rejoin", "--token", "--token=secret"], ["start"]),
        (["start", "--nodename", "token"], ["start", "--nodename", "token"]),
    ],
)
def test_token_is_not_said_a_second_time(typed: list[str], kept: list[str]) -> None:
    assert without_token(typed) == kept


@pytest.mark.parametrize("told", ["", "x", "-1", "0", "1", "77777", "9" * 40])
def test_variable_that_names_no_settings_is_one_line(told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "start"],
        cwd=ROOT,
        env=os.environ | {VARIABLE: told},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        1,
        f"ERROR: {VARIABLE} is set and names no settings: unset it, it is the agent's own\n",
    )


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"recording": {}}'])
def test_file_that_holds_no_settings_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "settings").write_bytes(content)
    with (tmp_path / "settings").open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "edge_agent", "start"],
            cwd=ROOT,
            env=os.environ | {VARIABLE: str(file.fileno())},
            pass_fds=(file.fileno(),),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"ERROR: {VARIABLE} is set and names no settings")


@pytest.mark.system
def test_process_that_serves_is_the_same_one_and_has_only_what_it_takes(
    own_controller: SimulatedController, start_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    data, settings = tmp_path / "data", tmp_path / "edge_agent.yaml"
    first = start_agent(own_controller, *join_arguments(own_controller, "n1", data))
    own_controller.wait_for_node("n1")
    assert first.stop() == 0
    own_controller.wait_for(lambda: not own_controller.tunnels, "the end of the tunnel")
    settings.write_text("labels: {env: staging}\n")
    options = ("--data-dir", str(data), "-c", str(settings))
    agent = start_agent(own_controller, *options, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    own_controller.wait_for_node("n1")
    process = Path(f"/proc/{agent.process.pid}")
    assert process.joinpath("cmdline").read_text().rstrip("\0").split("\0")[3:] == ["start", *options]
    assert not [link for link in process.joinpath("fd").iterdir() if "memfd" in os.readlink(link)]  # noqa: PTH115 - links to no path
    assert agent.stop() == 0
    before, after = imported(agent.lines)
    once = {"click", "yaml", "edge_agent.commands"}
    assert once <= before
    assert (once | {"edge_agent.join", "protocol.form"}) & after == set()
    assert "edge_agent.node" in after


def imported(lines: list[str]) -> tuple[set[str], set[str]]:
    """Return what the first interpreter imported, and what those after it did: the one it became, and its workers."""
    head = "import time: self [us]"
    starts = [number for number, line in enumerate(lines) if line.startswith(head)]
    found = [
        {line.rpartition("|")[2].strip() for line in part if line.startswith("import time:")}
        for part in (lines[: starts[1]], lines[starts[1] :])
    ]
    return found[0], found[1]
