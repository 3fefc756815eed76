from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.joining import (
    Key,
    Size,
    Standing,
    Wish,
    counted,
    decide_join,
    judge_again,
    parse_session,
    read_keys,
    read_wish,
    smallest,
)
from protocol import limits
from protocol.access import AccessTarget
from protocol.certificates import UserIdentity
from protocol.decision import Granted, Refused
from protocol.joining import END_KEY, LEAVE_KEY, JoinMode
from protocol.names import Login, NodeId, RoleName, UserName, parse_node_name

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)

SESSION = "6d2ad0a5-3a5c-8f2e-9d3c-0123456789ab"
OPEN = Standing("pi", has_terminal=True, parties=1)


def decide(
    standing: Standing | None = OPEN,
    mode: str = "peer",
    login: str = "pi",
    *,
    is_shell: bool = True,
    permits_terminal: bool = True,
    barred: Refused | None = None,
) -> Granted[JoinMode] | Refused:
    wish = Wish(SESSION, mode, has_news=False)
    return decide_join(standing, wish, login, is_shell=is_shell, permits_terminal=permits_terminal, barred=barred)


@pytest.mark.parametrize("mode", ["observer", "peer", "moderator"])
def test_whoever_came_in_as_the_session_s_login_may_join_it(mode: str) -> None:
    assert decide(mode=mode) == Granted(mode)


def check_of(answer: Granted[JoinMode] | Refused) -> str:
    assert isinstance(answer, Refused)
    assert answer.reason
    return answer.check


def test_each_check_refuses_by_itself() -> None:
    assert check_of(decide(None)) == "Z1"
    assert check_of(decide(login="root")) == "Z2"
    assert check_of(decide(Standing("pi", has_terminal=False, parties=1))) == "Z3"
    assert check_of(decide(permits_terminal=False)) == "Z3"
    assert check_of(decide(mode="owner")) == "Z4"
    assert check_of(decide(Standing("pi", has_terminal=True, parties=limits.PARTIES_PER_SESSION))) == "Z5"
    assert check_of(decide(is_shell=False)) == "Z6"
    assert check_of(decide(barred=Refused("expired", "K3"))) == "Z7"


def test_who_was_let_in_is_judged_anew() -> None:
    node = AccessTarget(NodeId("n"), parse_node_name("edge-1"), {})
    who = UserIdentity(
        UserName("bob"), (RoleName("access"),), (Login("pi"),), 1, NOON - timedelta(hours=1), NOON, frozenset()
    )
    assert judge_again(who, node, "pi", NOON - timedelta(seconds=1)) is None
    for person, login, now, check in (
        (who, "pi", NOON, "K3"),
        (who, "root", NOON - timedelta(seconds=1), "A1"),
        (replace(who, roles=()), "pi", NOON - timedelta(seconds=1), "A2"),
    ):
        refused = judge_again(person, node, login, now)
        assert refused
        assert refused.check == check


def room(parties: int, own: int = 0) -> Standing:
    return Standing("pi", has_terminal=True, parties=parties, own=own)


def test_one_person_has_a_few_seats_and_no_more() -> None:
    most = limits.PARTIES_PER_USER
    for mode in ("observer", "peer", "moderator"):
        assert decide(room(most - 1, most - 1), mode) == Granted(mode)
        assert check_of(decide(room(most, most), mode)) == "Z5"


@pytest.mark.parametrize("mode", ["observer", "peer"])
def test_the_last_seats_are_kept_for_moderators(mode: str) -> None:
    free = limits.PARTIES_PER_SESSION - limits.PARTIES_KEPT_FOR_MODERATORS
    assert decide(room(free - 1), mode) == Granted(mode)
    assert check_of(decide(room(free), mode)) == "Z5"
    assert decide(room(limits.PARTIES_PER_SESSION - 1), "moderator") == Granted("moderator")
    assert check_of(decide(room(limits.PARTIES_PER_SESSION), "moderator")) == "Z5"


def test_a_channel_that_names_no_session_wants_one_of_its_own() -> None:
    assert read_wish({}) == Wish(None, "observer", has_news=False)
    assert read_wish({b"SKERRY_SESSION_NEWS": b"1"}).has_news
    assert not read_wish({b"SKERRY_SESSION_NEWS": b"yes"}).has_news


def test_a_session_is_named_even_by_nothing() -> None:
    assert read_wish({b"SKERRY_SESSION": b""}).session == ""
    assert read_wish({b"SKERRY_SESSION": SESSION.encode(), b"SKERRY_SESSION_JOIN_MODE": b"peer"}) == Wish(
        SESSION, "peer", has_news=False
    )


@given(st.binary(), st.binary())
def test_any_bytes_are_read_as_some_wish(session: bytes, mode: bytes) -> None:
    wish = read_wish({b"SKERRY_SESSION": session, b"SKERRY_SESSION_JOIN_MODE": mode})
    assert wish.session is not None
    found = parse_session(wish.session)
    assert found is None or found == wish.session.lower()


def test_a_session_id_is_parsed() -> None:
    assert parse_session(SESSION) == SESSION
    assert parse_session("../x") is None


def test_the_smallest_of_columns_and_of_rows_is_shown() -> None:
    assert smallest([(80, 24, 640, 480), (100, 20, 1, 1)]) == (80, 20, 0, 0)
    assert smallest([(80, 24, 640, 480), (100, 40, 1, 1), None]) == (80, 24, 640, 480)


@pytest.mark.parametrize("mode", ["observer", "moderator"])
def test_who_does_not_type_makes_it_no_smaller_than_what_is_of_use(mode: JoinMode) -> None:
    assert counted((1, 1, 5, 5), mode) == (20, 5, 0, 0)
    assert counted((10, 40, 5, 5), mode) == (20, 40, 0, 0)
    for size in (None, (0, 0, 0, 0), (0, 3, 0, 0), (20, 5, 7, 7)):
        assert counted(size, mode) == size
    assert counted((1, 1, 5, 5), "peer") == (1, 1, 5, 5)


def test_who_has_no_size_does_not_count() -> None:
    assert smallest([None, (0, 0, 0, 0), (80, 0, 0, 0), (90, 30, 0, 0)]) == (90, 30, 0, 0)
    assert smallest([None, (0, 24, 0, 0)]) is None


@given(st.lists(st.tuples(*[st.integers(0, 500)] * 4)))
def test_everybody_can_show_the_smallest(sizes: list[Size]) -> None:
    found = smallest(sizes)
    for size in sizes if found else []:
        assert not (size[0] and size[1]) or (found and found[0] <= size[0] and found[1] <= size[1])


@pytest.mark.parametrize("mode", ["observer", "moderator"])
def test_the_leaving_key_leaves(mode: JoinMode) -> None:
    assert read_keys(mode, LEAVE_KEY) is Key.LEAVE
    assert read_keys(mode, b"abc" + LEAVE_KEY + b"t") is Key.LEAVE


def test_only_a_moderator_s_key_ends_and_only_by_itself() -> None:
    assert read_keys("moderator", END_KEY) is Key.END
    assert read_keys("moderator", END_KEY * 3) is Key.END
    for data in (b"", b"xt", b"\x1b[8;24;80t", b"T", b"\x1b[200~t\x1b[201~"):
        assert read_keys("moderator", data) is None
    assert read_keys("observer", END_KEY) is None
