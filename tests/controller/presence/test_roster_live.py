"""What the roster makes of what nodes tell of their live sessions."""

from __future__ import annotations

from dataclasses import replace

from controller.policy.liveness import NO_SESSIONS
from controller.presence.history import STEPS
from controller.presence.memory import Memory
from controller.presence.roster import Roster
from controller.presence.wire import LINE_MAX, News
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.live_sessions import LiveSessions
from protocol.names import NodeId
from tests.controller.lookout.lab import BEAT
from tests.controller.presence.live import going_on, told
from tests.controller.presence.test_mirror import UP
from tests.controller.presence.test_roster import ONE, START, TWO, B, at, gone, of, online, roster


def hear(made: Roster, live: LiveSessions, seconds: float = 0, *, retained: bool = False) -> Granted[None] | Refused:
    return made.hear_live(ONE, live, at(seconds), retained=retained)


def test_what_a_node_tells_is_shown_until_it_tells_otherwise() -> None:
    made = roster()
    online(made)
    assert hear(made, told(ONE), 1) == Granted(None)
    made.hear_beat(ONE, BEAT, at(2))
    assert (of(made).live, of(made).beat) == (told(ONE), BEAT)
    hear(made, LiveSessions(), 3)
    assert of(made).live is NO_SESSIONS


def test_a_node_that_tells_of_its_sessions_is_there() -> None:
    made = roster()
    hear(made, told(ONE), 5)
    assert (of(made).presence, of(made).last_seen) == ("online", at(5).now)
    gone(made, 10)
    assert of(made).presence == "offline"
    hear(made, LiveSessions(), 40)
    assert of(made).presence == "online"


def test_silence_is_counted_from_what_a_node_told_last() -> None:
    made = roster()
    online(made)
    hear(made, told(ONE), 110)
    made.look(at(limits.STALE_AFTER_BEATS * 30 + 100))
    assert of(made).presence == "online"


def test_what_was_retained_makes_nobody_alive_and_is_shown_when_the_node_is() -> None:
    made = roster()
    assert hear(made, told(ONE), retained=True) == Granted(None)
    assert made.standings() == {}
    online(made, 1, retained=True)
    assert of(made).live == told(ONE)


def test_what_was_retained_of_a_node_that_is_there_is_shown() -> None:
    made = roster()
    online(made, retained=True)
    made.take_changes()
    hear(made, told(ONE), retained=True)
    assert of(made).live == told(ONE)
    assert list(made.take_changes()) == [ONE]


def test_a_node_that_is_offline_has_no_sessions_and_shows_them_when_the_same_run_is_back() -> None:
    made = roster()
    online(made)
    hear(made, told(ONE))
    gone(made, 10)
    assert (of(made).presence, of(made).live) == ("offline", NO_SESSIONS)
    online(made, 20)
    assert of(made).live == told(ONE)


def test_silence_hides_them_as_soon_as_the_node_is_offline() -> None:
    made = roster()
    online(made)
    hear(made, told(ONE))
    made.look(at(30 * limits.STALE_AFTER_BEATS))
    assert (of(made).presence, of(made).live) == ("stale", told(ONE))
    made.look(at(30 * limits.OFFLINE_AFTER_BEATS))
    assert (of(made).presence, of(made).live) == ("offline", NO_SESSIONS)


def test_sessions_end_with_the_run_of_the_agent_that_had_them() -> None:
    made = roster()
    online(made)
    hear(made, told(ONE))
    online(made, 10, B)
    assert of(made).live is NO_SESSIONS


def test_what_is_remembered_of_a_node_hides_nothing_it_told() -> None:
    made = roster()
    made.recall(ONE, Memory("online", START, START))
    hear(made, told(ONE), retained=True)
    online(made, 1, retained=True)
    assert of(made).live == told(ONE)


def test_what_the_broker_holds_no_more_when_we_are_back_is_over() -> None:
    made = roster(ONE, TWO)
    online(made)
    hear(made, told(ONE))
    made.resume(at(10))
    hear(made, told(ONE), 11, retained=True)
    made.settle(at(12))
    assert of(made).live == told(ONE)
    made.resume(at(20))
    made.settle(at(21))
    assert of(made).live is NO_SESSIONS
    assert ONE in made.take_changes()


def test_a_session_that_is_another_node_s_is_refused_and_changes_nothing() -> None:
    made = roster(ONE, TWO)
    online(made)
    hear(made, told(ONE))
    for foreign in (LiveSessions((going_on(TWO),)), LiveSessions((going_on(ONE), going_on(TWO)))):
        refused = hear(made, foreign)
        assert isinstance(refused, Refused)
        assert refused.check == "B6"
    assert of(made).live == told(ONE)


def test_a_node_that_is_not_enrolled_is_refused() -> None:
    refused = roster().hear_live(TWO, told(TWO), at(0), retained=False)
    assert isinstance(refused, Refused)
    assert refused.check == "B2"


def test_a_fleet_that_tells_too_much_is_only_counted_and_fits_the_wire() -> None:
    nodes = [NodeId(f"00000000-0000-4000-8000-{number:012d}") for number in range(600)]
    made = roster(*nodes)
    for node_id in nodes:
        sessions = (replace(going_on(node_id), command="\\" * 200),) * limits.LIVE_SESSIONS_MAX
        assert made.hear_live(node_id, LiveSessions(sessions), at(0), retained=False) == Granted(None)
    shown = made.standings()
    assert sum(len(each.live.encode()) for each in shown.values() if each.live.sessions) <= limits.LIVE_FLEET_SIZE_MAX
    assert all(len(each.live.sessions) + each.live.more == limits.LIVE_SESSIONS_MAX for each in shown.values())
    assert len(News("snapshot", shown, UP).encode()) < LINE_MAX // 2
    for node_id in nodes:  # and what is over makes room
        made.hear_live(node_id, LiveSessions(), at(1), retained=False)
    made.hear_live(nodes[-1], told(nodes[-1]), at(2), retained=False)
    assert of(made, nodes[-1]).live.sessions


def test_nodes_that_were_removed_make_room() -> None:
    made = roster(ONE, TWO)
    hear(made, told(ONE))
    made.enrol([TWO])
    assert made._live_size == 0


def test_heartbeats_and_departures_are_put_down_in_the_history() -> None:
    made = roster()
    made.hear_beat(ONE, replace(BEAT, load=150), at(0))
    gone(made, 10)
    online(made, 20)
    gone(made, 30)
    day = made.history.of(ONE, at(40).now)
    assert day is not None
    assert (day.load[-1], day.offline[-1]) == (1.5, 2)
    assert day.load[:-1] == (None,) * (STEPS - 1)
    made.enrol([])
    assert made.history.of(ONE, at(40).now) is None
