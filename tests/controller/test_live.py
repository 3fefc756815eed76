from __future__ import annotations

from dataclasses import dataclass, replace

from controller.live import Live
from controller.policy.liveness import BrokerHealth, Standing
from controller.presence.mirror import NO_VIEW, View, view_of
from protocol.access import ADMIN, AUDITOR
from protocol.live_sessions import LiveSession, LiveSessions
from protocol.names import NodeId, RoleName, parse_login, parse_user_name
from tests.controller.harbour import Harbour
from tests.controller.presence.live import STARTED, going_on

STRANGER = NodeId("00000000-0000-4000-8000-000000000003")
UP = BrokerHealth(is_up=True)


@dataclass(frozen=True)
class Somebody:
    user = parse_user_name("ada")
    roles: tuple[RoleName, ...] = (RoleName("access"),)
    logins = (parse_login("pi"),)


def live_of(harbour: Harbour, known: dict[NodeId, tuple[LiveSession, ...]], health: BrokerHealth = UP) -> Live:
    standings = {key: Standing("online", live=LiveSessions(sessions)) for key, sessions in known.items()}
    return Live(harbour.enrolment.nodes, lambda: view_of(standings, health))


def test_sessions_are_listed_the_newest_first_with_where_they_are(harbour: Harbour) -> None:
    gate, quay = harbour.node("gate").node_id, harbour.node("quay").node_id
    old, new = going_on(gate, 1, "bob"), going_on(quay, 2, "carol", started=STARTED + 1000)
    live = live_of(harbour, {gate: (old,), quay: (new,)})
    assert [(entry.name, entry.live, entry.may_join) for entry in live.sessions_for(Somebody())] == [
        ("quay", new, True),
        ("gate", old, True),
    ]
    assert [entry.live for entry in live.on_node(gate, Somebody())] == [old]
    assert [entry.live for entry in live.everywhere()] == [new, old]


def test_what_one_may_not_join_is_not_listed_unless_one_takes_part(harbour: Harbour) -> None:
    gate = harbour.node("gate").node_id
    others, own = going_on(gate, 1, "bob", login="root"), going_on(gate, 2, "bob", "ada", login="root")
    live = live_of(harbour, {gate: (others, own)})
    assert [(entry.live, entry.may_join) for entry in live.sessions_for(Somebody())] == [(own, False)]
    assert live.find(others.session, Somebody()) is None
    found = live.find(own.session, Somebody())
    assert found is not None
    assert found.node_id == gate


def test_who_audits_or_administers_sees_all_of_them_and_joins_none(harbour: Harbour) -> None:
    gate = harbour.node("gate").node_id
    live = live_of(harbour, {gate: (going_on(gate, 1, "bob", login="root"),)})
    for role in (AUDITOR, ADMIN):
        assert [entry.may_join for entry in live.sessions_for(Somebody(roles=(role,)))] == [False]


def test_what_has_no_terminal_cannot_be_joined(harbour: Harbour) -> None:
    gate = harbour.node("gate").node_id
    live = live_of(harbour, {gate: (going_on(gate, command="uptime"),)})
    assert [entry.may_join for entry in live.sessions_for(Somebody())] == [False]


def test_a_node_that_is_enrolled_no_more_has_none(harbour: Harbour) -> None:
    live = live_of(harbour, {STRANGER: (going_on(STRANGER),)})
    assert live.sessions_for(Somebody()) == live.everywhere() == ()


def test_where_the_broker_is_away_the_last_that_was_told_is_shown(harbour: Harbour) -> None:
    gate = harbour.node("gate").node_id
    live = live_of(harbour, {gate: (going_on(gate),)}, BrokerHealth(is_up=False, reason="away"))
    assert len(live.everywhere()) == 1
    assert Live(harbour.enrolment.nodes, lambda: NO_VIEW).everywhere() == ()


def test_what_is_listed_is_the_same_until_something_is_told(harbour: Harbour) -> None:
    gate = harbour.node("gate").node_id
    told = Standing("online", live=LiveSessions((going_on(gate),)))
    shown = [View({gate: told}, UP)]
    live = Live(harbour.enrolment.nodes, lambda: shown[0])
    assert len(live.everywhere()) == 1
    shown[0] = View({gate: replace(told, live=LiveSessions())}, UP)
    assert live.everywhere() == ()
