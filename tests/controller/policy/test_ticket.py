from __future__ import annotations

import pytest

from controller.policy.ticket import (
    PATH_MAX,
    Order,
    Ticket,
    decide_room,
    decide_source,
    decide_ticket,
    parse_kind,
    parse_path,
)
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import NodeId, parse_login, parse_user_name

ORDER = Order("terminal", NodeId("00000000-0000-4000-8000-000000000001"), parse_login("pi"))
TICKET = Ticket(parse_user_name("alice"), "hash of alice's sign-in", ORDER)


def check(answer: object) -> str:
    assert isinstance(answer, Refused)
    return answer.check


def test_a_page_of_our_own_may_ask() -> None:
    assert decide_source("https://skerry.example:3080", "skerry.example:3080") == Granted("https://skerry.example:3080")


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "https://skerry.example",
        "http://skerry.example:3080",
        "https://skerry.example:3080.evil",
        "x" * 9999,
    ],
)
def test_any_other_page_is_refused_in_bounded_words(origin: str | None) -> None:
    answer = decide_source(origin, "skerry.example:3080")
    assert check(answer) == "WS1"
    assert isinstance(answer, Refused)
    assert len(answer.reason) < 300


def test_a_ticket_is_good_for_the_sign_in_that_it_was_given_to_alone() -> None:
    assert decide_ticket(TICKET, TICKET.sign_in) == Granted(TICKET)
    assert check(decide_ticket(TICKET, None)) == "WS2"
    assert check(decide_ticket(None, TICKET.sign_in)) == "WS3"
    assert check(decide_ticket(TICKET, "hash of another")) == "WS4"


def test_there_is_room_up_to_the_bounds_and_not_beyond() -> None:
    assert decide_room(limits.TERMINALS_PER_USER - 1, limits.TERMINALS_PER_WORKER - 1) == Granted(None)
    assert check(decide_room(limits.TERMINALS_PER_USER, 0)) == "WS5"
    assert check(decide_room(0, limits.TERMINALS_PER_WORKER)) == "WS5"


def test_kinds_and_paths_are_read() -> None:
    assert [parse_kind(kind) for kind in ("terminal", "upload", "download")] == ["terminal", "upload", "download"]
    assert parse_path("~/a file.txt") == "~/a file.txt"


@pytest.mark.parametrize("path", ["", "  ", "a\0b", "é" * (PATH_MAX // 2 + 1)])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="a path has"):
        parse_path(path)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="neither"):
        parse_kind("shell")
