"""Nodes with heartbeats, sessions and a history, as the pages show them."""

from __future__ import annotations

from datetime import timedelta

from controller.policy.liveness import NO_SESSIONS, Standing
from controller.presence import Tunnel
from controller.presence.history import NodeHistory
from protocol import limits
from protocol.instants import to_milliseconds
from protocol.live_sessions import LiveParty, LiveSession, LiveSessions
from protocol.names import NodeId, SessionId, parse_login, parse_user_name
from protocol.presences import Beat, NodeState
from tests.controller.web.lab import Lab

SESSION = SessionId("11111111-0000-4000-8000-000000000001")
STEPS = limits.HISTORY_SPAN // limits.HISTORY_STEP


def standing(lab: Lab, *, spool: int = 0, live: LiveSessions = NO_SESSIONS, version: str = "0.1.0") -> Standing:
    """A node that is online and well."""
    now = lab.clock()
    state = NodeState("0123456789abcdef", None, version, 30, 948 * 1024, 29 * 1024, "Linux aarch64")
    beat = Beat(
        uptime=300_000,
        load=42,
        memory=512 * 1024,
        disk=12 * 1024,
        temperature=485,
        round_trip=385,
        reconnects=2,
        spool_files=spool,
        spool_bytes=spool * 1_500_000,
        clock_offset=40,
        tunnel=True,
        sessions=len(live.sessions),
        policy=3,
        generation=1,
    )
    return Standing("online", now - timedelta(hours=3), now - timedelta(seconds=9), "", state, beat, live)


def gave_up(lab: Lab, presence: str = "offline") -> Standing:
    """A node that is not there any more."""
    since = lab.clock() - timedelta(days=2)
    return Standing("stale" if presence == "stale" else "offline", since, since, "lost")


def session_of(lab: Lab, user: str = "ada", login: str = "pi", command: str = "") -> LiveSessions:
    begun = to_milliseconds(lab.clock() - timedelta(minutes=12))
    party = LiveParty(parse_user_name(user), "peer", begun, "192.0.2.7:5511")
    return LiveSessions((LiveSession(SESSION, parse_login(login), command, begun, (120, 32), True, (party,)),))


def history(lab: Lab) -> NodeHistory:
    """A day with a gap of an hour, and three times offline."""
    begin = to_milliseconds(lab.clock() - limits.HISTORY_SPAN)
    gap = range(60, 66)
    load = tuple(None if n in gap else 0.2 + (n % 12) / 10 for n in range(STEPS))
    there = tuple(None if n in gap else n for n in range(STEPS))
    none = (None,) * STEPS
    return NodeHistory(
        begin=begin,
        step=int(limits.HISTORY_STEP.total_seconds()),
        load=load,
        memory_free=tuple(None if n is None else 500_000.0 - 1000 * n for n in there),
        temperature=none,
        round_trip=tuple(None if n is None else 30.0 + n % 20 for n in there),
        round_trip_worst=none,
        reconnects=tuple(None if n is None else 0 for n in there),
        offline=tuple(3 if n == 59 else None if n in gap else 0 for n in range(STEPS)),
        spool_bytes=none,
        sessions=none,
    )


def put_to_sea(lab: Lab) -> dict[str, NodeId]:
    """Enrol five nodes in all states."""
    now = lab.clock()
    up, down = Tunnel("up", now - timedelta(hours=3)), Tunnel("down", now - timedelta(days=2))
    ids = {
        "buoy-north": lab.enrol(1, "buoy-north", up, env="production", site="skagerrak"),
        "buoy-south": lab.enrol(2, "buoy-south", up, env="production", site="kattegat"),
        "kiosk-2": lab.enrol(3, "kiosk-2", down, env="staging", model="rpi4"),
        "kiosk-3": lab.enrol(4, "kiosk-3", down, env="staging", model="rpi5"),
        "new-one": lab.enrol(5, "new-one"),
    }
    lab.told.say(
        {
            ids["buoy-north"]: standing(lab, live=session_of(lab)),
            ids["buoy-south"]: standing(lab, spool=3, version="0.2.10"),
            ids["kiosk-2"]: gave_up(lab),
            ids["kiosk-3"]: gave_up(lab, "stale"),
        }
    )
    lab.told.remember(ids["buoy-north"], history(lab))
    return ids
