"""How many nodes a rotation still waits for: by which key signed what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from controller.authority import RotatableKind
from controller.cluster import Cluster, open_cluster
from controller.config import parse_config
from controller.overview import overlook
from controller.policy.rotation import Phase
from protocol.decision import Granted
from protocol.names import NodeId
from tests.controller.harbour import PING, STATIC, WEB, Device, HandClock

CONFIG = f"""
teleport: {{data_dir: DATA}}
mqtt: {{broker: none}}
auth_service: {{cluster_name: harbour, tokens: ['node:{STATIC}']}}
"""


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def cluster(tmp_path: Path, clock: HandClock) -> Cluster:
    return open_cluster(parse_config(CONFIG.replace("DATA", str(tmp_path / "data")), "controller.yaml"), clock)


def join(cluster: Cluster, device: Device) -> NodeId:
    joined = cluster.enrolment.join(device.request(STATIC), PING, WEB)
    assert isinstance(joined, Granted), joined
    return joined.value.node_id


def turn(cluster: Cluster, clock: HandClock, kind: RotatableKind, phases: Sequence[Phase]) -> None:
    for phase in phases:
        cluster.authority.rotate(kind, phase, clock())
        clock.move(seconds=5)


def awaited(cluster: Cluster, kind: RotatableKind) -> int | None:
    names = overlook(cluster).authorities[kind].awaited
    return None if names is None else len(names)


@pytest.mark.parametrize("phases", [("init", "rollback"), ("init", "update_clients", "rollback")])
def test_a_rollback_of_the_host_ca_from_before_nodes_renewed_waits_for_nobody(
    cluster: Cluster, clock: HandClock, phases: Sequence[Phase]
) -> None:
    for name in ("a", "b"):
        join(cluster, Device(name))
    clock.move(hours=1)
    turn(cluster, clock, "host", phases)
    assert awaited(cluster, "host") == 0


def test_a_node_that_joined_when_the_new_tls_key_signed_already_is_not_waited_for(
    cluster: Cluster, clock: HandClock
) -> None:
    old = Device("a")
    node = join(cluster, old)
    clock.move(hours=1)
    turn(cluster, clock, "tls", ("init", "update_clients"))
    join(cluster, Device("b"))
    clock.move(seconds=5)
    turn(cluster, clock, "tls", ("update_servers",))
    assert awaited(cluster, "tls") == 1
    challenge = cluster.enrolment.challenge(node).challenge
    assert isinstance(cluster.enrolment.renew(old.renewal(node, 1, challenge, "a" * 32), PING, WEB), Granted)
    assert awaited(cluster, "tls") == 0
    turn(cluster, clock, "tls", ("rollback",))
    assert awaited(cluster, "tls") == 2  # they hold what the new key signed


@pytest.mark.parametrize("kind", ["host", "tls"])
def test_of_a_node_certified_before_signers_were_noted_the_time_tells(
    cluster: Cluster, clock: HandClock, kind: RotatableKind
) -> None:
    found = cluster.enrolment.nodes.find(join(cluster, Device("a")))
    assert found
    unknown = tuple(replace(held, signer="") for held in found.node.tls_serials)
    cluster.enrolment.nodes.replace(found, replace(found.node, host_signer="", tls_serials=unknown))
    clock.move(hours=1)
    turn(cluster, clock, kind, ("init", "update_clients", "update_servers"))
    assert awaited(cluster, kind) == 1
