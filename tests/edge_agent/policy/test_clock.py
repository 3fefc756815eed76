from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.clock import Anchor, Memory, guess_time, is_doubtful, may_pulse_teach

NOW = 1_795_000_000_000
DAY = 24 * 3600 * 1000
YEARS = 14 * 365 * DAY
EPOCH = 40_000  # a clock without a battery, so long after it was switched on
times = st.integers(0, 4 * NOW)


def test_the_controller_s_time_is_carried_on_by_the_clock_that_counts() -> None:
    assert Anchor(NOW, 5_000).carried_on(65_000) == NOW + 60_000


def test_a_device_that_remembers_nothing_goes_by_its_own_clock() -> None:
    assert guess_time(None, device=EPOCH, uptime=9) == EPOCH


def test_a_clock_without_a_battery_starts_where_the_last_good_time_ended() -> None:
    memory = Memory(good=NOW, offset=EPOCH - NOW)
    assert guess_time(memory, device=EPOCH // 2, uptime=20_000) == NOW + 20_000


def test_a_clock_that_is_known_to_be_ahead_is_corrected_by_as_much() -> None:
    memory = Memory(good=NOW, offset=YEARS)
    assert guess_time(memory, device=NOW + YEARS + DAY, uptime=9) == NOW + DAY


def test_a_clock_that_is_known_to_be_a_little_behind_is_corrected_by_as_much() -> None:
    memory = Memory(good=NOW, offset=-600_000)
    assert guess_time(memory, device=NOW + DAY, uptime=9) == NOW + DAY + 600_000


def test_a_clock_that_was_good_is_gone_by() -> None:
    memory = Memory(good=NOW, offset=-2_000)
    assert guess_time(memory, device=NOW + 3 * DAY, uptime=9) == NOW + 3 * DAY


def test_a_clock_that_was_far_behind_and_has_been_set_is_not_corrected_any_more() -> None:
    memory = Memory(good=NOW, offset=EPOCH - NOW)
    assert guess_time(memory, device=NOW + DAY, uptime=9) == NOW + DAY


def test_a_clock_that_was_far_ahead_and_has_been_set_is_not_corrected_into_the_past() -> None:
    memory = Memory(good=NOW, offset=YEARS)
    assert guess_time(memory, device=NOW + DAY, uptime=9) == NOW + DAY


@given(good=times, offset=st.integers(-4 * NOW, 4 * NOW), device=times, uptime=st.integers(0, DAY))
def test_it_is_never_before_the_last_good_time_and_what_has_gone_by_since(
    good: int, offset: int, device: int, uptime: int
) -> None:
    assert guess_time(Memory(good, offset), device=device, uptime=uptime) >= good + uptime


@pytest.mark.parametrize(
    ("pulse", "known", "age", "believed"),
    [
        (NOW, NOW, 0, True),
        (NOW + DAY, NOW, 0, True),  # it cannot come before its time
        (NOW - 1, NOW, 0, False),  # it may be late
        (NOW - 100, NOW, 240_000, True),  # the counting clock runs too fast by so much
        (NOW - 200, NOW, 240_000, False),
    ],
)
def test_a_pulse_sets_the_clock_forward_and_hardly_back(pulse: int, known: int, age: int, believed: bool) -> None:
    assert may_pulse_teach(pulse, known=known, age=age) is believed


def test_a_pulse_that_is_a_minute_late_is_doubtful() -> None:
    assert not is_doubtful(NOW - 60_000, NOW)
    assert is_doubtful(NOW - 60_001, NOW)
