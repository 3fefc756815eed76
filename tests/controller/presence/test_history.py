from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.presence.history import STEPS, History, HistoryError, NodeHistory, ids, step_of
from controller.presence.wire import WireError, history_answer, history_question, parse_history_question, read_history
from protocol import limits
from protocol.names import NodeId
from tests.controller.lookout.lab import BEAT

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO = (NodeId(f"00000000-0000-4000-8000-00000000000{number}") for number in (1, 2))
STEP = limits.HISTORY_STEP


def day(history: History, now: datetime, node_id: NodeId = ONE) -> NodeHistory:
    found = history.of(node_id, now)
    assert found is not None
    return found


def test_a_step_is_the_average_of_its_heartbeats() -> None:
    history = History()
    for load, trip, warmth in ((100, 200, -50), (300, None, None), (200, 400, -150)):
        history.hear(ONE, replace(BEAT, load=load, round_trip=trip, temperature=warmth, sessions=load // 100), START)
    found = day(history, START)
    assert (found.load[-1], found.round_trip[-1], found.round_trip_worst[-1]) == (2.0, 30.0, 40.0)
    assert (found.temperature[-1], found.sessions[-1]) == (-10.0, 3)
    assert found.memory_free[-1] == BEAT.memory


def test_a_day_has_so_many_steps_of_which_the_last_is_not_over() -> None:
    history = History()
    history.hear(ONE, BEAT, START)
    found = day(history, START)
    assert len(found.load) == STEPS == 144
    assert (found.begin, found.step) == (int((START - 143 * STEP).timestamp() * 1000), 600)
    lists = [values for values in found.to_dict().values() if isinstance(values, list)]
    assert [len(values) for values in lists] == [STEPS] * 9
    assert found.load[:-1] == (None,) * 143


def test_days_go_by_and_take_what_is_older_along() -> None:
    history, now = History(), START
    for number in range(200):
        now = START + number * STEP
        history.advance(now)
        history.hear(ONE, replace(BEAT, load=number * 100), now)
    assert list(day(history, now).load) == pytest.approx([float(number) for number in range(56, 200)], rel=1 / 1000)


def test_where_nothing_was_heard_nothing_is_said() -> None:
    history = History()
    history.hear(ONE, BEAT, START)
    assert history.advance(START + STEP) == step_of(START)
    history.advance(START + 3 * STEP)
    found = day(history, START + 3 * STEP)
    assert [value is None for value in found.load[-4:]] == [False, True, True, True]
    assert (found.offline[-4:], found.sessions[-1], found.reconnects[-2]) == ((0, None, None, None), None, None)
    history.advance(START + 500 * STEP)
    assert set(day(history, START).load) == {None}
    assert history.of(TWO, START) is None


def test_going_offline_is_counted_though_nothing_else_was_heard() -> None:
    history = History()
    for _ in range(3):
        history.note_offline(ONE, START)
    history.advance(START + STEP)
    found = day(history, START + STEP)
    assert (found.offline[-2], found.load[-2], found.sessions[-2]) == (3, None, None)
    for _ in range(1000):
        history.note_offline(ONE, START)
    assert day(history, START).offline[-1] == 255


def test_reconnects_are_what_the_counter_rose_by_and_a_new_run_counts_from_nothing() -> None:
    history = History()
    for counter in (7, 7, 9, 1):
        history.hear(ONE, replace(BEAT, reconnects=counter), START)
    assert day(history, START).reconnects[-1] == 3
    history.advance(START + STEP)
    history.hear(ONE, replace(BEAT, reconnects=2), START + STEP)
    assert day(history, START + STEP).reconnects[-2:] == (3, 1)


def test_a_clock_that_is_set_back_a_little_closes_nothing_twice() -> None:
    history = History()
    history.hear(ONE, replace(BEAT, load=100), START)
    assert history.advance(START + STEP) is not None
    assert history.advance(START + STEP - timedelta(seconds=2)) is None
    history.hear(ONE, replace(BEAT, load=500), START + STEP - timedelta(seconds=1))
    assert history.advance(START + STEP) is None
    assert day(history, START + STEP).load[-2:] == (1.0, 5.0)


def test_a_clock_that_is_set_back_far_leaves_nothing_of_the_future() -> None:
    history = History()
    history.hear(ONE, replace(BEAT, load=100), START)
    history.advance(START + 20 * STEP)
    history.hear(ONE, replace(BEAT, load=900), START + 20 * STEP)
    history.advance(START + 2 * STEP)
    history.hear(ONE, replace(BEAT, load=300), START + 2 * STEP)
    assert day(history, START).load[-3:] == (1.0, None, 3.0)
    history.advance(START + 30 * STEP)
    assert [value for value in day(history, START).load if value is not None] == [1.0, 3.0]


def test_what_a_hostile_node_says_breaks_nothing() -> None:
    history = History()
    most = 2**53 - 1
    wild = replace(BEAT, load=most, memory=most, spool_bytes=most, sessions=most, reconnects=most)
    wild = replace(wild, temperature=-most, round_trip=most)
    for beat in (wild, replace(wild, temperature=2**53 - 1, reconnects=0), wild):
        history.hear(ONE, beat, START)
    history.advance(START + STEP)
    text = json.dumps(day(history, START).to_dict(), allow_nan=False)
    assert len(text) < 20_000


@given(st.integers(min_value=0, max_value=2**40))
def test_a_number_is_kept_to_a_part_in_a_thousand(memory: int) -> None:
    history = History()
    history.hear(ONE, replace(BEAT, memory=memory), START)
    history.advance(START + STEP)
    kept = day(history, START).memory_free[-2]
    assert kept is not None
    assert math.isclose(kept, memory, rel_tol=1 / 1000)


def test_what_is_forgotten_is_gone() -> None:
    history = History()
    history.hear(ONE, BEAT, START)
    history.forget([ONE, TWO])
    assert history.of(ONE, START) is None


# --- kept over a restart ---------------------------------------------------------------------------------------------


def kept(history: History, steps: range) -> list[bytes]:
    return [history.encode(step) for step in steps]


def test_an_earlier_run_s_day_is_taken_up_the_open_step_with_its_weight() -> None:
    before = History()
    for number in range(3):
        before.advance(START + number * STEP)
        for _ in range(3):
            before.hear(ONE, replace(BEAT, load=100 * number, temperature=210), START + number * STEP)
        before.hear(TWO, BEAT, START + number * STEP)
    before.note_offline(ONE, START)
    now = START + 2 * STEP
    after = History()
    files = kept(before, range(step_of(START) - 2, step_of(now) + 1))
    for content in (*files[::-1], files[0]):
        after.restore(content, ids([ONE]), now)
    assert day(after, now) == day(before, now)
    assert after.of(TWO, now) is None  # it is no node any more
    after.hear(ONE, replace(BEAT, load=600), now)
    assert day(after, now).load[-3:] == (0.0, 1.0, 3.0)  # (3 * 2 + 6) / 4


def test_what_was_heard_meanwhile_counts_beside_what_is_taken_up() -> None:
    before, after = History(), History()
    before.hear(ONE, replace(BEAT, load=100), START)
    before.advance(START + STEP)
    after.hear(ONE, replace(BEAT, load=900), START + STEP)
    after.restore(before.encode(step_of(START)), ids([ONE]), START + STEP)
    assert day(after, START + STEP).load[-2:] == (1.0, 9.0)


@pytest.mark.parametrize("steps", [-STEPS, -STEPS - 50, 1, 10**9])
def test_steps_of_the_future_and_of_long_ago_are_passed_over(steps: int) -> None:
    before = History()
    before.hear(ONE, BEAT, START)
    content = before.encode(step_of(START))
    after = History()
    after.restore(content, ids([ONE]), START - min(steps, 1000) * STEP)
    assert after.of(ONE, START) is None


def test_what_is_damaged_is_refused() -> None:
    before = History()
    before.hear(ONE, BEAT, START)
    content = before.encode(step_of(START))
    after = History()
    for damaged in (b"", b"x", content[:-1], content[:20], content[:-5] + b"?" + content[-4:], content + content):
        with pytest.raises(HistoryError):
            after.restore(damaged, ids([ONE]), START)
    assert after.of(ONE, START) is None


# --- on the wire -----------------------------------------------------------------------------------------------------


def test_what_is_answered_is_what_is_read() -> None:
    history = History()
    history.hear(ONE, replace(BEAT, temperature=215), START)
    assert read_history(history_answer(day(history, START))) == day(history, START)
    assert read_history(history_answer(None)) is None
    for line in (b"", b"[]", b"{}", b'{"history": 7}', b'{"history": {"begin": 1}}', b"[" * 100_000, b"\xff"):
        with pytest.raises(WireError):
            read_history(line)


def test_a_question_names_a_node_and_nothing_else() -> None:
    assert parse_history_question(history_question(ONE)) == ONE
    assert parse_history_question(b'{"once": true}\n') is None
    for name in ("", "x", "../../etc/passwd", "\xff", ONE.upper() + "x"):
        with pytest.raises(WireError):
            parse_history_question(b'{"history": "' + name.encode("latin-1") + b'"}\n')


def test_the_ring_is_in_order_however_steps_are_missed() -> None:
    history = History()
    told: list[datetime] = []
    now = START
    for gap in (1, 2, 1, 5, 140, 1, 143, 1, 144, 1, 150, 1):
        now += gap * STEP
        history.advance(now)
        history.hear(ONE, replace(BEAT, load=100 * len(told)), now)
        told.append(now)
        expected = [float(number) for number, at in enumerate(told) if step_of(now) - step_of(at) < STEPS]
        values = [value for value in day(history, now).load if value is not None]
        assert values == expected
        assert all(a < b for a, b in pairwise(values))
