"""What nodes are told: made of what holds, signed by the host CA, and numbered so that what is old does nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

from controller.audit import AuditLog
from controller.control import Control
from controller.enrolment.nodes import NodeRecord
from controller.locks import Locks
from controller.orders import Orders
from controller.policy.label import parse_label_change
from controller.terms import Terms
from protocol.control import NodeDocument, PolicyDocument, Pulse
from protocol.decision import Granted
from protocol.endorsement import Endorsed, EndorsedKind, judge_endorsed, plain_key, walk
from protocol.instants import to_milliseconds
from protocol.locks import LockingMode
from protocol.names import NodeId
from tests.controller.harbour import ADMIN, CLUSTER, Harbour


def another(
    harbour: Harbour, *, terms: Terms | None = None, mode: LockingMode = "best_effort", audit: AuditLog | None = None
) -> Control:
    """Return the same as another process makes it."""
    return Control(
        store=harbour.store,
        authority=harbour.authority,
        terms=terms or harbour.terms,
        locks=Locks(harbour.store, harbour.audit, harbour.clock),
        audit=audit or harbour.audit,
        clock=harbour.clock,
        cluster=CLUSTER,
        nodes=harbour.enrolment.nodes.list,
        orders=lambda: Orders(locking_mode=mode),
    )


def trusted(harbour: Harbour) -> Sequence[str]:
    return [plain_key(line) for line in harbour.authority.ssh_authorities("host")]


def opened(harbour: Harbour, endorsed: Endorsed, kind: EndorsedKind = "policy") -> str:
    """Return the body, judged as a node judges it that has just joined."""
    answer = judge_endorsed(endorsed, kind, trusted=trusted(harbour), cluster=CLUSTER)
    assert isinstance(answer, Granted), answer
    return answer.value


def document(harbour: Harbour, control: Control | None = None) -> PolicyDocument:
    return PolicyDocument.decode(opened(harbour, (control or harbour.control).policy()))


def test_the_document_says_whom_to_trust_and_how_to_record(harbour: Harbour) -> None:
    found = document(harbour)
    assert found.cluster == CLUSTER
    assert found.user_authorities == harbour.authority.ssh_authorities("user")
    assert found.host_authorities == harbour.authority.ssh_authorities("host")
    assert found.tls_authorities == harbour.authority.tls_authorities()
    terms = harbour.terms.current()
    assert (found.recording.mode, found.recording.key_id) == (terms.mode, terms.key_id)
    assert found.issued == found.recording.time == to_milliseconds(harbour.clock())
    assert (found.locks, found.locking_mode, found.successions, found.renew) == ((), "best_effort", (), ())


def test_while_nothing_changes_the_document_is_the_same_to_the_byte_in_every_process(harbour: Harbour) -> None:
    first, second = harbour.control.policy(), harbour.control.policy()
    assert second == first
    harbour.clock.move(hours=5)
    assert harbour.control.policy() is second
    assert another(harbour).policy() == first
    assert len(harbour.entries("SK044I")) == 1


def test_a_lock_raises_the_version_and_so_does_its_end(harbour: Harbour) -> None:
    before = document(harbour)
    lock = harbour.locks.add("user", "alice", "gone", None, ADMIN)
    locked = document(harbour)
    assert locked.version > before.version
    assert [(found.lock_id, found.value, found.message) for found in locked.locks] == [(lock.lock_id, "alice", "gone")]
    harbour.locks.remove(lock.lock_id, ADMIN)
    after = document(harbour)
    assert after.version > locked.version
    assert after.locks == ()


def test_nodes_are_not_told_who_put_a_lock_on(harbour: Harbour) -> None:
    harbour.locks.add("user", "alice", "gone", None, ADMIN)
    assert document(harbour).locks[0].created_by == ""
    assert ADMIN.actor not in harbour.control.policy().body


def test_a_lock_that_ends_by_itself_leaves_the_document(harbour: Harbour) -> None:
    harbour.locks.add("login", "root", "", timedelta(minutes=5), ADMIN)
    held = document(harbour)
    harbour.clock.move(seconds=299)
    assert document(harbour) == held
    harbour.clock.move(seconds=1)
    assert document(harbour).locks == ()
    assert document(harbour).version > held.version


def test_rotations_and_settings_reach_the_document(harbour: Harbour) -> None:
    first = document(harbour)
    key_id = harbour.authority.rotate_recording_key(harbour.clock())
    second = document(harbour)
    assert (second.recording.key_id, second.version > first.version) == (key_id, True)
    harbour.authority.rotate("user", "init", harbour.clock())
    third = document(harbour)
    assert len(third.user_authorities) == 2
    strict = Terms(harbour.authority, harbour.clock, lambda: Orders(record_session="strict"))
    fourth = document(harbour, another(harbour, terms=strict, mode="strict"))
    assert (fourth.recording.mode, fourth.locking_mode) == ("strict", "strict")
    assert first.version < second.version < third.version < fourth.version


def test_a_node_that_knows_only_the_old_host_key_walks_to_the_one_that_signs(harbour: Harbour) -> None:
    known = trusted(harbour)
    for phase in ("init", "update_clients", "update_servers", "standby"):
        harbour.authority.rotate("host", phase, harbour.clock())
    endorsed = harbour.control.policy()
    assert plain_key(endorsed.key) not in known
    successions = PolicyDocument.decode(endorsed.body).successions
    answer = judge_endorsed(endorsed, "policy", trusted=walk(known, successions, CLUSTER), cluster=CLUSTER)
    assert isinstance(answer, Granted)
    assert "host" in document(harbour).renew


def test_the_audit_log_is_told_each_version_once_and_what_changed(harbour: Harbour) -> None:
    harbour.control.policy()
    harbour.locks.add("user", "alice", "", None, ADMIN)
    for control in (harbour.control, another(harbour), another(harbour)):
        control.policy()
    first, second = harbour.entries("SK044I")
    assert "user_authorities" in first["changed"]
    assert second["changed"] == ["locks"]
    assert second["version"] == document(harbour).version


def test_a_lock_reaches_nodes_even_where_the_audit_log_cannot_take_the_version(harbour: Harbour) -> None:
    harbour.control.policy()
    harbour.locks.add("user", "alice", "", None, ADMIN)
    with harbour.unwritable_log():
        assert [lock.value for lock in document(harbour).locks] == ["alice"]


def test_refresh_tells_of_each_change_once_and_of_the_first_state_always(harbour: Harbour) -> None:
    assert harbour.control.refresh()
    assert not harbour.control.refresh()
    lock = harbour.locks.add("user", "alice", "", timedelta(minutes=1), ADMIN)
    assert harbour.control.refresh()
    assert not harbour.control.refresh()
    harbour.clock.move(minutes=1)
    assert harbour.control.refresh()
    assert not harbour.control.refresh()
    assert harbour.locks.find(user=lock.value) is None


def test_what_changes_nothing_for_nodes_is_no_news(harbour: Harbour) -> None:
    harbour.control.refresh()
    harbour.node()
    harbour.person()
    assert not harbour.control.refresh()
    assert len(harbour.entries("SK044I")) == 1


def test_the_pulse_says_the_time_and_which_policy_holds(harbour: Harbour) -> None:
    harbour.clock.move(milliseconds=1)
    pulse = Pulse.decode(opened(harbour, harbour.control.pulse(harbour.clock()), "pulse"))
    assert pulse == Pulse(to_milliseconds(harbour.clock()), document(harbour).version)


def relabel(harbour: Harbour, node: NodeRecord, change: str) -> NodeRecord:
    return harbour.enrolment.nodes.relabel(node.node_id, [parse_label_change(change)], ADMIN)


def node_document(harbour: Harbour, node_id: NodeId) -> NodeDocument:
    return NodeDocument.decode(opened(harbour, harbour.control.node_documents()[node_id], "node"))


def test_a_node_has_a_document_of_its_own_once_an_admin_changed_it(harbour: Harbour) -> None:
    node, other = harbour.node(), harbour.node("gw-2")
    assert harbour.control.node_documents() == {}
    harbour.control.refresh()
    changed = relabel(harbour, node, "env=lab")
    assert harbour.control.refresh()
    expected = NodeDocument(node.node_id, changed.labels_version, node.name, {"env": "lab"})
    assert node_document(harbour, node.node_id) == expected
    assert other.node_id not in harbour.control.node_documents()
    relabel(harbour, node, "env-")
    assert harbour.control.refresh()
    again = node_document(harbour, node.node_id)
    assert (again.labels, again.version > expected.version) == ({}, True)


def test_a_document_for_a_node_goes_with_the_node_and_stays_while_others_change(harbour: Harbour) -> None:
    node, other = harbour.node(), harbour.node("gw-2")
    relabel(harbour, node, "env=lab")
    before = harbour.control.node_documents()[node.node_id]
    relabel(harbour, other, "env=lab")
    assert harbour.control.node_documents()[node.node_id] is before
    harbour.enrolment.nodes.remove(node.node_id, ADMIN)
    assert set(harbour.control.node_documents()) == {other.node_id}


def test_documents_for_nodes_are_signed_anew_when_the_host_key_is_another(harbour: Harbour) -> None:
    node = harbour.node()
    relabel(harbour, node, "env=lab")
    before = harbour.control.node_documents()[node.node_id]
    for phase in ("init", "update_clients"):
        harbour.authority.rotate("host", phase, harbour.clock())
    after = harbour.control.node_documents()[node.node_id]
    assert (after.body, after.key == before.key) == (before.body, False)
    assert node_document(harbour, node.node_id).labels == {"env": "lab"}


def test_many_processes_that_find_one_change_at_once_agree_on_one_version(harbour: Harbour) -> None:
    harbour.control.policy()
    harbour.locks.add("user", "alice", "", None, ADMIN)
    controls = [another(harbour) for _ in range(6)]
    start, found = threading.Barrier(len(controls)), []

    def ask(control: Control) -> None:
        start.wait()
        found.append(control.policy())

    threads = [threading.Thread(target=ask, args=(control,)) for control in controls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({endorsed.body for endorsed in found}) == 1
    assert len(found) == len(controls)
    assert len(harbour.entries("SK044I")) == 2


def test_after_a_backup_was_put_back_the_version_goes_on_above_what_nodes_hold(harbour: Harbour) -> None:
    held = document(harbour).version + 40
    before = document(harbour)
    assert harbour.control.outrun(held)
    after = document(harbour)
    assert after.version == held + 1
    assert after.locks == before.locks
    assert not harbour.control.outrun(held)
    assert another(harbour).policy() == harbour.control.policy()
    assert harbour.entries("SK044I")[-1]["changed"] == ["version"]


@pytest.mark.parametrize("version", [-1, 0, 2**53, 10**30])
def test_a_version_that_nobody_can_have_given_out_is_passed_over(harbour: Harbour, version: int) -> None:
    before = harbour.control.policy()
    assert not harbour.control.outrun(version)
    assert harbour.control.policy() == before


def test_the_payload_of_the_topic_is_read_back_as_what_was_endorsed(harbour: Harbour) -> None:
    harbour.locks.add("user", "alice", "Grüße — “weg”", None, ADMIN)
    endorsed = harbour.control.policy()
    assert Endorsed.from_dict(json.loads(json.dumps(endorsed.to_dict()))) == endorsed
    assert document(harbour).locks[0].message == "Grüße — “weg”"
