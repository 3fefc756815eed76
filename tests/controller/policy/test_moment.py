from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller.policy.moment import Moment, was_set
from protocol import limits

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_what_was_is_told_by_the_clock_that_people_read_by_now() -> None:
    began = Moment.of(NOON, 100.0)
    # Somebody set the clock by an hour, and ten seconds went by.
    later = Moment.of(NOON + timedelta(hours=1, seconds=10), 110.0)
    assert later.steady - began.steady == timedelta(seconds=10)
    assert later.shown(began.steady) == NOON + timedelta(hours=1)


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (timedelta(0), False),
        (limits.CLOCK_JUMP, False),
        (-limits.CLOCK_JUMP, False),
        (limits.CLOCK_JUMP + timedelta(milliseconds=1), True),
        (-limits.CLOCK_JUMP - timedelta(milliseconds=1), True),
    ],
)
def test_a_clock_was_set_where_the_two_do_not_agree(by: timedelta, *, said: bool) -> None:
    assert was_set(Moment.of(NOON, 0.0), Moment.of(NOON + timedelta(seconds=30) + by, 30.0)) is said
