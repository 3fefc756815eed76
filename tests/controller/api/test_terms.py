"""The terms of recording as a node gets them: from the real process, with its client certificate."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from protocol import endpoints
from protocol.locks import describe_lock
from protocol.names import NodeId
from protocol.recordings import RecordingTerms
from tests.controller.api.running_api import Door, running_api
from tests.controller.api.test_door import batch_of
from tests.controller.harbour import ADMIN, Device

METHOD, PATH = endpoints.RECORDING_TERMS.method, endpoints.RECORDING_TERMS.path


def test_a_node_is_told_at_the_join_and_whenever_it_asks(tmp_path: Path) -> None:
    with running_api(tmp_path, "record_session: strict", "record_input: true") as door:
        node, context = door.enrol()
        earliest = time.time_ns() // 1_000_000
        status, answer = door.ask(context, METHOD, PATH)
        assert status == 200
        terms = RecordingTerms.from_dict(answer)
        assert earliest <= terms.time <= time.time_ns() // 1_000_000
        assert (terms.mode, terms.record_input) == ("strict", True)
        assert (terms.key_id, terms.public_key) == door.cluster.authority.recording_key()
        assert node.recording is not None
        assert (node.recording.key_id, node.recording.mode) == (terms.key_id, "strict")


def test_after_a_rotation_by_another_process_the_next_answer_names_the_new_key(own_door: Door) -> None:
    _, context = own_door.enrol()
    key_id = own_door.cluster.authority.rotate_recording_key(datetime.now(UTC))
    status, answer = own_door.ask(context, METHOD, PATH)
    assert (status, answer["key_id"], answer["mode"]) == (200, key_id, "best_effort")


@pytest.mark.parametrize("name", ["alice", "00000000-0000-4000-8000-000000000001"])
def test_who_is_no_enrolled_node_is_told_nothing(door: Door, name: str) -> None:
    device = Device()
    chain = door.cluster.authority.sign_node_tls(device.csr, NodeId(name), datetime.now(UTC))
    status, answer = door.ask(door.trust(chain, device.tls_pem), METHOD, PATH)
    assert (status, answer) == (403, {"error": {"message": "this certificate is not a node's of this cluster"}})


def test_a_node_that_was_removed_is_told_nothing(door: Door) -> None:
    node, context = door.enrol()
    assert door.ask(context, METHOD, PATH)[0] == 200
    door.cluster.enrolment.nodes.remove(node.node_id, ADMIN)
    assert door.ask(context, METHOD, PATH)[0] == 403


def test_a_locked_node_is_told_its_lock_and_the_policy_and_may_report_and_upload_but_nothing_else(door: Door) -> None:
    node, context = door.enrol()
    lock = door.cluster.locks.add("node", node.node_id, "lost", None, ADMIN)
    assert door.ask(context, METHOD, PATH) == (403, {"error": {"message": describe_lock(lock)}})
    status, answer = door.ask(context, endpoints.POLICY.method, endpoints.POLICY.path)
    assert status == 200
    assert lock.lock_id in answer["body"]
    assert door.post(context, batch_of(node, 1)) == (200, {"sequence": 1})
    assert door.ask(context, "POST", endpoints.UPLOADS)[0] == 412  # it is asked which version it speaks
    door.cluster.locks.remove(lock.lock_id, ADMIN)
    assert door.ask(context, METHOD, PATH)[0] == 200


def test_without_a_recording_key_the_node_is_asked_to_come_again_and_the_door_serves_on(own_door: Door) -> None:
    _, context = own_door.enrol()
    own_door.cluster.store.collection("authorities").delete("recording", now=datetime.now(UTC))
    status, answer = own_door.ask(context, METHOD, PATH)
    assert (status, answer) == (503, {"error": {"message": "the terms cannot be had now: ask again later"}})
    own_door.await_log("no recording authority yet")
    assert "Traceback" not in own_door.log()
    own_door.cluster.authority.create_missing(datetime.now(UTC))
    assert own_door.ask(context, METHOD, PATH)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_terms_are_read_and_nothing_else(door: Door, method: str) -> None:
    _, context = door.enrol()
    assert door.ask(context, method, PATH, b"{}")[0] == 405
