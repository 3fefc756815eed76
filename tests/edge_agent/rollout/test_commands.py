from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge_agent.rollout.made_device import MadeDevice
from tests.harness.made_tree import ROOT, make_tree

pytestmark = pytest.mark.system


def test_the_agent_that_serves_loads_nothing_of_the_rollout() -> None:
    code = "import edge_agent.cli, edge_agent.service, edge_agent.node, sys; print('\\n'.join(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True, timeout=60).split()
    assert "edge_agent.node" in loaded
    assert [name for name in loaded if name.startswith("edge_agent.rollout")] == []


@pytest.mark.parametrize("command", ["install", "upgrade", "remove"])
def test_each_command_says_what_it_is_for(command: str) -> None:
    shown = [sys.executable, "-m", "edge_agent", command, "--help"]
    assert "Usage: " in subprocess.check_output(shown, cwd=ROOT, text=True, timeout=60)
    listed = subprocess.check_output([*shown[:3], "--help"], cwd=ROOT, text=True, timeout=60)
    assert f"\n  {command} " in listed


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("upgrade", "--drain", "soon", "x"), "not a span of time: 'soon'"),
        (("upgrade",), "say which version: FILE.tar.gz, FILE.deb or DIRECTORY"),
        (("install", "--wait", "-1", "--tree", "/nowhere"), "-1"),
        (("install", "--tree", "/nowhere"), "/nowhere is no version of the agent"),
    ],
)
def test_what_makes_no_sense_is_said(device: MadeDevice, words: tuple[str, ...], line: str) -> None:
    before = device.footprint()
    done = device.run(*words)
    assert done.returncode in {1, 2}
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert device.footprint() == before


@pytest.mark.parametrize("words", [["upgrade", "x.tar.gz"], ["remove"], ["install"]])
def test_somebody_who_is_not_root_is_told_so(device: MadeDevice, tmp_path: Path, words: list[str]) -> None:
    tree = make_tree(tmp_path / "tree", "1.0")
    command = device.command(*words, *(["--tree", str(tree)] if words == ["install"] else []))
    before = device.footprint()
    # Root of this machine, who is nobody in a user namespace of their own: the checkout may be for root's eyes alone.
    done = subprocess.run(
        [*(["unshare", "--user"] if os.geteuid() == 0 else []), *command],
        env=device.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "ERROR: this needs root: run it with sudo\n")
    assert device.footprint() == before
