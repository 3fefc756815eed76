from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest

from controller.audit_reader import AuditReader
from controller.fleet import Fleet
from controller.home import Backlog, Beginning, Home, Homes
from controller.live import Live
from controller.policy.liveness import BrokerHealth, Standing
from controller.presence import Tunnel
from controller.presence.mirror import NO_VIEW, View, view_of
from protocol import events, limits
from protocol.access import ACCESS, ADMIN, AUDITOR
from protocol.events import EventKind, Json
from protocol.live_sessions import LiveSessions
from protocol.names import Login, NodeId, RoleName, UserName
from protocol.presences import NodeState
from tests.controller.harbour import ADMIN as ROOT
from tests.controller.harbour import Harbour
from tests.controller.lookout.lab import BEAT
from tests.controller.presence.live import going_on

ADA = UserName("ada")
STATE = NodeState("00000000000000aa", version="0.2", disk=30_000)
GOOD = replace(BEAT, disk=20_000, clock_offset=10)


@dataclass(frozen=True)
class Somebody:
    roles: tuple[RoleName, ...]
    user: UserName = ADA
    logins: tuple[Login, ...] = (Login("pi"),)


PLAIN, BOSS, EYE = Somebody((ACCESS,)), Somebody((ADMIN,)), Somebody((AUDITOR,))


@dataclass
class Porch:
    """A cluster's home, with what MQTT tells as a test says it."""

    harbour: Harbour
    view: View = field(default_factory=lambda: view_of({}, BrokerHealth(is_up=True)))

    def __post_init__(self) -> None:
        nodes = self.harbour.enrolment.nodes
        self.homes = Homes(
            fleet=Fleet(nodes, self.harbour.presence, lambda: self.view, self.harbour.clock),
            live=Live(nodes, lambda: self.view),
            locks=self.harbour.locks,
            enrolment=self.harbour.enrolment,
            authority=self.harbour.authority,
            ledger=AuditReader(self.harbour.audit, self.harbour.clock),
            clock=self.harbour.clock,
            told=lambda: self.view,
        )

    def of(self, person: Somebody) -> Home:
        return self.homes.of(person)

    def say(self, node_id: NodeId, standing: Standing) -> None:
        self.view = View({**self.view.standings, node_id: standing}, self.view.health)

    def there(self, name: str, **beat: int) -> NodeId:
        """Enrol a node that is online, and say of its heartbeat what is different."""
        node_id = self.harbour.node(name).node_id
        now = self.harbour.clock()
        self.harbour.presence.write({node_id: Tunnel("up", now)})
        self.say(node_id, Standing("online", now, now, "", STATE, replace(GOOD, **beat)))  # type: ignore[arg-type]  # fields that are numbers
        return node_id

    def write(self, kind: EventKind, **more: Json) -> None:
        fields: dict[str, Json] = {**dict.fromkeys(kind.fields, "x"), **more}
        self.harbour.audit.write(kind, fields)


@pytest.fixture
def porch(harbour: Harbour) -> Porch:
    return Porch(harbour)


def alerts(home: Home) -> dict[str, int]:
    return {alert.subject: alert.count for alert in home.alerts}


def test_cards_count_what_the_fleet_tells(porch: Porch) -> None:
    gate = porch.there("gate", spool_files=2, spool_bytes=1000)
    porch.there("quay", spool_files=1, spool_bytes=24)
    gone = porch.harbour.node("gone").node_id
    porch.say(gone, Standing("offline", porch.harbour.clock()))
    porch.say(gate, replace(porch.view.of(gate), live=LiveSessions((going_on(gate, 1, "bob"),))))
    home = porch.of(BOSS)
    assert {status: number for status, number in home.nodes.items() if number} == {"online": 2, "offline": 1}
    assert (home.total, home.sessions, home.backlog) == (3, 1, Backlog(2, 3, 1024))
    assert home.alerts == ()


def test_alerts_are_of_what_is_so_now(porch: Porch) -> None:
    porch.there("full", disk=100)
    porch.there("off", clock_offset=-3_600_000)
    asleep = porch.there("asleep", disk=1)
    porch.say(asleep, replace(porch.view.of(asleep), presence="offline"))  # what it told was then
    porch.harbour.enrolment.report_clone(asleep, "two runs", ROOT)
    porch.view = View(porch.view.standings, BrokerHealth(is_up=False, reason="it is away"))
    porch.harbour.authority.rotate("host", "init", porch.harbour.clock())
    waiting = replace(porch.harbour.node("waiting"), pending=True)
    porch.harbour.enrolment.nodes.remove(waiting.node_id, ROOT)
    porch.harbour.enrolment.nodes.add(waiting)
    found = porch.of(BOSS)
    assert alerts(found) == {"broker": 1, "clones": 1, "disk": 1, "clocks": 1, "pending": 1, "rotation": 1}
    assert {alert.subject: alert.nodes for alert in found.alerts}["clones"] == ("asleep",)


