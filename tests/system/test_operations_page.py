"""The commands of docs/operations.md are run, each section's beside a controller of its own kind."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.harness.real_cluster import RealCluster
from tests.harness.running_program import BIN, clean_environment

pytestmark = pytest.mark.system
PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
# On a host of its own each program finds this file by itself.
WRAPPER = """#!/bin/sh
case "$1 $*" in
"debug "*) shift; exec {program} debug -c {config} "$@" ;;
*" -c "*) exec {program} "$@" ;;
*" --verify "*) exec {program} "$@" ;;
*) exec {program} "$@" -c {config} ;;
esac
"""


def sections() -> dict[str, list[str]]:
    """Return the commands of each section, by its title."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^##+ ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        lines = [
            line[2:] for block in re.findall(r"```console\n(.*?)```", part, re.DOTALL) for line in block.splitlines()
        ]
        found[part.partition("\n")[0]] = lines
    return found


SECTIONS = sections()
# What these change, or need, belongs to other tests: rotations, clones, the removal of keys.
WITH_DATA = {"The master key is lost"}
# The copy that is looked at has the ports of the controller beside it.
BESIDE = "controller doctor -c restored.yaml"


class Host:
    """A controller's host, on which the page's commands can be typed as they stand there."""

    def __init__(self, cluster: RealCluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for name in ("controller", "tctl"):
            path = folder / "bin" / name
            config = shlex.quote(str(cluster.config))
            path.write_text(WRAPPER.format(program=shlex.quote(str(BIN / name)), config=config))
            path.chmod(0o755)

    def type(self, line: str, status: int = 0) -> str:
        """Type a line of the page, which must end with this status, and return what it prints."""
        here = {"/var/lib/skerry": str(self.cluster.data_dir), "/tmp/key": str(self.folder / "key"), "NAME": "edge"}
        for there, place in here.items():
            line = line.replace(there, shlex.quote(place))
        line = line.replace("-o skerry -g skerry ", "")
        environment = clean_environment(SKERRY_BACKUP_PASSPHRASE="insecure correct horse")
        environment["PATH"] = f"{self.folder / 'bin'}:{environment['PATH']}"
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=100,
            check=False,
        )
        assert done.returncode == status, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.mark.timeout(600)
def test_the_commands_of_the_page_work_in_its_order_until_the_controller_is_another(
    cluster: RealCluster, tmp_path: Path
) -> None:
    cluster.keep_ports()
    cluster.add_user("alice")
    edge = cluster.start_agent("edge")
    edge.program.await_line("connected to the broker")
    host = Host(cluster, tmp_path / "host")
    typed = 0
    for title, lines in SECTIONS.items():
        for line in lines if title not in WITH_DATA else []:
            shown = host.type(line, status=int(line == BESIDE))
            assert line != BESIDE or re.findall(r"^(\w.*?) +fail ", shown, re.MULTILINE) == ["ports"], shown
            typed += 1
    assert typed > 25

    # And the one in which something is lost indeed.
    assert cluster.controller.stop() == 0
    (cluster.data_dir / "master.key").unlink()
    for line in SECTIONS["The master key is lost"]:
        host.type(line)
    cluster.start()
    assert "opens the authorities" in host.type("controller doctor")
    cluster.await_tunnel(edge.node_id, since=0)


def test_the_runbook_answers_what_it_is_to_answer() -> None:
    titles = " / ".join(SECTIONS)
    for wanted in (
        "master key",
        "disk is full",
        "cloned",
        "expires",
        "moves",
        "admin",
        "does not come back",
        "upgrade",
    ):
        assert wanted in titles
    text = PAGE.read_text(encoding="utf-8").partition("## Bad days")[2].partition("## The form")[0]
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        assert ("*It shows:*" in part, "*Do:*" in part, "*Good again:*" in part) == (True, True, True), part[:40]
