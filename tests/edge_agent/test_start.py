"""What `edge-agent start` needs to be told, what it keeps, and what it says of wishes that have no effect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.road import ROOT, Agent, join_arguments
from tests.harness.simulated_controller import SimulatedController

pytestmark = pytest.mark.system
Start = Callable[..., Agent]


def edge_agent(*arguments: str, without: str = "") -> subprocess.CompletedProcess[str]:
    """Run it to the end, in an interpreter that has not the package `without`."""
    hidden = f"import sys; sys.modules[{without!r}] = None; " if without else ""
    command = [sys.executable, "-c", f"{hidden}from edge_agent.cli import main; main()", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "SKERRY_"))}
    environment |= {"COLUMNS": "80"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
def joined(own_controller: SimulatedController, start_agent: Start, tmp_path: Path) -> Path:
    """The data directory of a device that has joined as n1, with the label env=staging, and is not running."""
    own_controller.fixed_labels = {"env": "staging"}
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"))
    own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    assert warnings(agent) == []
    own_controller.wait_for(lambda: not own_controller.tunnels, "the end of the tunnel")
    return tmp_path / "data"


def kept_controller(data: Path) -> object:
    return json.loads((data / "identity.json").read_text())["controller"]


def warnings(agent: Agent) -> list[str]:
    return [line.partition("[AGENT] ")[2] for line in agent.lines if " WARN " in line]


def test_after_joining_start_alone_is_enough(
    own_controller: SimulatedController, start_agent: Start, joined: Path
) -> None:
    agent = start_agent(own_controller, "--data-dir", str(joined))
    own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    assert warnings(agent) == []


def test_a_controller_that_is_given_wins_and_is_kept(
    own_controller: SimulatedController, start_agent: Start, joined: Path
) -> None:
    assert kept_controller(joined) == own_controller.address
    elsewhere = f"localhost:{own_controller.web_port}"
    agent = start_agent(own_controller, "--data-dir", str(joined), "--controller", elsewhere)
    own_controller.wait_for_node("n1")
    assert kept_controller(joined) == elsewhere
    assert agent.stop() == 0


def test_a_device_that_has_not_joined_is_told_every_way_to_name_the_controller(tmp_path: Path) -> None:
    settings = tmp_path / "edge_agent.yaml"
    settings.write_text("log: {severity: INFO}\n")
    result = edge_agent("start", "--data-dir", str(tmp_path / "data"), "-c", str(settings))
    assert result.returncode == 2
    assert result.stderr == (
        f"ERROR: no controller: say --controller HOST:3080, or controller: in {settings} "
        f"(a device that has joined needs neither, but {tmp_path}/data is not of one)\n"
    )
    assert not (tmp_path / "data").exists()


def test_settings_are_found_where_the_help_says(tmp_path: Path) -> None:
    from edge_agent.config import Options, default_config, load_settings

    said = " ".join(edge_agent("start", "--help").stdout.split())
    assert f"[default, where it exists: {default_config(0)}; not as root: ~/.config/skerry/edge_agent.yaml]" in said
    assert "[default: /var/lib/skerry-agent; not as root: ~/.local/share/skerry-agent]" in said
    home = tmp_path / ".config" / "skerry" / "edge_agent.yaml"
    home.parent.mkdir(parents=True)
    home.write_text("controller: found.example.com:3080\nnodename: n1\n")
    code = (
        "from edge_agent.config import Options, load_settings\nprint(load_settings(Options(), euid=1000).controller[0])"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "found.example.com\n"
    named = tmp_path / "other.yaml"
    named.write_text("controller: other.example.com:3080\nnodename: n1\n")
    assert load_settings(Options(config=str(named)), euid=1000).controller[0] == "other.example.com"


def test_labels_that_the_token_does_not_grant_are_a_line_each_when_it_joins(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.fixed_labels = {"env": "staging", "site": "north"}
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    agent = start_agent(own_controller, *arguments, "--labels", "env=prod,role=till,site=north")
    own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    assert warnings(agent) == [
        "the label env=prod has no effect: this node has env=staging since it joined",
        "the label role=till has no effect: the join token did not allow this device to claim it",
    ]


def test_wishes_of_a_device_that_has_joined_are_a_line_each(
    own_controller: SimulatedController, start_agent: Start, joined: Path
) -> None:
    wishes = ("--nodename", "n2", "--labels", "env=prod", "--token", "another-token-0123456789")
    agent = start_agent(own_controller, "--data-dir", str(joined), *wishes)
    own_controller.wait_for_node("n1")
    assert b"another-token" not in Path(f"/proc/{agent.process.pid}/cmdline").read_bytes()
    assert agent.stop() == 0
    assert warnings(agent) == [
        f"the join token has no effect: this device has joined already ({joined})",
        "the name n2 has no effect: this node is n1 since it joined",
        "the label env=prod has no effect: this node has env=staging since it joined",
    ]


def test_a_token_that_has_no_effect_does_not_stay_in_the_environment(
    own_controller: SimulatedController, start_agent: Start, joined: Path
) -> None:
    agent = start_agent(
        own_controller, "--data-dir", str(joined), environment={"SKERRY_TOKEN": "another-token-0123456789"}
    )
    own_controller.wait_for_node("n1")
    assert b"another-token" not in Path(f"/proc/{agent.process.pid}/environ").read_bytes()


@pytest.mark.parametrize("package", ["click", "yaml", "cryptography"])
def test_a_package_that_is_not_installed_is_one_line_with_the_mend(tmp_path: Path, package: str) -> None:
    settings = tmp_path / "edge_agent.yaml"
    settings.write_text("controller: x:1\n")
    result = edge_agent("start", "-c", str(settings), without=package)
    assert result.returncode == 1
    assert result.stderr == (
        f"ERROR: the Python package {package} is not installed; "
        "install the agent again: pip install -r requirements/agent.txt (it is the extra skerry[agent])\n"
    )


def test_a_wrong_command_line_has_the_prefix_of_every_error() -> None:
    result = edge_agent("start", "--no-such")
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "Usage: edge-agent start [OPTIONS]"
    assert lines[-1].startswith("ERROR: No such option")


def test_version_may_be_asked_for_either_way() -> None:
    one, other = edge_agent("version"), edge_agent("--version")
    assert one.stdout == other.stdout
    assert one.stdout.startswith("Skerry v")
    assert (one.returncode, other.returncode) == (0, 0)


def test_no_line_of_the_list_of_commands_is_cut() -> None:
    commands = edge_agent("--help").stdout.partition("Commands:\n")[2].splitlines()
    assert len(commands) >= 5
    assert [line for line in commands if line.endswith("...")] == []
