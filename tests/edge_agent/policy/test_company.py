from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.policy.company import Companion, describe_company, tell_joined, tell_joiner, tell_left
from protocol.joining import JoinMode

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def here(user: str, login: str, **since: float) -> Companion:
    return Companion(user, login, NOW - timedelta(**since))


def test_nobody_else_is_nothing_to_say() -> None:
    assert describe_company([], NOW) == ""


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ({"seconds": 5}, "5 s"),
        ({"seconds": -5}, "0 s"),
        ({"minutes": 12}, "12 min"),
        ({"hours": 2.5}, "2 h"),
        ({"days": 3}, "3 d"),
    ],
)
def test_one_is_named_with_login_and_span(since: dict[str, float], said: str) -> None:
    text = describe_company([here("alice", "root", **since)], NOW)
    assert text == f"alice is on this device too (root, for {said}); tsh sessions ls"


def test_several_sessions_of_one_person_are_told_once_from_the_first() -> None:
    found = [here("alice", "root", minutes=1), here("alice", "root", minutes=9)]
    assert describe_company(found, NOW) == "alice is on this device too (root, for 9 min); tsh sessions ls"


def test_several_are_named_and_the_rest_counted() -> None:
    found = [here(user, "pi", minutes=5) for user in ("a", "b", "c", "d", "e")]
    assert describe_company(found[:2], NOW) == (
        "a (pi, for 5 min) and b (pi, for 5 min) are on this device too; tsh sessions ls"
    )
    assert describe_company(found, NOW) == (
        "a (pi, for 5 min), b (pi, for 5 min), c (pi, for 5 min) and 2 more are on this device too; tsh sessions ls"
    )


def test_joins_and_leaves_are_told_in_a_line() -> None:
    assert tell_joined("bob", "observer", 2) == "Skerry: bob joined as observer (2 here)"
    assert tell_left("bob") == "Skerry: bob left"


@pytest.mark.parametrize(
    ("mode", "columns", "said"),
    [
        ("peer", 80, ""),
        ("observer", 80, "Skerry: bob joined as observer (2 here); CTRL-C leaves"),
        ("observer", 40, "Skerry: CTRL-C leaves"),
        ("moderator", 80, "Skerry: bob joined as moderator (2 here); CTRL-C leaves, t ends it for all"),
        ("moderator", 45, "Skerry: CTRL-C leaves, t ends it for all"),
        ("observer", 20, ""),
    ],
)
def test_who_looks_on_is_told_how_to_leave_in_as_many_lines(mode: JoinMode, columns: int, said: str) -> None:
    assert tell_joiner(tell_joined("bob", mode, 2), mode, columns) == said
