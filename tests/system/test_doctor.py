"""`controller doctor` beside a controller that runs, one that does not, and ones to which something has happened."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.harness.real_cluster import RealCluster
from tests.harness.running_program import BIN, clean_environment

pytestmark = pytest.mark.system


def ask(cluster: RealCluster, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "controller"), "doctor", "-c", str(cluster.config), *options],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=clean_environment(),
        timeout=100,
        check=False,
    )


def findings(cluster: RealCluster, status: int) -> dict[str, tuple[str, str]]:
    """Return what was found by check: how it stands, and what was seen."""
    done = ask(cluster, "--format", "json")
    assert done.returncode == status, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert all(bool(each["mend"]) == (each["state"] != "ok") for each in found)
    return {each["check"]: (each["state"], each["found"]) for each in found}


@pytest.mark.timeout(400)
def test_a_controller_is_found_well_and_then_what_has_happened_to_it(cluster: RealCluster) -> None:
    cluster.keep_ports()
    edge = cluster.start_agent("edge")
    edge.program.await_line("connected to the broker")
    well = findings(cluster, 0)
    doors = [f"{name} door" for name in ("web", "machine API", "client", "tunnel", "MQTT")]
    assert {well[check][0] for check in (*doors, "controller", "broker", "master key", "audit log", "nodes")} == {"ok"}
    assert well["nodes"][1] == "1 node, 0 offline"
    assert well["backup"] == ("warn", "none was ever made here")
    assert not list((cluster.data_dir / "tls").glob("probe*"))
    text = ask(cluster)
    assert text.stdout.startswith("Check ")
    shown = cluster.data_dir / "tls" / "web.crt"
    shown.rename(shown.with_name("away"))
    state, said = findings(cluster, 1)["certificate of the web door"]
    assert (state, "web.crt cannot be read" in said) == ("fail", True)
    shown.with_name("away").rename(shown)
    assert "\n  backup: controller backup FILE" in text.stdout

    data_dir = cluster.data_dir
    data_dir.chmod(0o755)
    assert findings(cluster, 1)["data directory"][0] == "fail"
    data_dir.chmod(0o700)

    assert cluster.controller.stop() == 0
    cluster.controller.await_silence()
    idle = findings(cluster, 0)
    assert (idle["controller"], idle["ports"][0]) == (("warn", "none runs here"), "ok")
    assert "web door" not in idle
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", cluster.port("web")))
        other.listen()
        state, found = findings(cluster, 1)["ports"]
    assert (state, "proxy_service.web_listen_addr" in found) == ("fail", True)


def test_a_controller_that_hangs_and_one_whose_files_are_gone_are_told_from_one_that_is_well(
    cluster: RealCluster,
) -> None:
    cluster.keep_ports()
    cluster.controller.send(signal.SIGSTOP)
    state, found = findings(cluster, 1)["controller"]
    assert (state, "gives no answer" in found) == ("fail", True)
    cluster.controller.send(signal.SIGCONT)
    assert cluster.controller.stop() == 0

    log = next((cluster.data_dir / "log").glob("*.log"))
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b"cluster.create", b"cluster.creatE"))
    assert findings(cluster, 1)["audit log"][0] == "fail"
    log.write_bytes(whole)
    key = cluster.data_dir / "master.key"
    key.rename(key.with_name("away"))
    assert "has lost its master key" in findings(cluster, 1)["master key"][1]
    key.with_name("away").rename(key)
    key.chmod(0o644)
    assert "may be read by others" in findings(cluster, 1)["master key"][1]
    key.chmod(0o600)
    assert findings(cluster, 0)["master key"][0] == "ok"


def test_a_host_on_which_nothing_was_started_yet_and_a_configuration_that_is_wrong(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path)
    found = findings(cluster, 0)
    assert found["data directory"][0] == found["cluster"][0] == "warn"
    assert not cluster.data_dir.exists()
    cluster.config.write_text("teleport: {data_dri: /x}")
    found = findings(cluster, 1)
    assert list(found) == ["configuration"]
    assert "data_dri" in found["configuration"][1]
