"""Locks as they are kept: put on, found, told to nodes and taken off, on either store."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from controller.audit import AuditError, AuditLog
from controller.locks import LockError, Locks
from controller.store.interface import Value
from protocol import limits
from protocol.control import PolicyDocument
from protocol.locks import Lock, LockKind
from tests.controller.harbour import ADMIN, CLUSTER, Harbour

NODE = "11111111-1111-4111-8111-111111111111"


def lock(harbour: Harbour, kind: LockKind = "user", value: str = "alice", message: str = "", **ttl: float) -> Lock:
    return harbour.locks.add(kind, value, message, timedelta(**ttl) if ttl else None, ADMIN)


@pytest.mark.parametrize(("kind", "value"), [("user", "alice"), ("login", "root"), ("node", NODE)])
def test_a_lock_is_found_by_what_it_is_aimed_at_and_by_nothing_else(
    harbour: Harbour, kind: LockKind, value: str
) -> None:
    made = lock(harbour, kind, value, "gone fishing")
    asked: dict[str, str | None] = {"user": "bob", "login": "pi", "node": NODE.replace("1", "2")}
    assert harbour.locks.find(**asked) is None
    assert harbour.locks.find(**asked | {kind: value}) == made
    assert harbour.locks.find(**{kind: value}) == made
    assert harbour.locks.find() is None


def test_a_lock_holds_from_when_it_is_made_to_its_last_moment(harbour: Harbour) -> None:
    made = lock(harbour, hours=1)
    assert made.expires == harbour.clock() + timedelta(hours=1)
    harbour.clock.move(seconds=3599)
    assert harbour.locks.find(user="alice") == made
    harbour.clock.move(seconds=1)
    assert harbour.locks.find(user="alice") is None
    assert harbour.locks.list() == []


def test_another_process_sees_a_lock_and_its_end(harbour: Harbour) -> None:
    other = Locks(harbour.store, harbour.audit, harbour.clock)
    assert other.find(user="alice") is None
    made = lock(harbour)
    assert other.find(user="alice") == made
    harbour.locks.remove(made.lock_id, ADMIN)
    assert other.find(user="alice") is None


def test_the_stamp_changes_when_locks_do_and_not_before(harbour: Harbour) -> None:
    first = harbour.locks.stamp()
    assert harbour.locks.stamp() == first
    made = lock(harbour)
    second = harbour.locks.stamp()
    assert second != first
    assert harbour.locks.find(user="alice") == made
    assert harbour.locks.stamp() == second
    harbour.locks.remove(made.lock_id, ADMIN)
    assert harbour.locks.stamp() not in {first, second}


def test_locks_are_listed_oldest_first_with_who_made_them(harbour: Harbour) -> None:
    first = lock(harbour, value="zoe")
    harbour.clock.move(seconds=1)
    second = lock(harbour, value="alice")
    assert harbour.locks.list() == [first, second]
    assert first.created_by == "root"


def test_each_lock_and_its_end_are_one_event(harbour: Harbour) -> None:
    made = lock(harbour, "node", NODE, "stolen", hours=1)
    harbour.locks.remove(made.lock_id.upper(), ADMIN)
    (created,) = harbour.entries("TLK00I")
    assert created["user"] == "root"
    assert (created["name"], created["target"], created["message"]) == (made.lock_id, {"node": NODE}, "stolen")
    assert created["expires"].endswith("Z")
    (deleted,) = harbour.entries("TLK01I")
    assert (deleted["name"], deleted["target"]) == (made.lock_id, {"node": NODE})


def test_what_is_not_there_cannot_be_removed(harbour: Harbour) -> None:
    made = lock(harbour)
    with pytest.raises(LockError, match="not found: `tctl locks ls`"):
        harbour.locks.remove(NODE, ADMIN)
    harbour.locks.remove(made.lock_id, ADMIN)
    with pytest.raises(LockError, match="not found"):
        harbour.locks.remove(made.lock_id, ADMIN)
    assert len(harbour.entries("TLK01I")) == 1


def test_without_an_audit_log_no_lock_is_put_on_or_taken_off(harbour: Harbour) -> None:
    made = lock(harbour)
    with harbour.unwritable_log():
        with pytest.raises(AuditError):
            lock(harbour, value="bob")
        with pytest.raises(AuditError):
            harbour.locks.remove(made.lock_id, ADMIN)
    assert harbour.locks.list() == [made]


@pytest.mark.parametrize(
    ("kind", "value", "message", "problem"),
    [
        ("user", "../alice", "", "not a valid user name"),
        ("login", "a b", "", "not a valid login"),
        ("node", "gw-1", "", "not a valid node id"),
        ("user", "alice", "two\nlines", "one line"),
        ("user", "alice", "x" * 201, "one line"),
        ("user", "alice", "\x1b[31m", "printable"),
    ],
)
def test_what_cannot_be_a_lock_is_refused_in_words(
    harbour: Harbour, kind: LockKind, value: str, message: str, problem: str
) -> None:
    with pytest.raises(LockError, match=problem):
        lock(harbour, kind, value, message)
    assert harbour.locks.list() == []
    assert harbour.entries("TLK00I") == []


@pytest.mark.parametrize("span", [timedelta(0), timedelta(seconds=-1), timedelta.max])
def test_a_time_that_is_none_or_has_no_end_is_refused(harbour: Harbour, span: timedelta) -> None:
    with pytest.raises(LockError, match="leave the time out"):
        harbour.locks.add("user", "alice", "", span, ADMIN)


def test_no_more_locks_are_put_on_than_nodes_can_be_told_of(harbour: Harbour) -> None:
    values = fill(harbour, limits.LOCKS_MAX)
    with pytest.raises(LockError, match="there are 500 locks, and nodes can be told of no more"):
        lock(harbour, value="bob")
    with pytest.raises(LockError, match="there are 500 locks"):
        harbour.locks.add("node", NODE, "", None, ADMIN, is_own=True)
    assert harbour.locks.find(user="bob") is None
    for lock_id in list(values)[: limits.LOCKS_RESERVED + 1]:
        harbour.locks.remove(lock_id, ADMIN)
    lock(harbour, value="bob")


def fill(harbour: Harbour, places: int) -> dict[str, Value]:
    value = lock(harbour).to_dict()
    ids = (f"00000000-0000-4000-8000-{number:012}" for number in range(places - 1))
    values: dict[str, Value] = {lock_id: value | {"id": lock_id} for lock_id in ids}
    harbour.store.collection("locks").put_many(values, now=harbour.clock())
    assert len(harbour.locks.list()) == places
    return values


def test_some_places_are_kept_for_nodes_of_which_the_controller_finds_two(harbour: Harbour) -> None:
    node = harbour.node()
    fill(harbour, limits.LOCKS_MAX - limits.LOCKS_RESERVED)
    with pytest.raises(LockError, match="there are 480 locks"):
        lock(harbour, value="bob")
    assert harbour.enrolment.report_clone(node.node_id, "two agents take turns")
    assert harbour.locks.find(node=node.node_id) is not None


def test_of_many_that_take_one_lock_off_at_once_one_does_and_there_is_one_event(harbour: Harbour) -> None:
    made = lock(harbour)
    start = threading.Barrier(4)

    def take_off() -> bool:
        start.wait()
        try:
            Locks(harbour.store, harbour.audit, harbour.clock).remove(made.lock_id, ADMIN)
        except LockError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(take_off) for _ in range(4)]
        assert sum(job.result() for job in jobs) == 1
    assert len(harbour.entries("TLK01I")) == 1


def test_no_lock_holds_that_the_audit_log_was_not_told_of_first(harbour: Harbour) -> None:
    locks, audit = harbour.store.collection("locks"), harbour.audit
    before = locks.stamp()
    stamps: list[object] = []

    class Listening(AuditLog):
        def write(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 - whatever it is
            stamps.append(locks.stamp())
            return super().write(*args, **more)

    listening = Listening(harbour.folder / "log", CLUSTER, harbour.clock)
    made = Locks(harbour.store, listening, harbour.clock).add("user", "alice", "", None, ADMIN)
    assert stamps == [before]
    assert harbour.locks.list() == [made]
    assert [entry["name"] for entry in audit.entries(kinds=["TLK00I"])] == [made.lock_id]


def test_as_many_locks_as_are_taken_fit_the_policy_document_however_long_their_messages(harbour: Harbour) -> None:
    message = "\N{HAMMER}" * limits.LOCK_MESSAGE_MAX_CHARS  # as long as text gets in JSON
    with pytest.raises(LockError, match="say less in messages"):
        put_on_as_many_as_go(harbour, message)
    assert 40 < len(harbour.locks.list()) < limits.LOCKS_MAX
    policy = harbour.control.policy()
    assert len(policy.body) <= limits.POLICY_MAX
    assert len(json.dumps(policy.to_dict())) <= limits.MQTT_MESSAGE_MAX
    assert len(PolicyDocument.decode(policy.body).locks) == len(harbour.locks.list())


def put_on_as_many_as_go(harbour: Harbour, message: str) -> None:
    for _ in range(limits.LOCKS_MAX):
        lock(harbour, message=message)


def test_of_two_that_race_for_the_last_place_one_lock_too_many_is_never_left(harbour: Harbour) -> None:
    value = lock(harbour).to_dict()
    ids = (f"00000000-0000-4000-8000-{number:012}" for number in range(limits.LOCKS_MAX - 2))
    values = {lock_id: value | {"id": lock_id} for lock_id in ids}
    harbour.store.collection("locks").put_many(values, now=harbour.clock())
    start = threading.Barrier(4)

    def race() -> None:
        start.wait()
        try:
            Locks(harbour.store, harbour.audit, harbour.clock).add("user", "bob", "", None, ADMIN)
        except LockError:
            return

    racers = [threading.Thread(target=race) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(harbour.locks.list()) <= limits.LOCKS_MAX
