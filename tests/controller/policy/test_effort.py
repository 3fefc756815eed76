from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.policy.effort import Effort, add_effort, decide_allowance
from protocol import limits

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PIECE, ALL = limits.UPLOAD_UNPACKED_PER_PIECE, limits.UPLOAD_UNPACKED_PER_MINUTE


def test_a_node_that_sent_nothing_lately_has_a_whole_piece_s_allowance() -> None:
    assert decide_allowance(None, NOW) == PIECE
    assert decide_allowance(Effort(NOW - MINUTE, ALL), NOW) == PIECE


def test_within_a_minute_there_is_so_much_and_no_more() -> None:
    just_before = NOW - MINUTE + timedelta(milliseconds=1)
    assert decide_allowance(Effort(just_before, ALL - 5), NOW) == 5
    assert decide_allowance(Effort(just_before, ALL), NOW) == 0
    assert decide_allowance(Effort(just_before, ALL + PIECE), NOW) == 0


def test_what_is_spent_adds_up_until_the_minute_is_over() -> None:
    first = add_effort(None, 7, NOW)
    assert first == Effort(NOW, 7)
    assert add_effort(first, 5, NOW + MINUTE / 2) == Effort(NOW, 12)
    assert add_effort(first, 5, NOW + MINUTE) == Effort(NOW + MINUTE, 5)


def test_a_clock_that_went_back_begins_a_new_minute() -> None:
    ahead = Effort(NOW + timedelta(days=1), ALL)
    assert decide_allowance(ahead, NOW) == PIECE
    assert add_effort(ahead, 5, NOW) == Effort(NOW, 5)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 2 * PIECE)), max_size=40))
def test_no_minute_s_pieces_are_allowed_more_than_the_minute_has(pieces: list[tuple[float, int]]) -> None:
    effort, now, by_minute = None, NOW, dict[datetime, int]()
    for pause, wanted in pieces:
        now += timedelta(seconds=pause)
        taken = min(wanted, decide_allowance(effort, now))
        effort = add_effort(effort, taken, now)
        by_minute[effort.since] = by_minute.get(effort.since, 0) + taken
    assert all(taken <= ALL for taken in by_minute.values())
