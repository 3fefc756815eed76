"""Joins of devices that the controller knows by their key: lost answers, lost certificates, other tokens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from controller.audit import AuditError
from controller.policy.label import LabelChange
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.messages import JoinReply, JoinRequest
from protocol.names import NodeId
from tests.controller.harbour import ADMIN, STATIC, Device, Harbour


def joined(harbour: Harbour, request: JoinRequest) -> JoinReply:
    answer = harbour.join(request)
    assert isinstance(answer, Granted), answer
    return answer.value


def refusal(harbour: Harbour, request: JoinRequest) -> str:
    answer = harbour.join(request)
    assert isinstance(answer, Refused), answer
    return answer.check


def test_a_device_that_joins_again_with_its_key_is_the_node_that_it_was(harbour: Harbour) -> None:
    device = Device()
    first = joined(harbour, device.request(harbour.token(labels={"env": "lab"}), labels={"site": "pier"}))
    harbour.clock.move(days=90)
    device.name = "gw-renamed"
    second = joined(harbour, device.request(harbour.token(labels={"env": "prod"}), labels={"site": "quay"}))
    assert (second.node_id, second.generation) == (first.node_id, 2)
    assert (second.name, second.labels) == ("gw-renamed", {"env": "prod", "site": "pier"})
    (node,) = harbour.enrolment.nodes.list()
    assert (node.name, node.generation, node.attempt, node.labels_version) == ("gw-renamed", 2, "", 0)
    assert node.renewed == harbour.clock()
    assert node.joined == harbour.clock() - timedelta(days=90)
    assert [entry["generation"] for entry in harbour.entries("TJ002I")] == [1, 2]
    assert isinstance(harbour.renew(device, first.node_id, 2), Granted)


def test_a_node_keeps_its_labels_with_a_fresh_token_that_fixes_none_whatever_the_device_says(harbour: Harbour) -> None:
    device = Device()
    joined(harbour, device.request(harbour.token(labels={"env": "lab"}), labels={"site": "pier"}))
    assert joined(harbour, device.request(harbour.token())).labels == {"env": "lab", "site": "pier"}
    claims = {"env": "prod", "site": "quay", "team": "payments"}
    assert joined(harbour, device.request(harbour.token(), labels=claims)).labels == {"env": "lab", "site": "pier"}


def test_a_removed_device_is_a_new_node_and_keeps_no_labels(harbour: Harbour) -> None:
    device = Device()
    first = joined(harbour, device.request(harbour.token(labels={"env": "lab"})))
    harbour.enrolment.nodes.remove(first.node_id, ADMIN)
    assert joined(harbour, device.request(harbour.token(), labels={"site": "quay"})).labels == {"site": "quay"}


def test_a_token_that_this_very_key_has_spent_may_be_repeated_until_it_expires(harbour: Harbour) -> None:
    device, token = Device(), harbour.token()
    first = joined(harbour, device.request(token))
    again = joined(harbour, device.request(token))
    assert (again.node_id, again.generation) == (first.node_id, 2)
    assert refusal(harbour, Device().request(token)) == "J3"
    harbour.clock.now += limits.JOIN_TOKEN_TTL
    assert refusal(harbour, device.request(token)) == "J2"


def test_a_token_that_was_spent_orders_no_other_name_and_no_other_labels(harbour: Harbour) -> None:
    device, token = Device("kiosk"), harbour.token()
    joined(harbour, device.request(token, labels={"env": "dev"}))
    device.name = "pump"
    again = joined(harbour, device.request(token, labels={"env": "prod", "team": "payments"}))
    assert (again.name, again.labels) == ("kiosk", {"env": "dev"})


@pytest.mark.parametrize("is_static", [False, True])
def test_what_an_admin_has_said_of_labels_is_not_undone_by_the_token_of_before(
    harbour: Harbour, *, is_static: bool
) -> None:
    device = Device()
    token = STATIC if is_static else harbour.token(labels={"env": "prod"})
    first = joined(harbour, device.request(token, labels={"zone": "7"}))
    changes = [LabelChange("env", "quarantine"), LabelChange("zone", None)]
    harbour.enrolment.nodes.relabel(first.node_id, changes, ADMIN)
    again = joined(harbour, device.request(token, labels={"zone": "7", "env": "prod"}))
    assert (again.node_id, again.labels) == (first.node_id, {"env": "quarantine"})


def test_a_node_that_is_ephemeral_stays_so_by_the_token_that_was_spent(harbour: Harbour) -> None:
    device, token = Device(), harbour.token(ephemeral=timedelta(hours=1))
    joined(harbour, device.request(token))
    joined(harbour, device.request(STATIC))
    assert [node.ephemeral for node in harbour.enrolment.nodes.list()] == [3600]


def test_a_repeated_join_takes_no_second_use(harbour: Harbour) -> None:
    device, token = Device(), harbour.token(uses=2)
    joined(harbour, device.request(token))
    joined(harbour, device.request(token))
    joined(harbour, Device().request(token))
    joined(harbour, device.request(token))
    assert refusal(harbour, Device().request(token)) == "J3"
    assert len(harbour.enrolment.nodes.list()) == 2


def test_a_crash_after_the_token_was_spent_costs_the_device_nothing(harbour: Harbour) -> None:
    device, token = Device(), harbour.token()
    with harbour.unwritable_log(), pytest.raises(AuditError):
        harbour.join(device.request(token))
    assert list(harbour.enrolment.nodes.list()) == []
    assert refusal(harbour, Device().request(token)) == "J3"
    assert joined(harbour, device.request(token)).generation == 1
    assert len(harbour.entries("TJ002I")) == 1


def test_a_removed_device_cannot_come_back_with_the_token_it_spent(harbour: Harbour) -> None:
    device, token = Device(), harbour.token()
    first = joined(harbour, device.request(token))
    harbour.enrolment.nodes.remove(first.node_id, ADMIN)
    assert refusal(harbour, device.request(token)) == "J3"
    fresh = joined(harbour, device.request(harbour.token()))
    assert fresh.node_id != first.node_id
    assert fresh.generation == 1


def test_a_removed_device_with_a_token_for_many_takes_a_use_of_it_again(harbour: Harbour) -> None:
    device, token = Device(), harbour.token(uses=2)
    first = joined(harbour, device.request(token))
    harbour.enrolment.nodes.remove(first.node_id, ADMIN)
    assert joined(harbour, device.request(token)).node_id != first.node_id
    assert refusal(harbour, Device().request(token)) == "J3"


def test_a_locked_device_cannot_join_again(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device.request(STATIC)).node_id
    harbour.locks.add("node", node, "stolen", None, ADMIN)
    token = harbour.token()
    assert refusal(harbour, device.request(token)) == "J9"
    joined(harbour, Device().request(token))  # it was not spent


def test_who_does_not_hold_the_key_cannot_join_as_the_node(harbour: Harbour) -> None:
    device, thief, token = Device(), Device("thief"), harbour.token()
    node = joined(harbour, device.request(token)).node_id
    stolen = device.request(token).ssh_public_key
    assert refusal(harbour, thief.request(token, ssh_public_key=stolen)) == "J4"
    kept = harbour.enrolment.nodes.get(NodeId(node))
    assert kept is not None
    assert (kept.name, kept.generation) == ("gw-1", 1)


def test_labels_that_an_admin_has_changed_are_the_token_s_and_not_the_device_s_to_change(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device.request(STATIC, labels={"site": "pier"})).node_id
    harbour.enrolment.nodes.relabel(NodeId(node), [LabelChange("env", "lab")], ADMIN)
    claimed = joined(harbour, device.request(STATIC, labels={"env": "prod", "site": "quay"}))
    assert claimed.labels == {"env": "lab", "site": "pier"}
    kept = harbour.enrolment.nodes.get(NodeId(node))
    assert kept is not None
    given = kept.labels_version
    assert given > 0
    ordered = joined(harbour, device.request(harbour.token(labels={"env": "prod"})))
    assert ordered.labels == {"env": "prod", "site": "pier"}
    kept = harbour.enrolment.nodes.get(NodeId(node))
    assert kept is not None
    assert kept.labels_version > given  # so that what nodes were told before does not hold against it


def test_the_certificates_of_every_join_are_revoked_with_the_node(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device.request(STATIC)).node_id
    joined(harbour, device.request(STATIC))
    harbour.enrolment.nodes.remove(node, ADMIN)
    assert len(harbour.store.collection("revoked").list(now=harbour.clock())) == 2


def test_a_device_that_joins_over_and_over_is_stopped(harbour: Harbour) -> None:
    device = Device()
    for _ in range(limits.TLS_CERTIFICATES_MAX):
        joined(harbour, device.request(STATIC))
    assert refusal(harbour, device.request(STATIC)) == "J12"


def test_one_device_that_joins_with_eight_tokens_at_once_is_one_node(harbour: Harbour) -> None:
    device = Device()
    requests = [device.request(harbour.token()) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(harbour.join, requests))
    ids = {answer.value.node_id for answer in answers if isinstance(answer, Granted)}
    assert len(ids) == 1
    assert [node.node_id for node in harbour.enrolment.nodes.list()] == list(ids)
    assert all(isinstance(answer, Granted) or answer.check == "J8" for answer in answers)


def test_a_node_from_before_keys_were_noted_is_known_once_they_are(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device.request(STATIC)).node_id
    keys = harbour.store.collection("node_keys")
    for record in keys.list(now=harbour.clock()):
        keys.delete(record.key, now=harbour.clock())
    assert harbour.enrolment.index_keys() == 1
    assert harbour.enrolment.index_keys() == 0
    assert joined(harbour, device.request(STATIC)).node_id == node


def test_a_join_that_was_told_and_could_not_be_written_is_told_again_as_the_same_one(harbour: Harbour) -> None:
    device, token = Device(), harbour.token()
    joined(harbour, device.request(token))
    (node,) = harbour.enrolment.nodes.list()
    # As a store that failed after the audit log was told leaves it.
    harbour.store.collection("nodes").delete(node.node_id, now=harbour.clock())
    again = joined(harbour, device.request(token))
    assert again.node_id == node.node_id
    told = [(entry["host_id"], entry.get("repeated", False)) for entry in harbour.entries("TJ002I")]
    assert told == [(node.node_id, False), (node.node_id, True)]


def test_one_device_that_asks_twice_at_once_is_enrolled_by_one_of_the_two(harbour: Harbour) -> None:
    device, token = Device(), harbour.token()
    joined(harbour, device.request(token))
    (node,) = harbour.enrolment.nodes.list()
    harbour.store.collection("nodes").delete(node.node_id, now=harbour.clock())
    others = [Harbour(harbour.store, harbour.folder, harbour.clock) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(other.join, device.request(token)) for other in others]
        assert all(isinstance(job.result(), Granted) for job in jobs)
    first, *rest = harbour.entries("TJ002I")
    assert "repeated" not in first
    told = sorted((entry["generation"], entry.get("repeated", False)) for entry in rest)
    assert told == [(1, True), (2, False), (3, False), (4, False)]
