from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from controller.fleet import NodeView
from controller.policy.liveness import UNSEEN
from controller.web.listing import (
    FACETS_MAX,
    LABELS_ASKED_MAX,
    PAGE_SIZE,
    SORTS,
    Catalogue,
    Listing,
    Question,
    Sight,
    describe_age,
    list_nodes,
)
from protocol.messages import NodeStatus
from protocol.names import Login, NodeId, NodeName

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ANY = Question()


_STATUSES: dict[str, NodeStatus] = {"up": "online", "down": "offline", "unknown": "unknown"}


def node(number: int, name: str, tunnel: Literal["up", "down", "unknown"] = "up", **labels: str) -> NodeView:
    node_id = NodeId(f"00000000-0000-4000-8000-{number:012d}")
    since = None if tunnel == "unknown" else NOW - timedelta(hours=3)
    status = _STATUSES[tunnel]
    joined = NOW - timedelta(days=1)
    return NodeView(node_id, NodeName(name), labels, status, since, tunnel, since, UNSEEN, "0.1.0", joined)


def listing(nodes: list[NodeView], question: Question = ANY, logins: tuple[str, ...] = ("pi",)) -> Listing:
    opens = [node.node_id for node in nodes]
    sight = Sight(NOW, opens, tuple(Login(login) for login in logins), sessions={})
    return list_nodes(Catalogue().cards(nodes), question, sight)


def asked(search: str) -> Question:
    return Question(search=search)


def names(found: Listing) -> list[str]:
    return [row.node.name for row in found.rows]


FLEET = [
    node(1, "buoy", env="production", site="oslo"),
    node(2, "kiosk", "down", env="staging"),
    node(3, "robot", "unknown", env="production"),
]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("", ["buoy", "kiosk", "robot"]),
        ("BUO", ["buoy"]),
        ("env=production", ["buoy", "robot"]),
        ("env=production offline", []),
        ("offline", ["kiosk"]),
        ("pending", ["robot"]),
        ("000000000003", ["robot"]),
        ("oslo buoy", ["buoy"]),
    ],
)
def test_every_word_of_the_search_must_be_found(search: str, expected: list[str]) -> None:
    found = listing(FLEET, asked(search))
    assert names(found) == expected
    assert found.total == 3
    assert found.states == {"online": 1, "pending": 1, "tunnel-down": 0, "stale": 0, "offline": 1}


def test_a_node_that_never_connected_is_pending_since_it_joined() -> None:
    row = listing(FLEET, asked("robot")).rows[0]
    assert (row.state, row.since, row.age) == ("pending", NOW - timedelta(days=1), "1 d")


@pytest.mark.parametrize("status", ["tunnel down", "stale"])
def test_a_node_that_is_neither_well_nor_gone_is_shown_as_what_it_is(status: NodeStatus) -> None:
    found = listing([replace(FLEET[0], status=status)])
    assert (found.rows[0].state, found.rows[0].tone) == (status, "stale")
    assert (found.states["online"], found.states[status.replace(" ", "-")]) == (0, 1)


def test_a_name_that_two_nodes_bear_is_opened_by_its_id() -> None:
    found = listing([node(3, "other"), node(1, "twin"), node(2, "twin")])
    commands = [row.command for row in found.rows]
    assert commands[0] == "tsh ssh pi@other"
    assert commands[1:] == [f"tsh ssh pi@00000000-0000-4000-8000-{n:012d}" for n in (1, 2)]
    assert listing([node(3, "other")], logins=()).rows[0].command == ""


def test_pages_hold_a_bounded_number_and_one_past_the_end_is_the_last() -> None:
    fleet = [node(number, f"n{number:05}") for number in range(PAGE_SIZE * 2 + 1)]
    assert len(listing(fleet).rows) == PAGE_SIZE
    last = listing(fleet, Question(page=99))
    assert (last.page, last.pages, names(last)) == (3, 3, [f"n{PAGE_SIZE * 2:05}"])
    assert listing([]).pages == 1
    assert names(listing(fleet, Question(page=2)))[0] == f"n{PAGE_SIZE:05}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "now"), (4, "now"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86400 * 3, "3 d")],
)
def test_an_age_is_told_in_its_largest_unit(seconds: int, text: str) -> None:
    assert describe_age(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((("env", "production"),), ["buoy", "robot"]),
        ((("env", "production"), ("site", "oslo")), ["buoy"]),
        ((("env", "staging"), ("env", "production")), []),
        ((("nothing", "x"),), []),
    ],
)
def test_every_label_that_is_asked_for_must_be_there(labels: tuple[tuple[str, str], ...], expected: list[str]) -> None:
    assert names(listing(FLEET, Question(labels=labels))) == expected


