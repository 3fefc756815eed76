from __future__ import annotations

from controller.presence.history import STEPS, NodeHistory
from protocol import endpoints
from protocol.messages import NodeList
from protocol.node_details import NodeDetail, NodePage
from tests.controller.web.v1.office import ADMIN, NEVER, PLAIN, Office, error_of


def names(office: Office, who: str, **query: object) -> list[str]:
    response = office.ask(who, endpoints.NODES, query=query)
    assert response.status_code == 200, response.text
    return [node.name for node in NodePage.from_dict(response.get_json()).nodes]


def test_without_a_parameter_all_nodes_that_one_may_open_come_at_once(office: Office) -> None:
    found = NodeList.from_dict(office.ask(PLAIN, endpoints.NODES).get_json())
    assert [node.name for node in found.nodes] == ["gate", "gw-1", "mast"]


def test_who_administers_may_ask_for_all_and_finds_those_that_wait(office: Office) -> None:
    assert names(office, ADMIN, all="true") == ["gate", "gw-1", "hermit", "mast", "stranger"]
    assert names(office, ADMIN, all="true", status="pending") == ["hermit", "stranger"]
    assert names(office, PLAIN, all="true") == ["gate", "gw-1", "mast"]


def test_nodes_are_searched_by_words_and_by_labels(office: Office) -> None:
    assert names(office, PLAIN, search="GATE") == ["gate"]
    assert names(office, PLAIN, search=office.nodes["mast"]) == ["mast"]
    assert names(office, PLAIN, label="env=prod") == ["gate"]
    assert names(office, PLAIN, label=["env=prod", "env=test"]) == []


def test_pages_hold_every_node_once_however_the_fleet_changes(office: Office) -> None:
    seen, cursor = [], None
    while True:
        page = NodePage.from_dict(
            office.ask(
                ADMIN, endpoints.NODES, query={"limit": 2, "all": "true"} | ({"cursor": cursor} if cursor else {})
            ).get_json()
        )
        seen += [node.name for node in page.nodes]
        office.lab.enrol(500 + len(seen), f"aaa-{len(seen)}")  # comes before what was shown
        cursor = page.next
        if cursor is None:
            break
        assert len(page.nodes) == 2
    assert seen == ["gate", "gw-1", "hermit", "mast", "stranger"]


def test_a_question_that_makes_no_sense_is_refused_with_the_parameters_name(office: Office) -> None:
    wrong = {
        "limit": ["0", "1001", "x", "1.0", "²", ""],
        "cursor": ["", "x", "6", "AA", "61" * 257],
        "status": ["gone", ""],
        "label": ["env", "=x", "env=a,b=c", "env=\u202e"],
        "all": ["1", "True", ""],
        "search": ["x" * 129, "a\0b"],
    }
    for name, values in wrong.items():
        for value in values:
            response = office.ask(PLAIN, endpoints.NODES, query={name: value})
            assert response.status_code == 400, (name, value)
            assert error_of(response).startswith(f"{name}: ")
    twice = office.ask(PLAIN, endpoints.NODES, query={"limit": ["1", "2"]})
    assert (twice.status_code, error_of(twice)) == (400, "limit: said more than once")
    assert office.ask(PLAIN, endpoints.NODES, query={"label": ["env=x"] * 33}).status_code == 400


def test_one_node_is_told_of_with_its_heartbeat_its_lock_and_its_device(office: Office) -> None:
    node_id = office.nodes["gate"]
    lock = office.lab.locks.add("node", node_id, "", None, office.desk)
    found = NodeDetail.from_dict(office.ask(PLAIN, endpoints.NODE, node=node_id.upper()).get_json())
    assert (found.entry.name, found.entry.status, found.generation, found.lock) == ("gate", "online", 1, lock.lock_id)
    assert found.heartbeat is not None
    assert found.heartbeat["memory"] == 3
    assert found.device == {"platform": "Linux aarch64", "memory": 1000, "disk": 1000, "interval": 30}
    assert found.host_key.startswith("SHA256:")
    quiet = NodeDetail.from_dict(office.ask(PLAIN, endpoints.NODE, node=office.nodes["mast"]).get_json())
    assert (quiet.heartbeat, quiet.device, quiet.lock, quiet.certificate_expires) == (None, None, None, None)


def test_a_nodes_day_is_told_and_one_that_nobody_heard_of_has_none(office: Office) -> None:
    nothing, none = (None,) * STEPS, (0,) * STEPS
    day = NodeHistory(0, 600, (0.5, *nothing[1:]), nothing, nothing, nothing, nothing, none, none, nothing, none)
    office.lab.told.remember(office.nodes["gate"], day)
    response = office.ask(PLAIN, endpoints.NODE_HISTORY, node=office.nodes["gate"])
    assert NodeHistory.from_dict(response.get_json()) == day
    assert office.ask(PLAIN, endpoints.NODE_HISTORY, node=office.nodes["mast"]).status_code == 404
    assert office.ask(PLAIN, endpoints.NODE_HISTORY, node=office.nodes["stranger"]).status_code == 404


def test_labels_are_set_whole_and_asking_twice_is_told_once(office: Office) -> None:
    node = office.nodes["gate"]
    for _ in range(2):
        response = office.ask(ADMIN, endpoints.NODE_LABELS, {"labels": {"site": "north"}, "more": 1}, node=node)
        assert NodeDetail.from_dict(response.get_json()).entry.labels == {"site": "north"}
    assert len(office.told("node.label")) == 1
    bare = office.ask(ADMIN, endpoints.NODE_LABELS, {"labels": {}}, node=node)
    assert bare.get_json()["labels"] == {}


def test_one_that_waits_is_let_in_or_turned_away_once(office: Office) -> None:
    node = office.nodes["stranger"]
    found = NodeDetail.from_dict(office.ask(ADMIN, endpoints.NODE_APPROVE, node=node).get_json())
    assert found.entry.status != "pending"
    for endpoint in (endpoints.NODE_APPROVE, endpoints.NODE_REJECT):
        again = office.ask(ADMIN, endpoint, node=node)
        assert again.status_code == 409
        assert "does not wait for approval" in error_of(again)
    assert office.ask(ADMIN, endpoints.NODE_REJECT, node=office.nodes["hermit"]).status_code == 204
    assert office.ask(ADMIN, endpoints.NODE_REJECT, node=office.nodes["hermit"]).status_code == 404


def test_a_node_is_removed_once(office: Office) -> None:
    answers = [office.ask(ADMIN, endpoints.NODE_REMOVE, node=office.nodes["mast"]).status_code for _ in range(2)]
    assert answers == [204, 404]
    assert len(office.told("node.delete")) == 1
    assert office.ask(ADMIN, endpoints.NODE_REMOVE, node="../../etc/passwd").status_code == 404
    assert office.ask(ADMIN, endpoints.NODE_LABELS, {"labels": {}}, node=NEVER).status_code == 404
