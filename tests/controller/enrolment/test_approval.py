from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from controller.audit import AuditError
from controller.enrolment.nodes import NodeError, Nodes
from controller.origin import Origin
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.messages import JoinReply
from protocol.names import NodeId
from tests.controller.harbour import ADMIN, Device, Harbour

A, B = "a" * 32, "b" * 32


def waiting(harbour: Harbour, device: Device, token: str, **labels: str) -> JoinReply:
    answer = harbour.join(device.request(token, labels=labels))
    assert isinstance(answer, Granted), answer
    assert answer.value.pending
    return answer.value


def record(harbour: Harbour, node: str) -> Any:  # noqa: ANN401 - a node, or None
    return harbour.enrolment.nodes.get(NodeId(node))


def test_a_device_with_such_a_token_waits_and_has_no_certificates(harbour: Harbour) -> None:
    reply = waiting(harbour, Device(), harbour.token(approve=True, labels={"env": "lab"}), site="pier")
    assert (reply.generation, reply.host_certificate, reply.tls_certificate) == (0, "", "")
    assert reply.host_authorities == harbour.authority.ssh_authorities("host")
    assert reply.labels == {"env": "lab", "site": "pier"}
    node = record(harbour, reply.node_id)
    assert (node.pending, node.generation, node.tls_serials) == (True, 0, ())
    assert reply.node_id not in harbour.enrolment.nodes.targets()
    assert [each.node_id for each in harbour.enrolment.nodes.list()] == [reply.node_id]
    (entry,) = harbour.entries("SK014I")
    assert (entry["host_id"], entry["node_name"]) == (reply.node_id, "gw-1")
    assert harbour.entries("TJ002I") == []


def test_an_approved_device_gets_its_first_certificates_when_it_asks(harbour: Harbour) -> None:
    device = Device()
    node = waiting(harbour, device, harbour.token(approve=True)).node_id
    answer = harbour.renew(device, node, 0, A)
    assert isinstance(answer, Granted)
    assert answer.value.pending
    harbour.enrolment.nodes.approve(NodeId(node), ADMIN)
    first = harbour.renew(device, node, 0, A)
    assert isinstance(first, Granted)
    assert (first.value.pending, first.value.generation) == (False, 1)
    assert first.value.host_certificate
    repeated = harbour.renew(device, node, 0, A)
    assert isinstance(repeated, Granted)
    assert repeated.value.generation == 1
    assert isinstance(harbour.renew(device, node, 1, B), Granted)
    assert node in harbour.enrolment.nodes.targets()
    told = [entry["event"] for entry in harbour.audit.entries()]
    assert [event for event in told if event.startswith(("node.", "instance."))] == [
        "node.pending",
        "node.approve",
        "instance.join",
        "node.renew",
        "node.renew",
    ]


def test_a_rejected_device_is_gone_and_its_token_is_good_for_it_no_more(harbour: Harbour) -> None:
    device, token = Device(), harbour.token(approve=True)
    node = waiting(harbour, device, token).node_id
    harbour.enrolment.nodes.reject(NodeId(node), ADMIN)
    answer = harbour.renew(device, node, 0)
    assert isinstance(answer, Refused)
    assert answer.check == "N1"
    again = harbour.join(device.request(token))
    assert isinstance(again, Refused)
    assert again.check == "J3"
    (entry,) = harbour.entries("SK016I")
    assert (entry["server_id"], entry["user"]) == (node, "root")
    assert harbour.entries("SK013I") == []


def test_a_join_whose_answer_was_lost_is_repeated_without_a_second_event(harbour: Harbour) -> None:
    device, token = Device(), harbour.token(approve=True)
    node = waiting(harbour, device, token).node_id
    assert waiting(harbour, device, token).node_id == node
    assert len(harbour.entries("SK014I")) == 1
    harbour.enrolment.nodes.approve(NodeId(node), ADMIN)
    answer = harbour.join(device.request(token))
    assert isinstance(answer, Granted)
    assert (answer.value.pending, answer.value.generation, answer.value.node_id) == (False, 1, node)


