"""A broker that is none of the controller's: mosquitto, on the configuration that the controller prints for it."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.broker.mosquitto import find_mosquitto
from tests.harness.real_cluster import RealCluster
from tests.harness.running_program import BIN, PATIENCE


def free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def berth() -> Iterator[int]:
    """Keep a port of loopback for a broker, which binds it beside this: nobody else is given it meanwhile."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


@contextmanager
def other_broker(cluster: RealCluster, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run it for a cluster whose controller has started, as ourselves; what it remembers is kept in `folder`."""
    command = [str(BIN / "controller"), "configure", "--broker", "mosquitto"]
    command += ["--directory", str(cluster.data_dir / "broker")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    here = printed.replace("listener 8883", f"listener {port} 127.0.0.1").replace("/var/lib/mosquitto/", f"{folder}/")
    settings = folder.with_name("mosquitto.conf")
    settings.write_text(f"{here}user {pwd.getpwuid(os.geteuid()).pw_name}\n", encoding="utf-8")
    with subprocess.Popen([find_mosquitto(), "-c", settings], stderr=subprocess.DEVNULL) as broker:
        try:
            yield broker
        finally:
            broker.terminate()
