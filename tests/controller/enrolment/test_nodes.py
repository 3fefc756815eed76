from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from controller.audit import AuditError
from controller.enrolment.nodes import NodeError, NodeRecord, Nodes
from controller.policy.label import LabelChange
from controller.policy.route import Routed, decide_route
from controller.store.interface import Value
from controller.store.tiny import TinyStore
from protocol import limits
from protocol.access import ACCESS
from protocol.certificates import UserIdentity
from protocol.names import NodeId, parse_login, parse_node_name, parse_user_name
from tests.controller.harbour import ADMIN, HandClock, Harbour

FLEET = 10_000


def test_nodes_are_listed_by_name_then_id(harbour: Harbour) -> None:
    made = [harbour.node(name) for name in ("b", "A", "c", "a")]
    listed = harbour.enrolment.nodes.list()
    assert [node.name.lower() for node in listed] == ["a", "a", "b", "c"]
    assert sorted(node.node_id for node in made) == sorted(node.node_id for node in listed)
    assert listed[0].node_id < listed[1].node_id


def test_what_another_process_enrols_is_seen_at_once(harbour: Harbour) -> None:
    store = harbour.store if not isinstance(harbour.store, TinyStore) else TinyStore(harbour.folder / "store")
    here, there = harbour.enrolment.nodes, Nodes(store, harbour.audit, harbour.clock)
    assert list(here.list()) == list(there.list()) == []
    node = harbour.node("one")
    assert list(there.list()) == [node]
    assert there.targets() == {node.node_id: node.target()}
    there.add(replace(node, node_id=NodeId("00000000-0000-4000-8000-000000000001"), name=parse_node_name("two")))
    assert [each.name for each in here.list()] == ["one", "two"]
    store.collection("nodes").delete(node.node_id, now=harbour.clock())
    assert [each.name for each in here.list()] == ["two"]
    assert node.node_id not in here.targets()


def test_a_removed_node_is_gone_at_once_and_the_audit_log_says_who_removed_it(harbour: Harbour) -> None:
    kept, gone = harbour.node("one"), harbour.node("two")
    nodes = harbour.enrolment.nodes
    assert nodes.remove(gone.node_id, ADMIN) == gone
    assert nodes.get(gone.node_id) is None
    assert nodes.targets() == {kept.node_id: kept.target()}
    (entry,) = harbour.entries("SK013I")
    assert entry["event"] == "node.delete"
    told = {"user": "root", "name": "two", "server_id": gone.node_id, "server_hostname": "two", "via": "tctl"}
    assert told.items() <= entry.items()


def test_a_node_that_is_not_enrolled_cannot_be_removed(harbour: Harbour) -> None:
    gone = harbour.node("one")
    harbour.enrolment.nodes.remove(gone.node_id, ADMIN)
    with pytest.raises(NodeError, match=f"node {gone.node_id} not found"):
        harbour.enrolment.nodes.remove(gone.node_id, ADMIN)
    assert len(harbour.entries("node.delete")) == 1


def test_a_node_stays_where_its_removal_cannot_be_audited(harbour: Harbour) -> None:
    node = harbour.node("one")
    log = harbour.folder / "log"
    log.rename(harbour.folder / "moved")
    log.write_text("in the way")
    with pytest.raises(AuditError):
        harbour.enrolment.nodes.remove(node.node_id, ADMIN)
    assert harbour.enrolment.nodes.get(node.node_id) == node


def test_a_list_that_nobody_changed_is_the_very_same(harbour: Harbour) -> None:
    harbour.node("one")
    nodes = harbour.enrolment.nodes
    assert nodes.list() is nodes.list()
    assert nodes.targets() is nodes.targets()


def test_a_node_that_did_not_change_is_the_very_same_whatever_changes_beside_it(harbour: Harbour) -> None:
    kept, changed = harbour.node("one"), harbour.node("two")
    nodes = harbour.enrolment.nodes
    before = {node.node_id: node for node in nodes.list()}
    nodes.relabel(changed.node_id, [LabelChange("env", "prod")], ADMIN)
    after = {node.node_id: node for node in nodes.list()}
    assert after[kept.node_id] is before[kept.node_id]
    assert after[changed.node_id].labels == {"env": "prod"}


