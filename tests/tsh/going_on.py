"""Sessions that are going on, as a cluster tells of them."""

from __future__ import annotations

import time

from protocol.fleet_sessions import SessionEntry
from protocol.live_sessions import LiveParty, LiveSession
from protocol.names import Login, SessionId, UserName
from tests.harness.simulated_proxy import SimulatedNode

SESSION = SessionId("0b5e57a1-0d4c-8e1b-9a3f-0123456789ab")
OTHER = SessionId("0b5e57a1-0d4c-8e1b-9a3f-ffffffffffff")


def session_on(  # noqa: PLR0913 - one for each thing that a test varies
    node: SimulatedNode,
    login: str,
    session: str = SESSION,
    *,
    command: str = "",
    size: tuple[int, int] | None = (80, 24),
    may_join: bool = True,
    minutes: int = 5,
    parties: int = 1,
) -> SessionEntry:
    """Return one that bob began on `node` so many `minutes` ago."""
    started = int(time.time() - 60 * minutes - 1) * 1000
    others = [LiveParty(UserName(f"guest{number}"), "observer", started + 1) for number in range(parties - 1)]
    live = LiveSession(
        session=SessionId(session),
        login=Login(login),
        command=command,
        started=started,
        size=size,
        recorded=True,
        parties=(LiveParty(UserName("bob"), "peer", started, "10.0.0.9:50000"), *others),
    )
    return SessionEntry(node.node_id, node.name, live, may_join)
