"""The broker as the controller's child: started, watched, told, and gone with it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.broker.mosquitto import USER
from tests.harness.other_broker import berth, other_broker
from tests.harness.real_cluster import RealCluster
from tests.harness.running_program import BIN, PATIENCE, await_pid_end

pytestmark = pytest.mark.system


def address_of(cluster: RealCluster) -> tuple[str, int]:
    return "127.0.0.1", cluster.port("mqtt")


def await_door(cluster: RealCluster) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError), socket.create_connection(address_of(cluster), timeout=PATIENCE):
            return
        assert time.monotonic() < deadline, "the broker does not listen"
        time.sleep(0.02)


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_the_broker_runs_as_nobody_of_importance_and_its_files_are_closed_to_others(cluster: RealCluster) -> None:
    await_door(cluster)
    uid = pwd.getpwnam(USER).pw_uid if os.geteuid() == 0 else os.geteuid()
    assert owner_of(cluster.role_pid("broker")) == uid
    assert cluster.data_dir.stat().st_mode & 0o777 == 0o700
    assert (cluster.data_dir / "broker" / "server.key").stat().st_mode & 0o777 == 0o600


def test_a_broker_that_was_killed_is_started_again_where_it_was(cluster: RealCluster) -> None:
    await_door(cluster)
    port, mark = cluster.port("mqtt"), cluster.controller.mark()
    os.kill(cluster.role_pid("broker"), signal.SIGKILL)
    cluster.controller.await_line(r"ERROR \[CONTROLLER\] broker ended \(killed by SIGKILL\)", since=mark)
    cluster.controller.await_line(r"broker started, pid", since=mark)
    await_door(cluster)
    assert cluster.port("mqtt") == port


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_broker_ends_with_its_controller_however_that_ends(cluster: RealCluster, number: signal.Signals) -> None:
    await_door(cluster)
    broker = cluster.role_pid("broker")
    cluster.controller.send(number)
    await_pid_end(broker)


def test_what_is_locked_and_removed_reaches_the_broker_s_files_and_its_process_stays(cluster: RealCluster) -> None:
    node = cluster.start_agent("edge-1").node_id
    await_door(cluster)
    broker = cluster.role_pid("broker")
    access = cluster.data_dir / "broker" / "acl"
    assert node not in access.read_text()
    cluster.tctl("nodes", "rm", node)
    deadline = time.monotonic() + PATIENCE
    while f"user {node}\ntopic deny #\n" not in access.read_text():
        assert time.monotonic() < deadline, access.read_text()
        time.sleep(0.05)
    while "Serial Number:" not in revoked_of(cluster):  # each file is replaced by itself, one after the other
        assert time.monotonic() < deadline, revoked_of(cluster)
        time.sleep(0.05)
    assert cluster.role_pid("broker") == broker


def revoked_of(cluster: RealCluster) -> str:
    """Return what OpenSSL reads in the broker's list of revoked certificates."""
    shown = subprocess.run(
        ["openssl", "crl", "-noout", "-text", "-in", cluster.data_dir / "broker" / "revoked.crl"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return shown.stdout


def test_a_rotation_starts_the_broker_again_without_an_error(cluster: RealCluster) -> None:
    await_door(cluster)
    mark = cluster.controller.mark()
    cluster.tctl("auth", "rotate", "--type", "tls", "--phase", "init")
    cluster.controller.await_line(r"has changed: it is started again", since=mark)
    cluster.controller.await_line(r"broker started, pid", since=mark)
    await_door(cluster)
    assert not cluster.controller.find(r"ERROR .*broker ended", since=mark)


def test_without_a_broker_there_is_no_child_and_no_address(make_cluster: Callable[..., RealCluster]) -> None:
    cluster = make_cluster({"mqtt": {"broker": "none"}}).start()
    assert "mqtt" not in json.loads((cluster.data_dir / "addresses.json").read_text())
    assert not cluster.controller.find(r"broker started")
    assert not (cluster.data_dir / "broker").exists()


@pytest.fixture
def port() -> Iterator[int]:
    """Keep a port for another broker."""
    with berth() as kept:
        yield kept


def test_another_broker_runs_on_the_configuration_that_is_printed_and_the_files_that_are_kept(
    make_cluster: Callable[..., RealCluster], port: int, tmp_path: Path
) -> None:
    section = {"broker": "external", "url": f"mqtts://localhost:{port}"}
    cluster = make_cluster({"mqtt": section}).start()
    assert not cluster.controller.find(r"broker started")
    memory = tmp_path / "memory"
    memory.mkdir()
    mark = cluster.controller.mark()
    with other_broker(cluster, port, memory) as broker:
        node = cluster.start_agent("edge-1").node_id
        # The presence role, which had no broker until now, comes to this one and remembers the node there.
        deadline = time.monotonic() + PATIENCE
        while not any(node.encode() in path.read_bytes() for path in memory.iterdir()):
            assert broker.poll() is None
            assert time.monotonic() < deadline, cluster.controller.log()[mark:]
            time.sleep(0.1)
        cluster.tctl("nodes", "rm", node)
        cluster.controller.await_line(r"/broker has changed: bring it to the broker, and reload that", since=mark)


def test_a_port_that_somebody_listens_on_is_one_line_before_anything_is_made(
    make_cluster: Callable[..., RealCluster],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        cluster = make_cluster({"mqtt": {"listen_addr": f"127.0.0.1:{other.getsockname()[1]}"}})
        done = subprocess.run(
            [BIN / "controller", "start", "-c", cluster.config],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: mqtt.listen_addr: cannot listen on 127.0.0.1:")
    assert not cluster.data_dir.exists()
