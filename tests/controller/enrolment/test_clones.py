from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from controller.audit import AuditError, AuditLog
from controller.enrolment.clones import MESSAGE, Clones
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.locks import Lock
from protocol.names import NodeId
from tests.controller.harbour import ADMIN, CLUSTER, STATIC, WEB, Device, Harbour

A, B, C = "a" * 32, "b" * 32, "c" * 32


def joined(harbour: Harbour, device: Device) -> NodeId:
    answer = harbour.join(device.request(STATIC))
    assert isinstance(answer, Granted), answer
    return answer.value.node_id


def test_a_copied_disk_is_found_when_the_second_renews_and_both_are_locked(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    assert isinstance(harbour.renew(device, node, 1, A), Granted)
    answer = harbour.renew(device, node, 1, B)
    assert isinstance(answer, Refused)
    assert answer.check == "N5"
    lock = harbour.locks.find(node=node)
    assert lock is not None
    assert (lock.kind, lock.value, lock.message, lock.expires) == ("node", node, MESSAGE, None)
    (entry,) = harbour.entries("TCB03W")
    told = {"server_id": node, "server_hostname": "gw-1", "generation": 1, "expected": 2, "lock": lock.lock_id}
    assert told.items() <= entry.items()
    assert entry["addr.remote"] == WEB.address
    (locked,) = harbour.entries("TLK00I")
    assert locked["user"] == "controller"
    assert isinstance(harbour.renew(device, node, 2, C), Refused)  # the other of the two


def test_however_often_and_wherever_the_two_are_seen_there_is_one_event_and_one_lock(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    harbour.renew(device, node, 1, A)
    other = Harbour(harbour.store, harbour.folder, harbour.clock)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(harbour.renew, device, node, 1, f"{number:032x}") for number in range(4)]
        told = [pool.submit(other.enrolment.report_clone, node, "two at the broker") for _ in range(4)]
        assert all(isinstance(job.result(), Refused) for job in asked)
        assert sum(job.result() for job in told) <= 1
    harbour.clock.now += limits.CLONE_MEMORY
    harbour.enrolment.report_clone(node, "two at the broker")
    assert len(harbour.entries("TCB03W")) == 1
    assert len(harbour.locks.list()) == 1


def test_a_clone_that_the_broker_shows_is_locked(harbour: Harbour) -> None:
    node = joined(harbour, Device())
    assert harbour.enrolment.report_clone(node, "two agents take turns")
    assert not harbour.enrolment.report_clone(node, "two agents take turns")
    (entry,) = harbour.entries("TCB03W")
    assert entry["reason"] == "two agents take turns"
    assert harbour.locks.find(node=node) is not None


def test_a_node_that_is_gone_is_not_locked(harbour: Harbour) -> None:
    node = joined(harbour, Device())
    harbour.enrolment.nodes.remove(node, ADMIN)
    assert not harbour.enrolment.report_clone(node, "two agents take turns")
    assert harbour.entries("TCB03W", "TLK00I") == []


def test_a_lock_that_was_taken_off_while_both_run_comes_back_with_a_new_alert(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    harbour.renew(device, node, 1, A)
    harbour.renew(device, node, 1, B)
    for lock in harbour.locks.list():
        harbour.locks.remove(lock.lock_id, ADMIN)
    harbour.clock.now += limits.CLONE_MEMORY
    assert isinstance(harbour.renew(device, node, 1, B), Refused)
    assert len(harbour.entries("TCB03W")) == 2
    assert harbour.locks.find(node=node) is not None


def test_the_original_keeps_its_identity_by_joining_again_once_the_lock_is_gone(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    harbour.renew(device, node, 1, A)
    harbour.renew(device, node, 1, B)
    locked = harbour.join(device.request(harbour.token()))
    assert isinstance(locked, Refused)
    assert locked.check == "J9"
    for lock in harbour.locks.list():
        harbour.locks.remove(lock.lock_id, ADMIN)
    answer = harbour.join(device.request(harbour.token()))
    assert isinstance(answer, Granted)
    assert (answer.value.node_id, answer.value.generation) == (node, 3)
    assert isinstance(harbour.renew(device, node, 3, C), Granted)


def test_where_there_is_no_room_for_a_lock_the_alert_is_raised_all_the_same(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    lock = Lock("", "login", "root", "", None, harbour.clock())
    ids = [f"00000000-0000-4000-8000-{number:012d}" for number in range(limits.LOCKS_MAX)]
    full = {lock_id: replace(lock, lock_id=lock_id).to_dict() for lock_id in ids}
    harbour.store.collection("locks").put_many(full, now=harbour.clock())
    harbour.renew(device, node, 1, A)
    assert isinstance(harbour.renew(device, node, 1, B), Refused)
    (entry,) = harbour.entries("TCB03W")
    assert "lock" not in entry


def test_a_report_that_could_not_be_written_down_is_made_good_by_the_next(harbour: Harbour) -> None:
    node = joined(harbour, Device())
    with harbour.unwritable_log(), pytest.raises(AuditError):
        harbour.enrolment.report_clone(node, "two agents take turns")
    assert harbour.enrolment.report_clone(node, "two agents take turns")
    (entry,) = harbour.entries("TCB03W")
    assert [lock.lock_id for lock in harbour.locks.list()] == [entry["lock"]]


def test_a_lock_that_could_not_be_told_of_is_told_of_by_the_next_report(harbour: Harbour) -> None:
    node = joined(harbour, Device())
    log = harbour.folder / "elsewhere"
    log.write_text("in the way")
    audit = AuditLog(log, CLUSTER, harbour.clock)  # what tells of the lock itself is written
    clones = Clones(harbour.store, harbour.locks, harbour.nodes, audit, harbour.clock)
    with pytest.raises(AuditError):
        clones.report(node, "two agents take turns", WEB)
    (lock,) = harbour.locks.list()
    log.unlink()
    assert clones.report(node, "two agents take turns", WEB)
    assert not clones.report(node, "two agents take turns", WEB)
    (entry,) = audit.entries(kinds=["TCB03W"])
    assert (entry["lock"], harbour.locks.list()) == (lock.lock_id, [lock])


def test_what_may_be_made_up_raises_the_alarm_once_an_hour_and_locks_nobody(harbour: Harbour) -> None:
    node = joined(harbour, Device())
    assert harbour.enrolment.report_clone(node, "as somebody's broker has it", is_proven=False)
    harbour.clock.now += limits.CLONE_ALARM_AGAIN / 2
    assert not harbour.enrolment.report_clone(node, "as somebody's broker has it", is_proven=False)
    assert harbour.locks.list() == []
    harbour.clock.now += limits.CLONE_ALARM_AGAIN / 2
    assert harbour.enrolment.report_clone(node, "as somebody's broker has it", is_proven=False)
    told = harbour.entries("TCB03W")
    assert [("lock" in entry) for entry in told] == [False, False]
    assert harbour.enrolment.report_clone(node, "it renewed twice")  # the alarm is in the way of no lock
    assert harbour.locks.find(node=node) is not None
