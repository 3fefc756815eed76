from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controller.cluster import Cluster
from controller.enrolment.nodes import NodeRecord
from protocol import limits
from protocol.names import NodeId, NodeName

Tctl = Callable[..., subprocess.CompletedProcess[str]]
BUOY = NodeId("11111111-1111-4111-8111-111111111111")
CRANE = NodeId("22222222-2222-4222-8222-222222222222")
TWIN = NodeId("44444444-4444-4444-8444-444444444444")


@pytest.fixture
def fleet(cluster: Cluster) -> None:
    """Have a node, and one that waits."""
    crane = NodeRecord(
        node_id=CRANE,
        name=NodeName("crane"),
        labels={"env": "production", "site": "kiel"},
        ssh_public_key="ssh-ed25519 AAAA",
        generation=1,
        joined=datetime(2026, 11, 1, 12, 0, tzinfo=UTC),
        token="****abcd",
        version="0.1.0",
    )
    cluster.enrolment.nodes.add(crane)
    cluster.enrolment.nodes.add(replace(crane, node_id=BUOY, name=NodeName("buoy"), generation=0, pending=True))


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("named", ["buoy", "BUOY", BUOY])
def test_nodes_approve_lets_in_whom_it_names(tctl: Tctl, cluster: Cluster, named: str) -> None:
    done = tctl("nodes", "approve", named)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f'node "buoy" ({BUOY}) has been approved: it comes online within seconds\n'
    node = cluster.enrolment.nodes.get(BUOY)
    assert node is not None
    assert not node.pending
    (entry,) = cluster.audit.entries(kinds=["node.approve"])
    assert (entry["server_id"], entry["server_hostname"], entry["via"]) == (BUOY, "buoy", "tctl")


@pytest.mark.usefixtures("fleet")
def test_nodes_reject_turns_away_whom_it_names(tctl: Tctl, cluster: Cluster) -> None:
    done = tctl("nodes", "reject", "buoy")
    assert (done.returncode, done.stdout, done.stderr) == (0, f'node "buoy" ({BUOY}) has been rejected\n', "")
    assert cluster.enrolment.nodes.get(BUOY) is None
    assert len(list(cluster.audit.entries(kinds=["node.reject"]))) == 1


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("act", ["approve", "reject"])
@pytest.mark.parametrize("named", ["crane", "bouy", "", CRANE])
def test_a_node_that_does_not_wait_is_one_line(tctl: Tctl, cluster: Cluster, act: str, named: str) -> None:
    done = tctl("nodes", act, named)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f'ERROR: no node "{named}" waits for approval: `tctl nodes ls -v` lists them\n'
    assert len(cluster.enrolment.nodes.list()) == 2


@pytest.mark.usefixtures("fleet")
def test_of_two_that_wait_under_one_name_the_admin_says_which(tctl: Tctl, cluster: Cluster) -> None:
    buoy = cluster.enrolment.nodes.get(BUOY)
    assert buoy is not None
    cluster.enrolment.nodes.add(replace(buoy, node_id=TWIN, labels={"env": "lab"}))
    done = tctl("nodes", "approve", "buoy")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "ERROR: 2 nodes are named buoy: say which one by its UUID"
    assert sorted(line.split()[1] for line in lines[4:6]) == [BUOY, TWIN]
    assert tctl("nodes", "approve", TWIN).returncode == 0


@pytest.mark.usefixtures("fleet")
def test_one_that_waits_is_approved_by_a_name_that_a_node_bears_already(tctl: Tctl, cluster: Cluster) -> None:
    buoy = cluster.enrolment.nodes.get(BUOY)
    assert buoy is not None
    cluster.enrolment.nodes.add(replace(buoy, node_id=TWIN, name=NodeName("crane")))
    assert tctl("nodes", "approve", "crane").returncode == 0
    twin = cluster.enrolment.nodes.get(TWIN)
    assert twin is not None
    assert not twin.pending


@pytest.mark.usefixtures("fleet")
def test_nodes_label_sets_and_takes_off_and_prints_what_holds_now(tctl: Tctl, cluster: Cluster) -> None:
    done = tctl("nodes", "label", "crane", "env=staging", "site-", "owner=ops")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f'node "crane" ({CRANE}) has the labels: env=staging, owner=ops\n'
    node = cluster.enrolment.nodes.get(CRANE)
    assert node is not None
    assert node.labels == {"env": "staging", "owner": "ops"}
    assert node.labels_version
    (entry,) = cluster.audit.entries(kinds=["node.label"])
    assert entry["before"] == {"env": "production", "site": "kiel"}
    bare = tctl("nodes", "label", CRANE, "env-", "owner-", "--format=json")
    assert json.loads(bare.stdout) == {"node_id": CRANE, "name": "crane", "labels": {}}
    again = tctl("nodes", "label", "crane", "env-")
    assert (again.returncode, again.stdout) == (0, f'node "crane" ({CRANE}) has the labels: none\n')
    assert again.stderr == 'WARNING: node "crane" has no label env that could be taken off\n'


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("change", ["env", "=x", "env=a,b", "a b-"])
def test_what_is_no_change_of_a_label_is_misuse(tctl: Tctl, cluster: Cluster, change: str) -> None:
    done = tctl("nodes", "label", "crane", change)
    assert (done.returncode, done.stdout) == (2, "")
    assert list(cluster.audit.entries(kinds=["node.label"])) == []


@pytest.mark.usefixtures("fleet")
def test_more_labels_than_a_node_may_have_are_one_line(tctl: Tctl) -> None:
    done = tctl("nodes", "label", "crane", *(f"l{number}=x" for number in range(limits.LABELS_MAX)))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"and {limits.LABELS_MAX} are the most" in done.stderr
