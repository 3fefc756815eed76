from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from controller.fleet import NodeView
from controller.policy.liveness import UNSEEN
from controller.web.listing import PAGE_SIZE, Listing, describe_age, list_nodes
from protocol.messages import NodeStatus
from protocol.names import Login, NodeId, NodeName

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


_STATUSES: dict[str, NodeStatus] = {"up": "online", "down": "offline", "unknown": "unknown"}


def node(number: int, name: str, tunnel: Literal["up", "down", "unknown"] = "up", **labels: str) -> NodeView:
    node_id = NodeId(f"00000000-0000-4000-8000-{number:012d}")
    since = None if tunnel == "unknown" else NOW - timedelta(hours=3)
    status = _STATUSES[tunnel]
    joined = NOW - timedelta(days=1)
    return NodeView(node_id, NodeName(name), labels, status, since, tunnel, since, UNSEEN, "0.1.0", joined)


def listing(nodes: list[NodeView], search: str = "", page: int = 1, login: str | None = "pi") -> Listing:
    return list_nodes(nodes, search=search, page=page, login=None if login is None else Login(login), now=NOW)


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
    found = listing(FLEET, search)
    assert names(found) == expected
    assert (found.total, found.online, found.offline, found.pending) == (3, 1, 1, 1)


def test_a_node_that_never_connected_is_pending_since_it_joined() -> None:
    row = listing(FLEET, "robot").rows[0]
    assert (row.state, row.since, row.age) == ("pending", NOW - timedelta(days=1), "1 d")


@pytest.mark.parametrize("status", ["tunnel down", "stale"])
def test_a_node_that_is_neither_well_nor_gone_is_shown_as_what_it_is(status: NodeStatus) -> None:
    found = listing([replace(FLEET[0], status=status)])
    assert (found.rows[0].state, found.rows[0].tone) == (status, "pending")
    assert (found.online, found.tunnel_down, found.stale) == (0, int(status == "tunnel down"), int(status == "stale"))


def test_a_name_that_two_nodes_bear_is_opened_by_its_id() -> None:
    found = listing([node(1, "twin"), node(2, "twin"), node(3, "other")])
    commands = [row.command for row in found.rows]
    assert commands[0] == "tsh ssh pi@other"
    assert commands[1:] == [f"tsh ssh pi@00000000-0000-4000-8000-{n:012d}" for n in (1, 2)]
    assert listing([node(3, "other")], login=None).rows[0].command == "tsh ssh other"


def test_pages_hold_a_bounded_number_and_one_past_the_end_is_the_last() -> None:
    fleet = [node(number, f"n{number:05}") for number in range(PAGE_SIZE * 2 + 1)]
    assert len(listing(fleet).rows) == PAGE_SIZE
    last = listing(fleet, page=99)
    assert (last.page, last.pages, names(last)) == (3, 3, [f"n{PAGE_SIZE * 2:05}"])
    assert listing([]).pages == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "now"), (4, "now"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86400 * 3, "3 d")],
)
def test_an_age_is_told_in_its_largest_unit(seconds: int, text: str) -> None:
    assert describe_age(timedelta(seconds=seconds)) == text
