from __future__ import annotations

from datetime import timedelta

from protocol import endpoints
from protocol.lock_orders import LockList
from protocol.locks import Lock
from tests.controller.web.v1.office import ADMIN, NEVER, PLAIN, Office, error_of


def listed(office: Office) -> tuple[Lock, ...]:
    return LockList.from_dict(office.ask(ADMIN, endpoints.LOCKS).get_json()).locks


def test_a_lock_on_a_person_holds_at_once_and_until_it_is_taken_off(office: Office) -> None:
    before = listed(office)
    asked = {"kind": "user", "value": PLAIN, "message": "on leave", "ttl_seconds": 60}
    response = office.ask(ADMIN, endpoints.LOCK_ADD, asked)
    lock = Lock.from_dict(response.get_json())
    assert (response.status_code, lock.created_by, lock.expires) == (201, ADMIN, lock.created + timedelta(minutes=1))
    assert set(listed(office)) - set(before) == {lock}  # those of one moment are in no order
    assert office.ask(PLAIN, endpoints.ME).status_code == 403
    answers = [office.ask(ADMIN, endpoints.LOCK_REMOVE, lock=lock.lock_id.upper()).status_code for _ in range(2)]
    assert answers == [204, 404]
    assert office.ask(PLAIN, endpoints.ME).status_code == 200
    assert len(office.told("lock.deleted")) == 1


def test_nobody_locks_themselves_out(office: Office) -> None:
    answer = office.ask(ADMIN, endpoints.LOCK_ADD, {"kind": "user", "value": ADMIN})
    assert answer.status_code == 409
    assert "cannot lock yourself out" in error_of(answer)
    assert office.ask(ADMIN, endpoints.ME).status_code == 200
    assert office.ask(ADMIN, endpoints.LOCK_ADD, {"kind": "login", "value": ADMIN}).status_code == 201


def test_what_is_locked_has_to_be_there_but_a_login_may_be_on_nodes_that_nobody_has_seen(office: Office) -> None:
    for kind, value in (("user", "nobody"), ("node", NEVER)):
        answer = office.ask(ADMIN, endpoints.LOCK_ADD, {"kind": kind, "value": value})
        assert (answer.status_code, "not found, so nothing was locked" in error_of(answer)) == (409, True)
    assert office.ask(ADMIN, endpoints.LOCK_ADD, {"kind": "login", "value": "nobody"}).status_code == 201
    node = office.nodes["gate"].upper()
    assert office.ask(ADMIN, endpoints.LOCK_ADD, {"kind": "node", "value": node}).get_json()["value"] == node.lower()


def test_a_lock_that_makes_no_sense_is_refused_and_none_is_put_on(office: Office) -> None:
    wrong: list[tuple[str, dict[str, object]]] = [
        ("kind", {"value": "pi"}),
        ("kind", {"kind": "role", "value": "access"}),
        ("value", {"kind": "login"}),
        ("value", {"kind": "login", "value": "0; rm -rf /"}),
        ("value", {"kind": "node", "value": "gate"}),
        ("message", {"kind": "login", "value": "pi", "message": "two\nlines"}),
        ("message", {"kind": "login", "value": "pi", "message": "x" * 201}),
        ("ttl_seconds", {"kind": "login", "value": "pi", "ttl_seconds": 0}),
        ("ttl_seconds", {"kind": "login", "value": "pi", "ttl_seconds": 2**62}),
    ]
    for field, body in wrong:
        response = office.ask(ADMIN, endpoints.LOCK_ADD, body)
        assert response.status_code == 400, body
        assert error_of(response).startswith(f"{field}: ")
    assert [lock.lock_id for lock in listed(office)] == [office.lock]