def test_what_the_admin_has_seen_is_what_the_admin_approves(harbour: Harbour) -> None:
    device, token = Device(), harbour.token(approve=True)
    node = waiting(harbour, device, token, site="pier").node_id
    device.name = "another"
    waiting(harbour, device, token, site="vault")
    assert (record(harbour, node).name, record(harbour, node).labels) == ("gw-1", {"site": "pier"})
    harbour.enrolment.nodes.approve(NodeId(node), ADMIN)
    answer = harbour.join(device.request(token, labels={"site": "vault"}))
    assert isinstance(answer, Granted)
    assert (answer.value.name, answer.value.labels) == ("gw-1", {"site": "pier"})


def test_a_device_that_waits_may_bring_another_token(harbour: Harbour) -> None:
    device = Device()
    node = waiting(harbour, device, harbour.token(approve=True)).node_id
    assert waiting(harbour, device, harbour.token(approve=True)).node_id == node
    assert len(harbour.entries("SK014I")) == 2
    answer = harbour.join(device.request(harbour.token()))
    assert isinstance(answer, Granted)
    assert (answer.value.node_id, answer.value.generation, answer.value.pending) == (node, 1, False)


def test_a_node_cannot_join_again_with_a_token_that_asks_for_approval(harbour: Harbour) -> None:
    device = Device()
    assert isinstance(harbour.join(device.request(harbour.token())), Granted)
    token = harbour.token(approve=True)
    answer = harbour.join(device.request(token))
    assert isinstance(answer, Refused)
    assert answer.check == "J10"
    waiting(harbour, Device(), token)  # it was not spent


def test_only_so_many_may_wait(harbour: Harbour) -> None:
    device = Device()
    node = waiting(harbour, device, harbour.token(approve=True))
    value = record(harbour, node.node_id).to_value()
    many = {f"00000000-0000-4000-8000-{number:012d}": value for number in range(limits.PENDING_NODES_MAX - 1)}
    ids = {key: {**value, "node_id": key} for key, value in many.items()}
    harbour.store.collection("nodes").put_many(ids, now=harbour.clock())
    answer = harbour.join(Device().request(harbour.token(approve=True)))
    assert isinstance(answer, Refused)
    assert answer.check == "J11"
    assert isinstance(harbour.join(Device().request(harbour.token())), Granted)
    waiting(harbour, device, harbour.token(approve=True))  # it waits already


def test_a_node_that_does_not_wait_is_neither_approved_nor_rejected(harbour: Harbour) -> None:
    node = harbour.node()
    with pytest.raises(NodeError, match="does not wait for approval"):
        harbour.enrolment.nodes.approve(node.node_id, ADMIN)
    with pytest.raises(NodeError, match="does not wait for approval"):
        harbour.enrolment.nodes.reject(node.node_id, ADMIN)
    assert harbour.enrolment.nodes.get(node.node_id) == node
    assert harbour.entries("SK015I", "SK016I") == []


def test_nobody_is_approved_whom_the_audit_log_cannot_be_told_of(harbour: Harbour) -> None:
    node = waiting(harbour, Device(), harbour.token(approve=True)).node_id
    with harbour.unwritable_log(), pytest.raises(AuditError):
        harbour.enrolment.nodes.approve(NodeId(node), ADMIN)
    assert record(harbour, node).pending


def test_a_locked_device_that_waits_is_refused(harbour: Harbour) -> None:
    device = Device()
    node = waiting(harbour, device, harbour.token(approve=True)).node_id
    harbour.locks.add("node", node, "", None, ADMIN)
    answer = harbour.renew(device, node, 0)
    assert isinstance(answer, Refused)
    assert answer.check == "N4"


def test_of_many_admins_who_decide_at_once_one_does_and_there_is_one_event(harbour: Harbour) -> None:
    node = NodeId(waiting(harbour, Device(), harbour.token(approve=True)).node_id)
    others = [Nodes(harbour.store, harbour.audit, harbour.clock) for _ in range(4)]
    gate = threading.Barrier(4)

    def decide(act: Callable[[NodeId, Origin], object]) -> bool:
        gate.wait()
        try:
            act(node, ADMIN)
        except NodeError:
            return False
        return True

    acts = [others[0].approve, others[1].reject, others[2].approve, others[3].reject]
    with ThreadPoolExecutor(4) as pool:
        assert sum(job.result() for job in [pool.submit(decide, act) for act in acts]) == 1
    approved, rejected = harbour.entries("SK015I"), harbour.entries("SK016I")
    assert len(approved) + len(rejected) == 1
    assert (record(harbour, node) is None) == bool(rejected)
