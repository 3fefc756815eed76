from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.policy.rate import Bucket, Rate, TooSoon, draw, full_bucket
from protocol.decision import Granted

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
RATE = Rate(per_minute=60, burst=3)


def test_a_burst_is_granted_and_the_next_request_is_told_when_to_come_again() -> None:
    bucket = full_bucket(RATE, NOW)
    for _ in range(RATE.burst):
        answer = draw(bucket, RATE, NOW)
        assert isinstance(answer, Granted)
        bucket = answer.value
    assert draw(bucket, RATE, NOW) == TooSoon(timedelta(seconds=1))
    assert isinstance(draw(bucket, RATE, NOW + timedelta(seconds=1)), Granted)


def test_the_wait_is_rounded_up_so_that_coming_then_is_not_too_soon() -> None:
    slow = Rate(per_minute=7, burst=1)
    answer = draw(Bucket(0.0, NOW), slow, NOW)
    assert isinstance(answer, TooSoon)
    assert answer.retry_after == timedelta(seconds=9)
    assert isinstance(draw(Bucket(0.0, NOW), slow, NOW + answer.retry_after), Granted)


def test_a_clock_that_went_back_neither_gives_nor_takes() -> None:
    answer = draw(Bucket(1.5, NOW), RATE, NOW - timedelta(hours=1))
    assert isinstance(answer, Granted)
    assert answer.value.level == 0.5
    assert draw(Bucket(0.5, NOW), RATE, NOW - timedelta(hours=1)) == TooSoon(timedelta(seconds=1))


@given(st.integers(1, 600), st.integers(1, 20), st.lists(st.integers(0, 30_000), max_size=80))
def test_no_more_is_granted_than_the_burst_and_the_rate_allow(per_minute: int, burst: int, gaps: list[int]) -> None:
    rate, now, granted = Rate(per_minute, burst), NOW, 0
    bucket = full_bucket(rate, NOW)
    for gap in gaps:
        now += timedelta(milliseconds=gap)
        answer = draw(bucket, rate, now)
        if isinstance(answer, Granted):
            bucket, granted = answer.value, granted + 1
    assert granted <= burst + (now - NOW).total_seconds() * per_minute / 60 + 1e-6
