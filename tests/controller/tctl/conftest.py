from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.cluster import Cluster, open_cluster
from controller.config import load_config
from tests.controller.tctl.archive import Archive
from tests.harness.warm_program import COMMAND, plain_environment, warm_program

ROOT = Path(__file__).parents[3]
STATIC_TOKEN = "insecure-static-token-for-tests-wxyz"

Tctl = Callable[..., subprocess.CompletedProcess[str]]


def write_config(folder: Path, *more: str) -> Path:
    """Write a controller.yaml whose data directory is `folder`/data; `more` are lines for proxy_service."""
    config = folder / "controller.yaml"
    config.write_text(
        "\n".join(
            [
                f"teleport: {{data_dir: {folder / 'data'}}}",
                "auth_service:",
                "  cluster_name: harbour",
                f'  tokens: ["node:{STATIC_TOKEN}"]',
                "proxy_service:",
                '  web_listen_addr: "127.0.0.1:3080"',
                *(f"  {line}" for line in more),
            ]
        )
    )
    return config


def run_tctl(config: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program from its start to its end."""
    return subprocess.run(
        [*COMMAND, "-c", str(config), *arguments],
        cwd=ROOT,
        env=plain_environment() | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def on_terminal(config: Path, columns: int, *arguments: str) -> list[str]:
    """Run the program on a terminal this wide, and return the lines it shows."""
    command = [sys.executable, "-m", "controller.tctl", "-c", str(config), *arguments]
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=theirs) as program:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is gone with its last user
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
    assert program.returncode == 0
    return shown.decode().replace("\r\n", "\n").splitlines()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, 'public_addr: "skerry.example.com:3080"', f"agent_archives: {tmp_path / 'archives'}")


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """What the controller has to hand out: by its name, an archive."""
    folder = tmp_path / "archives"
    folder.mkdir()
    (folder / "skerry-agent-0.1.0-linux-amd64.tar.gz").touch()
    return folder


@pytest.fixture
def cluster(config: Path) -> Cluster:
    """A cluster that `controller start` has made, as the controller's own processes open it."""
    return open_cluster(load_config(config))


@pytest.fixture
def tctl(config: Path, cluster: Cluster) -> Tctl:
    """The program, on the host of `cluster`."""
    assert cluster.config.data_dir.is_dir()

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        if environment:  # some of it is read when Python starts
            return run_tctl(config, *arguments, **environment)
        return warm_program().run("-c", str(config), *arguments)

    return run


@pytest.fixture
def archive(cluster: Cluster, tmp_path: Path) -> Archive:
    return Archive(cluster, tmp_path)
