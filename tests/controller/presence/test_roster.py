from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller.policy.liveness import UNSEEN, Standing
from controller.policy.moment import Moment
from controller.presence.memory import Memory, decode_watch, encode_watch
from controller.presence.roster import MUTED, SILENT, Roster
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.fields import MessageError
from protocol.names import NodeId
from protocol.presences import NodeState
from tests.controller.lookout.lab import BEAT

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO = (NodeId(f"00000000-0000-4000-8000-00000000000{number}") for number in (1, 2))
A, B, C = "00000000000000aa", "00000000000000bb", "00000000000000cc"


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def at(seconds: float, *, wrong: float = 0) -> Moment:
    """Return the moment so long after the start; the clock that people read is off by `wrong` seconds."""
    return Moment.of(after(seconds + wrong), seconds)


def roster(*nodes: NodeId) -> Roster:
    made = Roster()
    made.enrol(nodes or (ONE,))
    return made


def of(made: Roster, node_id: NodeId = ONE) -> Standing:
    return made.standings().get(node_id, UNSEEN)


def online(made: Roster, seconds: float = 0, instance: str = A, *, retained: bool = False) -> bool:
    return made.hear_state(ONE, NodeState(instance, version="0.2"), at(seconds), retained=retained)


def gone(made: Roster, seconds: float, instance: str = A) -> None:
    made.hear_state(ONE, NodeState(instance, farewell="lost"), at(seconds), retained=False)


def events(made: Roster, seconds: float) -> list[tuple[str, int]]:
    return [(event.word, event.count) for event in made.take_events(at(seconds))]


def test_a_node_that_says_so_is_online_and_a_heartbeat_says_how_it_is() -> None:
    made = roster()
    assert of(made) is UNSEEN
    online(made)
    made.hear_beat(ONE, BEAT, at(30))
    found = of(made)
    assert (found.presence, found.since, found.last_seen, found.beat) == ("online", START, after(30), BEAT)
    assert found.state == NodeState(A, version="0.2")


def test_a_last_will_and_a_farewell_take_it_offline_with_their_reason() -> None:
    made = roster()
    online(made)
    gone(made, 60)
    assert (of(made).presence, of(made).since, of(made).reason) == ("offline", after(60), "its link was lost")
    online(made, 90)
    made.hear_state(ONE, NodeState(A, farewell="stopped"), at(100), retained=False)
    assert (of(made).since, of(made).reason) == (after(100), "the agent was stopped")


def test_the_will_of_an_earlier_run_takes_nobody_offline() -> None:
    made = roster()
    online(made, 0, A)
    online(made, 10, B)
    gone(made, 11, A)
    assert of(made).presence == "online"
    gone(made, 12, B)
    assert of(made).presence == "offline"


def test_silence_makes_a_node_stale_and_then_offline_since_it_was_last_heard_of() -> None:
    made = roster()
    online(made)
    made.hear_beat(ONE, BEAT, at(30))
    made.look(at(30 + 59))
    assert of(made).presence == "online"
    made.look(at(30 + 60))
    assert (of(made).presence, of(made).reason) == ("stale", SILENT)
    made.look(at(30 + 120))
    assert (of(made).presence, of(made).since, of(made).reason) == ("offline", after(30), SILENT)


def test_a_stale_node_that_is_heard_again_was_online_all_the_while() -> None:
    made = roster()
    online(made)
    made.look(at(70))
    made.hear_beat(ONE, BEAT, at(80))
    assert (of(made).presence, of(made).since) == ("online", START)
    assert [word for word, _ in events(made, 100)] == ["online"]  # the first of all, and no other


def test_a_longer_interval_is_waited_for_longer() -> None:
    made = roster()
    made.hear_state(ONE, NodeState(A, interval=600), at(0), retained=False)
    made.look(at(1199))
    assert of(made).presence == "online"
    made.look(at(1200))
    assert of(made).presence == "stale"


def test_a_change_is_told_once_it_has_lasted_ten_seconds() -> None:
    made = roster()
    online(made)
    assert events(made, 9) == []
    assert events(made, 10) == [("online", 0)]
    assert events(made, 20) == []
    gone(made, 30)
    assert events(made, 39) == []
    assert events(made, 40) == [("offline", 0)]


