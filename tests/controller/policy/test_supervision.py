from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.policy.supervision import LONGEST_DELAY, STABLE, Restarts, decide_restart

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def test_the_first_fall_is_followed_by_a_start_at_once_and_later_ones_by_ever_longer_waits() -> None:
    delays, falls = [], 0
    for _ in range(8):
        delay, falls = decide_restart(Restarts(NOW, falls), NOW)
        delays.append(delay.total_seconds())
    assert delays == [0, 1, 2, 4, 8, 16, 30, 30]


def test_a_process_that_held_out_for_a_while_begins_anew() -> None:
    assert decide_restart(Restarts(NOW, 7), NOW + STABLE) == (timedelta(0), 1)
    delay, falls = decide_restart(Restarts(NOW, 7), NOW + STABLE - timedelta(seconds=1))
    assert (delay, falls) == (LONGEST_DELAY, 8)


@given(st.integers(0, 10**9), st.integers(-10_000, 10_000))
def test_no_wait_is_longer_than_the_longest_whatever_the_count_and_the_clock(falls: int, seconds: int) -> None:
    delay, _ = decide_restart(Restarts(NOW, falls), NOW + timedelta(seconds=seconds))
    assert timedelta(0) <= delay <= LONGEST_DELAY