def test_an_admin_s_labels_hold_at_once_and_the_audit_log_has_them_before_and_after(harbour: Harbour) -> None:
    node = harbour.node("one", env="dev", site="pier")
    nodes = harbour.enrolment.nodes
    changed = nodes.relabel(node.node_id, [LabelChange("env", "prod"), LabelChange("site", None)], ADMIN)
    assert changed == nodes.get(node.node_id)
    assert (changed.labels, changed.labels_version) == ({"env": "prod"}, int(harbour.clock().timestamp()))
    assert nodes.targets()[node.node_id].labels == {"env": "prod"}
    (entry,) = harbour.entries("SK017I")
    told = {"labels": {"env": "prod"}, "before": {"env": "dev", "site": "pier"}, "server_id": node.node_id}
    assert told.items() <= entry.items()


def test_labels_that_are_as_they_were_raise_no_version_and_no_event(harbour: Harbour) -> None:
    node = harbour.node("one", env="dev")
    assert harbour.enrolment.nodes.relabel(node.node_id, [LabelChange("env", "dev")], ADMIN) == node
    assert harbour.entries("SK017I") == []


def test_more_labels_than_a_node_may_have_change_nothing(harbour: Harbour) -> None:
    node = harbour.node("one")
    changes = [LabelChange(f"l{number}", "x") for number in range(limits.LABELS_MAX + 1)]
    with pytest.raises(NodeError, match=f"{limits.LABELS_MAX} are the most"):
        harbour.enrolment.nodes.relabel(node.node_id, changes, ADMIN)
    assert harbour.enrolment.nodes.get(node.node_id) == node
    assert harbour.entries("SK017I") == []


def test_labels_changed_by_eight_admins_at_once_are_all_there(harbour: Harbour) -> None:
    node = harbour.node("one")
    nodes = harbour.enrolment.nodes
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(nodes.relabel, node.node_id, [LabelChange(f"l{n}", "x")], ADMIN) for n in range(8)]
        for job in jobs:
            job.result()
    changed = nodes.get(node.node_id)
    assert changed is not None
    assert (len(changed.labels), changed.labels_version) == (8, int(harbour.clock().timestamp()) + 7)


def test_labels_given_after_the_records_were_put_back_are_newer_than_those_given_before(harbour: Harbour) -> None:
    node = harbour.node("one")
    nodes = harbour.enrolment.nodes
    before = [nodes.relabel(node.node_id, [LabelChange("env", value)], ADMIN) for value in ("a", "b", "c")]
    found = nodes.find(node.node_id)
    assert found
    assert nodes.replace(found, node)  # as a backup has it, from before there were any
    harbour.clock.move(minutes=1)
    after = nodes.relabel(node.node_id, [LabelChange("env", "d")], ADMIN)
    assert after.labels_version > max(each.labels_version for each in before)


def test_a_node_from_before_there_were_renewals_is_read(harbour: Harbour) -> None:
    node = harbour.node("one")
    old = {
        key: value
        for key, value in node.to_value().items()
        if key not in {"pending", "ephemeral", "attempt", "tls_serials", "renewed", "labels_version", "host_signer"}
    }
    read = NodeRecord.from_value(old)
    assert read == replace(node, tls_serials=(), host_signer="")
    assert (read.pending, read.ephemeral, read.renewed, read.labels_version) == (False, None, None, 0)


def test_a_node_is_read_as_it_was_written(harbour: Harbour) -> None:
    full = replace(harbour.node("one"), pending=True, ephemeral=300, attempt="a" * 32, renewed=harbour.clock())
    assert full.tls_serials
    assert NodeRecord.from_value(json.loads(json.dumps(full.to_value()))) == full


@pytest.mark.parametrize("target", ["gw-9999", "00000000-0000-4000-8000-000000009999", "number=9999"])
def test_a_lookup_among_ten_thousand_nodes_finds_the_one(harbour: Harbour, target: str) -> None:
    node = harbour.node()
    values: dict[str, Value] = {}
    for number in range(FLEET):
        node_id = NodeId(f"00000000-0000-4000-8000-{number:012d}")
        name, labels = parse_node_name(f"gw-{number}"), {"number": str(number)}
        values[node_id] = replace(node, node_id=node_id, name=name, labels=labels).to_value()
    harbour.store.collection("nodes").put_many(values, now=harbour.clock())
    now = HandClock().now
    person = UserIdentity(parse_user_name("alice"), (ACCESS,), (parse_login("pi"),), 1, now, now, frozenset())
    nodes = harbour.enrolment.nodes
    assert len(nodes.targets()) == FLEET + 1
    route = decide_route(target, person=person, nodes=nodes.targets(), offline_since={})
    assert isinstance(route, Routed)
    assert route.node.name == "gw-9999"