def test_a_node_that_went_and_came_within_ten_seconds_is_told_with_the_next_event() -> None:
    made = roster()
    online(made)
    assert events(made, 10) == [("online", 0)]
    gone(made, 20)
    online(made, 25)
    assert events(made, 40) == []
    gone(made, 50)
    assert events(made, 60) == [("offline", 2)]


def test_a_link_that_flaps_for_half_an_hour_leaves_six_events_and_no_growth() -> None:
    made = roster()
    told = 0
    for turn in range(0, 1800, 40):
        online(made, turn)
        told += len(events(made, turn + 15))
        gone(made, turn + 20)
        told += len(events(made, turn + 35))
    assert told == limits.PRESENCE_EVENTS_PER_HOUR
    assert len(made) == len(made.standings()) == 1
    assert len(dict(made.take_memories())) == 1


def test_two_runs_that_take_turns_are_two_devices_and_a_restart_is_none() -> None:
    made = roster()
    assert [online(made, at, run) for at, run in enumerate((A, A, B, B, C))] == [False] * 5
    assert online(made, 6, B)


def test_what_was_retained_shows_no_clone() -> None:
    made = roster()
    online(made, 0, A)
    online(made, 1, B)
    assert not online(made, 2, A, retained=True)


def test_what_the_broker_remembers_is_taken_up_after_a_restart_without_an_event() -> None:
    before = roster()
    online(before)
    assert events(before, 10) == [("online", 0)]
    ((_, memory),) = before.take_memories()
    made = roster()
    made.recall(ONE, Memory.decode(memory.encode()))
    online(made, 1000, retained=True)
    made.settle(at(1001))
    assert (of(made).presence, of(made).since) == ("online", START)
    assert events(made, 1100) == []
    assert list(made.take_memories()) == []


def test_what_happened_while_nobody_watched_is_told_afterwards() -> None:
    made = roster()
    made.recall(ONE, Memory("online", START, START, told="online"))
    made.hear_state(ONE, NodeState(A, farewell="lost"), at(1000), retained=True)
    made.settle(at(1001))
    assert of(made).presence == "offline"
    assert events(made, 1010) == [("offline", 0)]


def test_a_node_that_is_remembered_as_online_and_never_heard_again_goes_offline() -> None:
    made = roster()
    made.recall(ONE, Memory("online", START, START, told="online"))
    made.settle(at(1000))
    made.look(at(1000 + 121))
    assert of(made).presence == "offline"


def test_a_broker_that_lost_its_memory_is_told_again() -> None:
    made = roster()
    online(made)
    assert events(made, 10) == [("online", 0)]
    assert [memory.told for _, memory in made.take_memories()] == ["online"]
    made.resume(at(100))
    made.settle(at(101))
    assert [(key, memory.state, memory.since) for key, memory in made.take_memories()] == [(ONE, "online", START)]


def test_nobody_is_stale_for_the_time_the_broker_was_away() -> None:
    made = roster()
    online(made)
    made.resume(at(600))
    made.look(at(630))
    assert of(made).presence == "online"


def test_a_node_that_sends_too_much_is_muted_once_and_then_passed_over() -> None:
    made = roster()
    answers = [made.admit(ONE, at(0)) for _ in range(1000)]
    assert answers[: limits.MESSAGES_BURST] == [Granted(None)] * limits.MESSAGES_BURST
    refused = answers[limits.MESSAGES_BURST]
    assert isinstance(refused, Refused)
    assert refused.check == "B4"
    assert set(answers[limits.MESSAGES_BURST + 1 :]) == {None}
    assert made.admit(ONE, at(limits.MUTE.total_seconds())) == Granted(None)


def test_an_honest_node_is_never_muted() -> None:
    made = roster()
    assert all(isinstance(made.admit(ONE, at(5 * number)), Granted) for number in range(1000))


def test_a_muted_node_that_falls_silent_is_said_to_be_muted() -> None:
    made = roster()
    online(made)
    made.mute(ONE, at(600).steady)
    made.look(at(121))
    assert (of(made).presence, of(made).reason) == ("offline", MUTED)


def test_a_node_that_is_not_enrolled_is_refused_and_leaves_nothing() -> None:
    made = roster(TWO)
    answer = made.admit(ONE, at(0))
    assert isinstance(answer, Refused)
    assert answer.check == "B2"
    online(made)
    made.hear_beat(ONE, BEAT, at(0))
    made.recall(ONE, Memory("online", START, START))
    made.mute(ONE, at(0).steady)
    assert (made.standings(), ONE in made, made.take_changes()) == ({}, False, {})


