from __future__ import annotations

from dataclasses import replace

import pytest

from controller.audit import AuditError
from controller.enrolment.nodes import NodeError, Nodes
from controller.policy.route import Routed, decide_route
from controller.store.interface import Value
from controller.store.tiny import TinyStore
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
