"""Live sessions as a node tells of them, for tests."""

from __future__ import annotations

from protocol.live_sessions import LiveParty, LiveSession, LiveSessions
from protocol.names import NodeId, parse_login, parse_user_name
from protocol.session_ids import RANDOM_BYTES, mint_session_id

STARTED = 1_795_347_000_000


def going_on(
    node_id: NodeId, number: int = 1, *users: str, login: str = "pi", command: str = "", started: int = STARTED
) -> LiveSession:
    """Return a session on a node; it has a terminal where it is a shell."""
    parties = tuple(LiveParty(parse_user_name(user), "peer", started, "192.0.2.7:50112") for user in users or ("ada",))
    return LiveSession(
        session=mint_session_id(node_id, bytes([number % 256]) * RANDOM_BYTES),
        login=parse_login(login),
        command=command,
        started=started,
        size=None if command else (80, 24),
        recorded=True,
        parties=parties,
    )


def told(node_id: NodeId, *users: str) -> LiveSessions:
    """Return what a node tells where one session is going on."""
    return LiveSessions((going_on(node_id, 1, *users),))
