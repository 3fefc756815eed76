"""Which device a person means, and what they are told when it is none."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.harness.real_cluster import LOGIN, RealCluster
from tests.harness.standings import until_status
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system


def complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return what `tsh ssh` says where it did not get through."""
    assert done.returncode == 255, done
    assert done.stdout == b""
    return done.stderr.decode()


@pytest.mark.parametrize("way", ["name", "name in capitals", "UUID", "one label", "two labels"])
def test_device_is_found_by(harbour: Harbour, way: str) -> None:
    targets = {
        "name": "edge-2",
        "name in capitals": "EDGE-2",
        "UUID": harbour.edge_2.node_id,
        "one label": "site=lighthouse",
        "two labels": "env=staging,site=lighthouse",
    }
    done = harbour.cluster.tsh(harbour.alice, "ssh", f"{LOGIN}@{targets[way]}", "echo $SSH_SKERRY_HOST_UUID")
    assert done.stdout.decode() == f"{harbour.edge_2.node_id}\n", done.stderr


def test_command_for_a_label_runs_on_every_device_that_bears_it(harbour: Harbour) -> None:
    done = harbour.cluster.tsh(harbour.alice, "ssh", f"{LOGIN}@env=staging", "echo from $SSH_SKERRY_NODE_NAME")
    assert done.returncode == 0
    assert done.stdout.decode() == "".join(
        f"Running command on {name}:\nfrom {name}\n" for name in ("edge-1", "edge-2")
    )


def test_name_that_nobody_bears_is_unknown(harbour: Harbour) -> None:
    said = complaint(harbour.cluster.tsh(harbour.alice, "ssh", f"{LOGIN}@nowhere", "true"))
    assert said == 'ERROR: no node "nowhere" in this cluster: `tsh ls` lists the nodes you may reach\n'


def test_name_that_several_bear_lists_them_with_two_hints(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    red = cluster.start_agent("twin", "colour=red", folder="red")
    blue = cluster.start_agent("twin", "colour=blue", folder="blue")
    said = complaint(cluster.tsh(alice, "ssh", f"{LOGIN}@twin", "true"))
    rows = sorted([(red.node_id, "colour=red"), (blue.node_id, "colour=blue")])
    dashes = r"-+ -+ -+ -+ -+ *\n"
    table = "".join(rf"twin +{node_id} online +⟵ Tunnel {label} *\n" for node_id, label in rows)
    assert re.fullmatch(
        r"ERROR: ambiguous host could match multiple nodes\n"
        r"\n"
        rf"Node Name Node ID +Status +Address +Labels *\n{dashes}{table}"
        r"\n"
        r"Hint: try addressing the node by unique id \(ex: tsh ssh user@node-id\)\n"
        r"Hint: use 'tsh ls -v' to list all nodes with their unique ids\n",
        said,
    ), said
    for agent, colour in ((red, "red"), (blue, "blue")):
        for target in (agent.node_id, f"colour={colour}"):
            done = cluster.tsh(alice, "ssh", f"{LOGIN}@{target}", "echo $PPID")
            assert int(done.stdout) == agent.program.pid


def test_device_that_went_away_is_offline_since_then_and_stays_listed(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    agent = cluster.start_agent("edge-1")
    mark = cluster.controller.mark()
    agent.program.stop()
    cluster.controller.await_line(f"node {agent.node_id} disconnected", since=mark)
    until_status(cluster, agent, "offline")
    said = complaint(cluster.tsh(alice, "ssh", f"{LOGIN}@edge-1", "true"))
    assert re.fullmatch(
        r'ERROR: node "edge-1" is offline since \d\d \w{3} \d{4} \d\d:\d\d:\d\d UTC \(\d+ (second|minute)s? ago\)'
        r"(, the agent was stopped)?: "
        r"it is reachable again as soon as it connects\n",
        said,
    ), said
    assert "edge-1" in cluster.tsh(alice, "ls").stdout.decode()
    cluster.restart_agent(agent)
    back = cluster.tsh(alice, "ssh", f"{LOGIN}@edge-1", "true")
    assert back.returncode == 0, back.stderr.decode()


def test_removed_person_is_refused_at_the_door_and_it_is_audited(harbour: Harbour) -> None:
    cluster = harbour.cluster
    trudy = cluster.add_user("trudy")
    cluster.sign_in(trudy)
    assert cluster.tsh(trudy, "ssh", "edge-1", "true").returncode == 0
    cluster.tctl("users", "rm", "trudy")
    said = complaint(cluster.tsh(trudy, "ssh", "edge-1", "true"))
    assert re.fullmatch(
        r"ERROR: the proxy at \S+ refused your certificate; log in again: tsh login --proxy=\S+ --user=trudy\n", said
    )
    event = cluster.await_event("auth", door="client", check="P1")
    assert event["code"] == "T3007W"
    assert "trudy" in event["error"]
    assert cluster.tsh(trudy, "ls").returncode != 0
