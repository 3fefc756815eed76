from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.fields import MessageError
from protocol.live_sessions import LiveParty, LiveSession, LiveSessions
from protocol.names import SessionId, parse_login, parse_user_name

SESSION = SessionId("5640a9b8-4b0a-8d7e-9c1f-1f0a35a0bb21")
ADA = LiveParty(parse_user_name("ada"), "peer", 1_700_000_000_000, "192.0.2.7:50112")
LIVE = LiveSession(SESSION, parse_login("pi"), "", 1_700_000_000_000, (80, 24), recorded=True, parties=(ADA,))
EXEC = replace(LIVE, command="uptime", size=None, recorded=False)


def test_what_a_node_tells_is_read_back() -> None:
    told = LiveSessions((LIVE, EXEC), more=3)
    assert LiveSessions.decode(told.encode()) == told


def test_nothing_going_on_is_a_short_message() -> None:
    assert LiveSessions.decode(LiveSessions().encode()) == LiveSessions()
    assert len(LiveSessions().encode()) < 40


def test_more_sessions_than_are_told_of_are_counted() -> None:
    told = LiveSessions.decode(LiveSessions((EXEC,) * (limits.LIVE_SESSIONS_MAX + 5)).encode())
    assert len(told.sessions) + told.more == limits.LIVE_SESSIONS_MAX + 5
    assert told.sessions


def test_what_is_too_long_to_tell_is_counted_too() -> None:
    crowded = replace(LIVE, command="x" * 200, parties=(ADA,) * limits.PARTIES_PER_SESSION)
    payload = LiveSessions((crowded,) * 40).encode()
    told = LiveSessions.decode(payload)
    assert len(payload) <= limits.LIVE_SESSIONS_SIZE_MAX
    assert 0 < len(told.sessions) < 40
    assert len(told.sessions) + told.more == 40


def test_one_session_that_cannot_be_told_of_is_only_counted() -> None:
    endless = replace(LIVE, command="x" * limits.LIVE_SESSIONS_SIZE_MAX)
    assert LiveSessions.decode(LiveSessions((endless,)).encode()) == LiveSessions((), more=1)


@pytest.mark.parametrize(
    "change",
    [
        {"session": "../x"},
        {"login": ""},
        {"started": "now"},
        {"size": [80]},
        {"size": [0, 24]},
        {"size": [80, 10_001]},
        {"parties": [{"user": "ada", "mode": "owner", "since": 1}]},
        {"parties": [ADA.to_dict()] * (limits.PARTIES_PER_SESSION + 1)},
    ],
)
def test_a_session_that_is_told_wrongly_is_refused(change: dict[str, object]) -> None:
    payload = json.dumps({"v": 1, "sessions": [LIVE.to_dict() | change]}).encode()
    with pytest.raises(MessageError):
        LiveSessions.decode(payload)


def test_too_many_sessions_and_too_long_a_message_are_refused() -> None:
    with pytest.raises(MessageError, match="more than"):
        LiveSessions.decode(json.dumps({"sessions": [_short()] * (limits.LIVE_SESSIONS_MAX + 1)}).encode())
    with pytest.raises(MessageError, match="larger than"):
        LiveSessions.decode(b" " * (limits.LIVE_SESSIONS_SIZE_MAX + 1))


def _short() -> dict[str, object]:
    return {"session": SESSION, "login": "pi", "started": 1}


def test_an_address_that_is_not_plain_text_is_left_out() -> None:
    assert LiveParty.from_dict(ADA.to_dict() | {"remote": "\x1b[2J"}).remote == ""


def test_a_size_may_be_said_to_be_none() -> None:
    assert LiveSession.from_dict(LIVE.to_dict() | {"size": None}).size is None


@given(st.binary(max_size=300))
def test_reading_raises_nothing_else(payload: bytes) -> None:
    try:
        LiveSessions.decode(payload)
    except MessageError:
        return


def test_more_people_than_fit_and_times_that_never_come_are_no_message() -> None:
    told = LIVE.to_dict()
    for wrong in (
        told | {"parties": [ADA.to_dict()] * (limits.PARTIES_PER_SESSION + 1)},
        told | {"started": 10**15},
        told | {"parties": [ADA.to_dict() | {"since": 10**15}]},
    ):
        with pytest.raises(MessageError):
            LiveSession.from_dict(wrong)
