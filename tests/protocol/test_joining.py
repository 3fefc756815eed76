from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.fields import MessageError
from protocol.joining import PartyNews, SessionNews, parse_join_mode
from protocol.names import SessionId, parse_user_name

SESSION = SessionId("5640a9b8-4b0a-8d7e-9c1f-1f0a35a0bb21")
NEWS = SessionNews(
    SESSION,
    (80, 24),
    (PartyNews(parse_user_name("ada"), "peer"), PartyNews(parse_user_name("bob"), "observer")),
)


def test_news_are_read_back() -> None:
    assert SessionNews.decode(NEWS.encode()) == NEWS


@pytest.mark.parametrize("mode", ["observer", "peer", "moderator"])
def test_a_mode_is_one_of_three(mode: str) -> None:
    assert parse_join_mode(mode) == mode


@pytest.mark.parametrize("mode", ["", "Peer", "owner", None, 1, ["peer"]])
def test_anything_else_is_no_mode(mode: object) -> None:
    with pytest.raises(MessageError):
        parse_join_mode(mode)


@pytest.mark.parametrize(
    "change",
    [
        {"session": "x"},
        {"size": [80]},
        {"size": "80x24"},
        {"size": [80, -1]},
        {"parties": [{"user": "ada"}]},
        {"parties": [{"user": "-", "mode": "peer"}]},
        {"parties": {}},
    ],
)
def test_news_that_are_wrong_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        SessionNews.decode(json.dumps(json.loads(NEWS.encode()) | change).encode())


def test_news_that_are_too_large_are_refused_unread() -> None:
    with pytest.raises(MessageError, match="larger than"):
        SessionNews.decode(b" " * (limits.SESSION_NEWS_MAX + 1))


def test_news_of_a_full_session_fit_their_bound() -> None:
    crowd = tuple(PartyNews(parse_user_name("a" * 32), "moderator") for _ in range(limits.PARTIES_PER_SESSION))
    assert len(SessionNews(SESSION, (9999, 9999), crowd).encode()) <= limits.SESSION_NEWS_MAX


@given(st.binary(max_size=300))
def test_reading_news_raises_nothing_else(payload: bytes) -> None:
    try:
        SessionNews.decode(payload)
    except MessageError:
        return