def test_one_state_can_be_asked_for() -> None:
    assert names(listing(FLEET, Question(state="offline"))) == ["kiosk"]
    assert names(listing(FLEET, Question(state="pending"))) == ["robot"]


def test_a_node_that_waits_for_approval_says_so_and_counts_as_pending() -> None:
    found = listing([replace(FLEET[0], status="pending")])
    assert (found.rows[0].state, found.states["pending"]) == ("pending approval", 1)


def test_the_table_is_sorted_as_it_is_asked_and_backwards_with_a_dash() -> None:
    old = replace(FLEET[0], since=NOW - timedelta(days=9), version="0.2.10")
    new = replace(FLEET[1], version="0.2.9")
    fleet = [old, new, FLEET[2]]
    assert names(listing(fleet, Question(sort="since"))) == ["buoy", "robot", "kiosk"]
    assert names(listing(fleet, Question(sort="state"))) == ["buoy", "robot", "kiosk"]
    assert names(listing(fleet, Question(sort="-version"))) == ["buoy", "kiosk", "robot"]
    assert names(listing(fleet, Question(sort="-name"))) == ["robot", "kiosk", "buoy"]
    for sort in SORTS:
        assert sorted(names(listing(fleet, Question(sort=sort)))) == ["buoy", "kiosk", "robot"]


def test_labels_to_narrow_by_are_those_that_narrow_something_down_with_their_counts() -> None:
    facets = {facet.pair: (facet.count, facet.is_asked) for facet in listing(FLEET).facets}
    assert facets == {("env", "production"): (2, False), ("env", "staging"): (1, False), ("site", "oslo"): (1, False)}
    narrowed = listing(FLEET, Question(labels=(("env", "production"),)))
    assert [(facet.pair, facet.count, facet.is_asked) for facet in narrowed.facets] == [
        (("env", "production"), 2, True),
        (("site", "oslo"), 1, False),
    ]
    many = [node(number, f"n{number:03}", serial=str(number), half=str(number % 2)) for number in range(PAGE_SIZE * 2)]
    assert [facet.pair for facet in listing(many).facets] == [("half", "0"), ("half", "1")]
    assert len(listing([node(n, f"n{n}", serial=str(n)) for n in range(FACETS_MAX * 2)]).facets) == FACETS_MAX


def test_what_an_address_asks_comes_back_in_its_links() -> None:
    question = Question.read({"q": "a b", "state": "offline", "sort": "-seen", "page": "3"}, ["env=x=y", "site=ø"])
    assert question == Question("a b", (("env", "x=y"), ("site", "ø")), "offline", "-seen", 3)
    assert question.link() == "?q=a+b&label=env%3Dx%3Dy&label=site%3D%C3%B8&state=offline&sort=-seen"
    assert question.link(page=2).endswith("&page=2")
    assert question.in_state("offline").state == ""
    assert question.toggled(("env", "x=y")).labels == (("site", "ø"),)
    assert question.sorted_by("seen").sort == "seen"
    assert question.sorted_by("seen").sorted_by("seen").sort == "-seen"
    assert Question().link() == "?"


@pytest.mark.parametrize("sort", ["", "-", "--name", "password", "name,state"])
def test_what_is_not_understood_counts_as_not_asked(sort: str) -> None:
    labels = ["", "nothing", "x" * 500 + "=y", *(f"k{number}=v" for number in range(40))]
    question = Question.read({"sort": sort, "state": "burning", "page": "-1", "q": "x" * 1000}, labels)
    assert (question.sort, question.state, question.page, len(question.search)) == ("name", "", 1, 200)
    assert len(question.labels) == LABELS_ASKED_MAX


def test_a_catalogue_makes_anew_only_what_has_changed() -> None:
    catalogue = Catalogue()
    before = catalogue.cards(FLEET)
    changed = replace(FLEET[1], status="online")
    after = catalogue.cards([FLEET[0], changed, FLEET[2]])
    assert [card is old for card, old in zip(after, before, strict=True)] == [True, False, True]
    assert "online" in after[1].text