def test_a_node_that_was_removed_is_gone_from_everywhere() -> None:
    made = roster(ONE, TWO)
    online(made)
    made.take_changes()
    assert made.enrol([TWO]) == {ONE}
    assert made.take_changes() == {ONE: None}
    assert (made.standings(), list(made.take_memories()), events(made, 100)) == ({}, [], [])


def test_changes_are_handed_out_once() -> None:
    made = roster()
    online(made)
    assert made.take_changes() == {ONE: of(made)}
    assert made.take_changes() == {}


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{}", b'{"state":"online"}', b'{"state":"online","since":9e99,"last_seen":1}', b"x" * 2000]
)
def test_a_memory_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(MessageError):
        Memory.decode(payload)


def test_a_memory_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(MessageError, match="calendar"):
        Memory.decode(b'{"state":"online","since":9000000000000000000,"last_seen":1}')


HOUR = 3600.0


@pytest.mark.parametrize("wrong", [HOUR, -HOUR, 30 * 24 * HOUR])
def test_a_clock_that_is_set_takes_nobody_offline_and_keeps_nobody_online(wrong: float) -> None:
    made = roster()
    online(made)
    assert events(made, 10) == [("online", 0)]
    made.hear_beat(ONE, BEAT, at(30))
    made.look(at(31, wrong=wrong))
    assert of(made).presence == "online"
    assert list(made.take_events(at(50, wrong=wrong))) == []
    made.look(at(151, wrong=wrong))
    assert (of(made).presence, of(made).reason) == ("offline", SILENT)
    since, now = of(made).since, at(151, wrong=wrong).now
    assert since is not None
    assert since <= now
    assert [event.word for event in made.take_events(at(162, wrong=wrong))] == ["offline"]


@pytest.mark.parametrize("wrong", [HOUR, -HOUR])
def test_a_mute_lasts_as_long_as_it_does_however_the_clock_is_set(wrong: float) -> None:
    made = roster()
    for _ in range(limits.MESSAGES_BURST + 1):
        made.admit(ONE, at(0))
    over = limits.MUTE.total_seconds()
    assert made.admit(ONE, at(over - 1, wrong=wrong)) is None
    assert made.admit(ONE, at(over, wrong=wrong)) == Granted(None)


def test_who_was_online_when_the_watch_ended_was_seen_then_and_is_offline_since_the_controller_came_back() -> None:
    made = roster(ONE, TWO)
    made.recall(ONE, Memory("online", START, START, told="online"))
    made.recall(TWO, Memory("offline", START, START, told="offline"))
    ended, back = 30 * 24 * HOUR, 30 * 24 * HOUR + 3 * HOUR
    made.settle(at(back), decode_watch(encode_watch(after(ended))))
    assert (of(made).last_seen, of(made, TWO).last_seen) == (after(ended), START)
    made.look(at(back + 121))
    assert (of(made).presence, of(made).since, of(made).last_seen) == ("offline", after(back), after(ended))
    assert of(made, TWO).since == START


def test_a_watch_of_the_future_shows_nothing_of_the_future() -> None:
    made = roster()
    made.recall(ONE, Memory("online", START, START, told="online"))
    made.settle(at(10), after(1000))
    assert of(made).last_seen == after(10)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"at":9e99}', b'{"at":9000000000000000000}', b"1" * 2000])
def test_a_watch_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(MessageError):
        decode_watch(payload)


def test_what_a_killed_broker_forgot_brings_nobody_back_and_a_heartbeat_does() -> None:
    made = roster()
    online(made)
    assert events(made, 10) == [("online", 0)]
    gone(made, 20)
    assert events(made, 30) == [("offline", 0)]
    made.resume(at(40))
    online(made, 41, retained=True)
    made.settle(at(41))
    made.look(at(200))
    assert (of(made).presence, of(made).since, events(made, 300)) == ("offline", after(20), [])
    made.hear_beat(ONE, BEAT, at(310))
    assert (of(made).presence, of(made).since) == ("online", after(310))


def test_another_run_that_was_retained_is_there() -> None:
    made = roster()
    online(made)
    gone(made, 20)
    online(made, 41, B, retained=True)
    assert (of(made).presence, of(made).since) == ("online", after(41))
