"""The diagnostics address of a running controller, as Prometheus and a supervisor ask it."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.real_cluster import RealCluster
from tests.harness.running_program import PATIENCE

pytestmark = pytest.mark.system
DOORS = ("store", "audit", "broker", "web", "api", "ssh", "tunnel")


def ask(cluster: RealCluster, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{cluster.address('diag')}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as err:
        with err:
            return err.code, err.read().decode()


def readiness(cluster: RealCluster) -> Mapping[str, Any]:
    checks: Mapping[str, Any] = json.loads(ask(cluster, "/readyz")[1])["checks"]
    return checks


def nodes(cluster: RealCluster) -> dict[str, float]:
    families = text_string_to_metric_families(ask(cluster, "/metrics")[1])
    (family,) = (family for family in families if family.name == "skerry_nodes")
    return {sample.labels["status"]: sample.value for sample in family.samples if sample.value}


def eventually(holds: Callable[[], bool]) -> None:
    """Ask again until it holds: what is asked for is another process's to learn."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_controller_says_that_it_is_ready_names_what_hangs_and_counts_its_nodes(
    make_cluster: Callable[..., RealCluster],
) -> None:
    cluster = make_cluster({"teleport": {"diag_addr": ":0"}}).start()
    assert cluster.address("diag").startswith("127.0.0.1:")
    eventually(lambda: readiness(cluster) == dict.fromkeys(DOORS, "ok"))
    agent = cluster.start_agent("edge-1")
    eventually(lambda: nodes(cluster) == {"online": 1})
    pid = cluster.role_pid("presence")
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: readiness(cluster)["broker"] != "ok")
        assert ask(cluster, "/readyz")[0] == 503
        assert ask(cluster, "/healthz")[0] == 200
        eventually(lambda: nodes(cluster) == {"stale": 1})
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: readiness(cluster)["broker"] == "ok")
    told = json.loads(cluster.tctl("status", "--format", "json").stdout)
    assert (told["running"], told["broker"]["up"]) == (True, True)
    agent.program.stop()
    # The machine API notes whoever comes without a certificate: the probe brings one.
    assert cluster.controller.find(r"\[API\].*TLS: PEER_DID_NOT_RETURN") == []
