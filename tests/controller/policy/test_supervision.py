from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.policy.supervision import (
    ASK_AGAIN,
    ASK_PATIENCE,
    LONGEST_DELAY,
    PULSE,
    SILENCE,
    STABLE,
    START_SILENCE,
    Limits,
    Restarts,
    Silence,
    decide_restart,
    listen,
)

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


def test_silence_is_counted_from_the_last_word_of_a_role() -> None:
    silence = Silence(100.0)
    for second in range(1, 6):
        silence = listen(silence, 100.0 + second, is_heard=second == 2)
    assert silence == Silence(105.0, timedelta(seconds=3))


def test_a_listener_that_was_stopped_itself_holds_nothing_of_that_against_a_role() -> None:
    assert listen(Silence(100.0), 100.0 + 86_400, is_heard=False) == Silence(100.0 + 86_400, 2 * PULSE)


def test_a_role_may_be_silent_for_longer_before_it_serves() -> None:
    assert Limits().of(is_ready=True) == SILENCE < Limits().of(is_ready=False) == START_SILENCE


def test_a_broker_to_which_a_whole_fleet_comes_at_once_is_not_taken_for_hung() -> None:
    storm, limit = timedelta(seconds=202), Limits().of(is_ready=True, is_asked=True)  # measured: 5,000 agents
    silence = Silence(0.0)
    for second in range(1, int(storm.total_seconds()) + 1):
        silence = listen(silence, float(second), is_heard=False)
    assert silence.lasted == storm
    assert storm < limit
    assert limit > 2 * (ASK_PATIENCE + ASK_AGAIN)  # one ask that got lost ends nothing


@given(st.lists(st.tuples(st.floats(-10, 1000), st.booleans())))
def test_silence_never_lasts_longer_than_two_pulses_a_look_whatever_the_clock_does(
    looks: list[tuple[float, bool]],
) -> None:
    silence, steady, unheard = Silence(0.0), 0.0, 0
    for passed, is_heard in looks:
        steady, unheard = steady + passed, 0 if is_heard else unheard + 1
        silence = listen(silence, steady, is_heard=is_heard)
        assert timedelta(0) <= silence.lasted <= 2 * PULSE * unheard
