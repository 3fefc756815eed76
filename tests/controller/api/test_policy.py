"""The policy document as a node gets it that does not reach the broker: from the real process."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.policy.label import LabelChange
from protocol import endpoints
from protocol.control import PolicyDocument
from protocol.decision import Granted
from protocol.endorsement import Endorsed, judge_endorsed, plain_key
from protocol.fields import Fields
from protocol.names import ClusterName, NodeId
from tests.controller.api.running_api import Door, running_api
from tests.controller.harbour import ADMIN, Device

METHOD, PATH = endpoints.POLICY.method, endpoints.POLICY.path


def document(answer: object, *trusted: str) -> PolicyDocument:
    """Read what came as a node does that trusts these host CA keys."""
    keys = [plain_key(key) for key in trusted]
    judged = judge_endorsed(Endorsed.from_dict(answer), "policy", trusted=keys, cluster=ClusterName("harbour"))
    assert isinstance(judged, Granted), judged
    return PolicyDocument.decode(judged.value)


def test_a_node_gets_what_holds_and_a_lock_of_another_process_with_the_next_answer(tmp_path: Path) -> None:
    with running_api(tmp_path, "locking_mode: strict") as door:
        node, context = door.enrol()
        status, answer = door.ask(context, METHOD, PATH)
        assert status == 200
        first = document(answer, *node.host_authorities)
        assert (first.locking_mode, first.locks) == ("strict", ())
        door.cluster.locks.add("user", "alice", "gone", None, ADMIN)
        status, answer = door.ask(context, METHOD, PATH)
        second = document(answer, *node.host_authorities)
        assert [lock.value for lock in second.locks] == ["alice"]
        assert second.version > first.version
        assert Endorsed.from_dict(answer) == door.cluster.control.policy()


def test_a_node_under_a_lock_still_learns_what_holds(door: Door) -> None:
    node, context = door.enrol()
    door.cluster.locks.add("node", node.node_id, "", None, ADMIN)
    status, answer = door.ask(context, METHOD, PATH)
    assert status == 200
    assert node.node_id in [lock.value for lock in document(answer, *node.host_authorities).locks]


def test_what_an_admin_has_changed_about_the_node_stands_beside_it(door: Door) -> None:
    node, context = door.enrol()
    status, answer = door.ask(context, METHOD, PATH)
    assert (status, Fields(answer).take("node", lambda value: value)) == (200, None)
    door.cluster.enrolment.nodes.relabel(node.node_id, [LabelChange("env", "lab")], ADMIN)
    status, answer = door.ask(context, METHOD, PATH)
    told = Fields(answer).take("node", Endorsed.from_dict)
    assert told == door.cluster.control.node_documents()[node.node_id]


@pytest.mark.parametrize("name", ["alice", "00000000-0000-4000-8000-000000000001"])
def test_who_is_no_enrolled_node_is_told_nothing(door: Door, name: str) -> None:
    device = Device()
    chain = door.cluster.authority.sign_node_tls(device.csr, NodeId(name), datetime.now(UTC))
    status, answer = door.ask(door.trust(chain, device.tls_pem), METHOD, PATH)
    assert (status, answer) == (403, {"error": {"message": "this certificate is not a node's of this cluster"}})


def test_where_the_document_cannot_be_made_the_node_is_asked_to_come_again(own_door: Door) -> None:
    _, context = own_door.enrol()
    own_door.cluster.store.collection("authorities").delete("recording", now=datetime.now(UTC))
    status, answer = own_door.ask(context, METHOD, PATH)
    assert (status, answer) == (503, {"error": {"message": "the policy document cannot be had now: ask again later"}})
    own_door.await_log("no recording authority yet")
    assert "Traceback" not in own_door.log()
    own_door.cluster.authority.create_missing(datetime.now(UTC))
    assert own_door.ask(context, METHOD, PATH)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_the_document_is_read_and_nothing_else(door: Door, method: str) -> None:
    _, context = door.enrol()
    assert door.ask(context, method, PATH, b"{}")[0] == 405