def test_what_went_wrong_with_recordings_is_told_for_a_day(porch: Porch) -> None:
    porch.there("gate")
    porch.write(events.RECORDING_GAP, server_hostname="gate")
    porch.write(events.RECORDING_SET_ASIDE, server_hostname="gate")
    porch.write(events.RECORDING_REFUSED, server_hostname="gate", count=3)
    assert alerts(porch.of(EYE)) == {"gaps": 2, "refused": 3}
    assert alerts(porch.of(PLAIN)) == {}
    porch.harbour.clock.move(hours=25)
    assert alerts(porch.of(EYE)) == {}


def test_what_changed_in_the_last_day_is_counted_with_its_newest_examples(porch: Porch) -> None:
    porch.write(events.USER_LOGIN_FAILED, user="long-ago")
    porch.harbour.clock.move(hours=30)
    for number in range(5):
        porch.write(events.USER_LOGIN_FAILED, user=f"u{number}")
    porch.write(events.NODE_DELETE, server_hostname="gate")
    porch.write(events.EXEC, command="uptime")
    changes = porch.of(EYE).changes
    assert changes is not None
    assert [(each.subject, each.count) for each in changes.of] == [("removed", 1), ("refused sign-ins", 5)]
    assert [event["user"] for event in changes.of[1].newest] == ["u4", "u3", "u2"]
    assert not changes.is_cut
    porch.write(events.POLICY_UPDATE)
    again = porch.of(EYE).changes
    assert again is not None
    assert [each.subject for each in again.of] == ["removed", "refused sign-ins", "policy"]


def test_what_was_counted_is_kept_until_something_is_written(porch: Porch) -> None:
    porch.write(events.POLICY_UPDATE)
    first = porch.of(EYE).changes
    assert porch.of(BOSS).changes is first
    porch.write(events.EXEC)
    assert porch.of(EYE).changes is not first


def test_more_than_one_question_looks_at_is_said_to_be_cut(porch: Porch) -> None:
    porch.write(events.POLICY_UPDATE)
    (path,) = porch.harbour.audit.files()
    with path.open("ab") as file:
        file.write(b"{}\n" * limits.AUDIT_EXAMINED_MAX)
    changes = porch.of(EYE).changes
    assert changes is not None
    assert (changes.of, changes.is_cut) == ((), True)


def test_a_plain_user_sees_of_it_what_they_may(porch: Porch) -> None:
    porch.there("gate", disk=100)
    porch.write(events.NODE_DELETE)
    porch.harbour.authority.rotate("host", "init", porch.harbour.clock())
    home = porch.of(PLAIN)
    assert (home.total, alerts(home), home.changes, home.beginning) == (1, {"disk": 1}, None, None)
    stranger = porch.of(Somebody(()))
    assert (stranger.total, stranger.alerts, stranger.backlog) == (0, (), Backlog())


def test_an_auditor_s_figures_are_of_the_nodes_that_they_see(porch: Porch) -> None:
    porch.there("gate")
    porch.there("quay")
    eye = Somebody((AUDITOR,), logins=())
    assert porch.of(eye).total == len(porch.homes._fleet.seen_by(eye)) == 2
    assert porch.homes._fleet.nodes_for(eye) == ()


def test_an_empty_cluster_is_begun_with_step_by_step(porch: Porch) -> None:
    harbour = porch.harbour
    assert porch.of(BOSS).beginning == Beginning(token=False, device=False, session=False)
    harbour.token()
    assert porch.of(BOSS).beginning == Beginning(token=True, device=False, session=False)
    gate = porch.there("gate")
    home = porch.of(BOSS)
    assert home.beginning == Beginning(token=True, device=True, session=False)
    assert home.is_beginning
    porch.say(gate, replace(porch.view.of(gate), live=LiveSessions((going_on(gate),))))
    assert not porch.of(BOSS).is_beginning
    porch.say(gate, replace(porch.view.of(gate), live=LiveSessions()))
    assert porch.of(BOSS).is_beginning
    porch.write(events.SESSION_START)
    assert not porch.of(BOSS).is_beginning


def test_a_controller_without_a_broker_has_no_alarm_of_one(porch: Porch) -> None:
    porch.view = NO_VIEW
    assert porch.of(BOSS).alerts == ()


def test_all_of_it_is_json(porch: Porch) -> None:
    porch.there("gate", disk=1)
    porch.write(events.POLICY_UPDATE)
    for person in (BOSS, PLAIN):
        text = json.loads(json.dumps(porch.of(person).to_dict()))
        assert text["nodes"]["total"] == 1
