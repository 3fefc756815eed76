from __future__ import annotations

from datetime import timedelta

import pytest

from protocol import limits
from protocol.names import UserName
from tests.controller.harbour import WEB, Harbour

ALICE = UserName("alice")


def open_web(harbour: Harbour) -> str:
    return harbour.session("web", limits.WEB_SESSION_MAX)


def test_a_session_is_found_by_its_token_until_it_expires(harbour: Harbour) -> None:
    harbour.person()
    token = harbour.session("tsh", timedelta(hours=3))
    found = harbour.accounts.session(token)
    assert found is not None
    assert (found.user, found.kind, found.created) == (ALICE, "tsh", harbour.clock())
    assert found.expires == harbour.clock() + timedelta(hours=3)
    harbour.clock.move(hours=3)
    assert harbour.accounts.session(token) is None


def test_only_a_hash_of_the_token_is_kept(harbour: Harbour) -> None:
    harbour.person()
    token = open_web(harbour)
    found = harbour.accounts.session(token)
    assert found is not None
    kept = [path.read_text() for path in harbour.folder.rglob("*") if path.is_file()]
    assert not any(token in text or found.csrf.reveal() in text for text in kept)


def test_two_sessions_have_different_tokens_and_form_tokens(harbour: Harbour) -> None:
    harbour.person()
    one, two = open_web(harbour), open_web(harbour)
    first, second = harbour.accounts.session(one), harbour.accounts.session(two)
    assert first is not None
    assert second is not None
    assert one != two
    assert first.csrf.reveal() != second.csrf.reveal()


def test_an_idle_browser_is_signed_out_and_a_busy_one_is_not(harbour: Harbour) -> None:
    harbour.person()
    idle, busy = open_web(harbour), open_web(harbour)
    for _ in range(4):
        harbour.clock.now += limits.WEB_SESSION_IDLE / 3
        assert harbour.accounts.session(busy) is not None
    assert harbour.accounts.session(idle) is None


def test_a_busy_browser_is_signed_out_when_its_longest_time_is_over(harbour: Harbour) -> None:
    harbour.person()
    token, end = open_web(harbour), harbour.clock() + limits.WEB_SESSION_MAX
    while harbour.clock() < end:
        assert harbour.accounts.session(token) is not None
        harbour.clock.now += limits.WEB_SESSION_IDLE / 2
    assert harbour.accounts.session(token) is None


def test_tsh_may_rest_for_longer_than_a_browser(harbour: Harbour) -> None:
    harbour.person()
    token = harbour.session("tsh", timedelta(hours=12))
    harbour.clock.now += limits.WEB_SESSION_IDLE * 2
    assert harbour.accounts.session(token) is not None


def test_closing_a_session_ends_it_and_is_audited_once(harbour: Harbour) -> None:
    harbour.person()
    token = open_web(harbour)
    for _ in range(2):
        harbour.accounts.close_session(token, WEB)
    assert harbour.accounts.session(token) is None
    (entry,) = harbour.entries("user.logout")
    assert (entry["user"], entry["client"]) == ("alice", "Mozilla")


@pytest.mark.parametrize("token", ["", "nothing", "0" * 43, "../x", "a" * 10_000])
def test_what_is_no_token_finds_and_closes_nothing(harbour: Harbour, token: str) -> None:
    harbour.person()
    assert harbour.accounts.session(token) is None
    harbour.accounts.close_session(token, WEB)
    assert harbour.entries("user.logout") == []
