from __future__ import annotations

from datetime import timedelta

import pytest

from controller.accounts import Origin
from protocol.names import parse_node_name
from tests.controller.web.lab import HandClock, Lab
from tests.controller.web.page_client import text_of
from tests.controller.web.people import People, problem_at

TCTL = Origin(via="tctl", actor="root@host")
NEW = "/web/locks/new"


@pytest.fixture
def people(lab: Lab, clock: HandClock) -> People:
    return People(lab, clock)


def test_where_nothing_is_locked_the_command_is_shown(people: People) -> None:
    page = people.admin().get("/web/locks").text
    assert "Nobody and nothing is locked out" in page
    assert "tctl lock --user=NAME" in page


def test_a_person_a_login_and_a_node_by_its_name_are_locked_and_listed(people: People) -> None:
    admin = people.admin()
    people.come("bob")
    node_id = people.lab.enrol(1, parse_node_name("buoy-north"))
    for kind, value, ttl in (("user", "bob", ""), ("login", "root", "8h"), ("node", "BUOY-north", "30m")):
        response = people.post(admin, NEW, NEW, kind=kind, value=value, message=f"why {kind}", ttl=ttl)
        assert response.headers["Location"] == "/web/locks?done=added"
    now = people.clock()
    assert {(lock.kind, lock.value, lock.message, lock.expires) for lock in people.lab.locks.list()} == {
        ("user", "bob", "why user", None),
        ("login", "root", "why login", now + timedelta(hours=8)),
        ("node", node_id, "why node", now + timedelta(minutes=30)),
    }
    page = text_of(admin.get("/web/locks"))
    for words in ("user bob", "login root", "node buoy-north", "why login", "removed", "tctl locks rm"):
        assert words in page
    assert {event["user"] for event in people.told("lock.created")} == {"ada"}


def test_the_address_fills_in_whom_the_lock_is_for(people: People) -> None:
    page = people.admin().get(f"{NEW}?kind=node&value=%22%3E%3Cscript%3E").text
    assert 'value="node" checked' in page
    assert "<script>&" not in page
    assert "&#34;&gt;&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"kind": "planet", "value": "mars"}, "kind", "Say what is to be locked"),
        ({"value": "nobody"}, "value", "There is no user"),
        ({"value": "../x"}, "value", "not a valid user name"),
        ({"kind": "login", "value": "-rf"}, "value", "not a valid login"),
        ({"kind": "node", "value": "no-such"}, "value", "There is no node"),
        ({"value": "bob", "message": "x" * 201}, "message", "not one line"),
        ({"value": "bob", "message": "a\u202eb"}, "message", "not one line"),
        ({"value": "bob", "ttl": "soon"}, "ttl", "not a span of time"),
        ({"value": "bob", "ttl": "0m"}, "ttl", "more than nothing"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_nothing_is_locked(
    people: People, fields: dict[str, str], field: str, words: str
) -> None:
    admin = people.admin()
    people.come("bob")
    typed = {"kind": "user", "value": "bob", "message": "why", "ttl": "8h"} | fields
    response = people.post(admin, NEW, NEW, **typed)
    assert response.status_code == 422
    assert words in problem_at(response, field)
    if field != "ttl":
        assert f'value="{typed["ttl"]}"' in response.text
    assert people.lab.locks.list() == []


def test_of_several_nodes_of_a_name_the_uuid_is_asked_for(people: People) -> None:
    admin = people.admin()
    ids = [people.lab.enrol(number, parse_node_name("twin")) for number in (1, 2)]
    response = people.post(admin, NEW, NEW, kind="node", value="twin")
    assert all(node_id in problem_at(response, "value") for node_id in ids)
    assert people.post(admin, NEW, NEW, kind="node", value=ids[1]).status_code == 303
    assert [lock.value for lock in people.lab.locks.list()] == [ids[1]]


def test_the_same_lock_sent_twice_is_put_on_once(people: People) -> None:
    admin = people.admin()
    people.come("bob")
    for _ in range(2):
        assert people.post(admin, NEW, NEW, kind="user", value="bob", message="why").status_code == 303
    assert len(people.lab.locks.list()) == 1


def test_the_same_lock_for_longer_is_another(people: People) -> None:
    admin = people.admin()
    people.come("bob")
    for ttl in ("8h", "1h", "24h", ""):
        assert people.post(admin, NEW, NEW, kind="user", value="bob", message="why", ttl=ttl).status_code == 303
    now = people.clock()
    ends = {lock.expires for lock in people.lab.locks.list()}
    assert ends == {None, now + timedelta(hours=8), now + timedelta(hours=24)}


def test_nobody_locks_themselves_out(people: People) -> None:
    admin = people.admin()
    for path, page in ((NEW, NEW), ("/web/users/ada/lock", NEW)):
        response = people.post(admin, path, page, kind="user", value="ada", message="oh")
        assert response.status_code == 409
        assert "cannot lock yourself out" in text_of(response)
    assert people.lab.locks.list() == []
    assert admin.get("/web/settings").status_code == 200


def test_a_lock_is_removed_once_however_often_it_is_asked_for(people: People) -> None:
    admin, bob = people.admin(), people.come("bob")
    lock = people.lab.locks.add("user", "bob", "", None, TCTL)
    assert bob.get("/web/settings").status_code == 403
    for _ in range(2):
        response = people.post(admin, f"/web/locks/{lock.lock_id}/remove", "/web/locks/new")
        assert response.headers["Location"] == "/web/locks?done=removed"
    assert bob.get("/web/settings").status_code == 200
    (entry,) = people.told("lock.deleted")
    assert entry["user"] == "ada"


def test_what_is_no_lock_s_id_is_not_there(people: People) -> None:
    assert people.post(people.admin(), "/web/locks/rubbish/remove", "/web/locks/new").status_code == 404


def test_messages_are_shown_as_text(people: People) -> None:
    admin = people.admin()
    people.lab.locks.add("login", "root", "<img src=x onerror=alert(1)>", None, TCTL)
    page = admin.get("/web/locks").text
    assert "<img" not in page
    assert "&lt;img src=x" in page
