from __future__ import annotations

import pytest

from protocol.fields import MessageError
from protocol.fleet_sessions import SessionEntry, SessionList
from protocol.live_sessions import LiveSession
from protocol.names import NodeId, SessionId, parse_login, parse_node_name

NODE = NodeId("1f0a35a0-bb21-4b0a-8d7e-5640a9b8c1f0")
SESSION = SessionId("5640a9b8-4b0a-8d7e-9c1f-1f0a35a0bb21")
LIVE = LiveSession(SESSION, parse_login("pi"), "", 1, (80, 24), recorded=True, parties=())
ENTRY = SessionEntry(NODE, parse_node_name("edge-1"), LIVE, may_join=True)


def test_the_listing_is_read_back() -> None:
    assert SessionList.from_dict(SessionList((ENTRY,)).to_dict()) == SessionList((ENTRY,))


@pytest.mark.parametrize("change", [{"node_id": "x"}, {"name": ""}, {"session": None}, {"may_join": 1}])
def test_an_entry_that_is_wrong_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        SessionEntry.from_dict(ENTRY.to_dict() | change)
