from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.running_door import Identity, RunningDoor, make_identity

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("identity"), "localhost")


@pytest.fixture
def start_door(identity: Identity, tmp_path: Path) -> Iterator[Callable[..., RunningDoor]]:
    doors: list[RunningDoor] = []

    def start(app: str = "echo", **given: object) -> RunningDoor:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        port = listener.getsockname()[1]
        trusted = identity
        spec = {"app": app, "fd": listener.fileno(), "cert": str(identity.cert), "key": str(identity.key)}
        spec |= {"public_address": f"127.0.0.1:{port}"} | given
        log_path = tmp_path / f"door-{port}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.door_process", json.dumps(spec)],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                pass_fds=[listener.fileno()],
                stderr=log,
                stdout=log,
                start_new_session=True,
            )
        listener.close()

        def client() -> ssl.SSLContext:
            return ssl.create_default_context(cafile=str(trusted.cert))

        door = RunningDoor(process, port, log_path, client)
        doors.append(door)
        door.wait_for_log("[test] ready")
        return door

    yield start
    for door in doors:
        try:
            door.stop()
        except subprocess.TimeoutExpired:
            os.killpg(door.process.pid, signal.SIGKILL)
            door.process.wait()
            raise
