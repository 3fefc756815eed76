from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.presence import (
    Doubt,
    Footing,
    Patience,
    decide_anew,
    decide_doubt,
    keepalive,
    parse_interval,
)
from protocol import limits

_INTERVALS = st.integers(limits.HEARTBEAT_MIN_SECONDS, limits.HEARTBEAT_MAX_SECONDS)


@given(_INTERVALS)
def test_interval_within_bounds_is_taken_as_it_is(interval: int) -> None:
    assert parse_interval(interval) == interval


@pytest.mark.parametrize("value", [4, 3601, -30, 30.0, "30", True, None])
def test_what_is_no_interval_is_refused_with_the_bounds(value: object) -> None:
    with pytest.raises(ValueError, match="a number of seconds from 5 to 3600"):
        parse_interval(value)


def test_usual_interval_has_the_usual_keepalive() -> None:
    assert keepalive(30) == limits.MQTT_KEEPALIVE.total_seconds()


@given(_INTERVALS)
def test_broker_waits_for_a_heartbeat_and_some_time_beyond(interval: int) -> None:
    waits = 1.5 * keepalive(interval)
    assert waits > 1.2 * interval
    assert keepalive(interval) < 2**16, "it has two bytes in MQTT"


def test_silent_link_is_given_up_within_forty_five_seconds() -> None:
    assert 1.5 * keepalive(30) + 5 <= 45


@pytest.mark.parametrize(
    ("heard", "asked", "now", "expected"),
    [
        (100.0, -1.0, 100.0, (Doubt.NONE, 510.0)),
        (100.0, -1.0, 609.0, (Doubt.NONE, 1.0)),
        (100.0, -1.0, 610.0, (Doubt.ASK, 20.0)),
        (100.0, 610.0, 610.0, (Doubt.NONE, 20.0)),
        (100.0, 610.0, 629.0, (Doubt.NONE, 1.0)),
        (100.0, 610.0, 630.0, (Doubt.GONE, 0.0)),
        (611.0, 610.0, 640.0, (Doubt.NONE, 481.0)),  # it has answered
        (100.0, -1.0, 9000.0, (Doubt.ASK, 20.0)),  # we were held up ourselves: it is asked all the same
    ],
)
def test_broker_that_says_nothing_is_asked_once_and_then_given_up(
    heard: float, asked: float, now: float, expected: tuple[Doubt, float]
) -> None:
    assert decide_doubt(heard, asked, now, Patience()) == expected


def test_pulses_alone_keep_the_question_from_being_asked() -> None:
    assert Patience().hush > 2 * limits.PULSE_INTERVAL.total_seconds()


@pytest.mark.parametrize(
    ("address", "certificate", "authorities", "expected"),
    [
        (("b", 1), "ours", ("old",), None),
        (("b", 1), "ours", ("old", "new"), None),
        (("b", 1), "ours", ("new",), 40.0),
        (("b", 1), "renewed", ("old", "new"), 0.0),
        (("c", 1), "ours", ("old",), 0.0),
        (None, "renewed", ("new",), 0.0),
    ],
)
def test_all_nodes_connect_anew_at_their_own_time_and_only_where_they_must(
    address: tuple[str, int] | None, certificate: str, authorities: tuple[str, ...], expected: float | None
) -> None:
    footing = Footing(("b", 1), "ours", "old")
    assert decide_anew(footing, address, certificate, authorities, spread=40.0) == expected
