from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy import link
from edge_agent.policy.link import (
    TRANSITIONS,
    Dial,
    DialFailed,
    DialSucceeded,
    Event,
    HangUp,
    Link,
    LinkLost,
    LocalProtocolError,
    Serve,
    Started,
    State,
    StopAsked,
    Wait,
    WaitOver,
    ceiling,
    decide_wait,
    parse_retry_after,
    step,
)

EVENTS: tuple[Event, ...] = (Started(), WaitOver(), DialSucceeded(), DialFailed(), LinkLost(), StopAsked())


def run(*events: Event, now: float = 0.0, chance: float = 1.0, start: Link | None = None) -> tuple[Link, object]:
    here, order = start or Link(), None
    for event in events:
        here, order = step(here, event, now=now, chance=chance)
    return here, order


def test_it_dials_when_started() -> None:
    assert run(Started()) == (Link(State.DIALLING), Dial())


def test_a_tunnel_that_stands_is_served() -> None:
    assert run(Started(), DialSucceeded(), now=7.0) == (Link(State.UP, 0, 7.0), Serve())


def test_the_ceiling_doubles_from_one_second_to_sixty() -> None:
    waits = []
    here, order = run(Started())
    for _ in range(8):
        here, order = step(here, DialFailed(), now=0, chance=1.0)
        assert isinstance(order, Wait)
        waits.append(order.seconds)
        here, order = step(here, WaitOver(), now=0, chance=1.0)
        assert order == Dial()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_what_failed_before_things_changed_counts_no_more() -> None:
    here, order = run(Started(), DialFailed(), WaitOver(), DialFailed(), WaitOver(), DialFailed(), chance=1.0)
    assert order == Wait(4)
    here, _ = step(here, WaitOver(anew=True), now=0, chance=1.0)
    assert step(here, DialFailed(), now=0, chance=1.0)[1] == Wait(1)


def test_ten_thousand_failures_do_not_overflow_it() -> None:
    assert ceiling(10_000) == 60


def test_the_jitter_is_full() -> None:
    assert run(Started(), DialFailed(), chance=0.0)[1] == Wait(0.0)
    assert run(Started(), DialFailed(), chance=0.25)[1] == Wait(0.25)


def test_a_link_that_was_stable_begins_the_delays_anew() -> None:
    up = Link(State.UP, failures=5, up_since=100.0)
    assert step(up, LinkLost(), now=160.0, chance=1.0) == (Link(State.WAITING, 1, 100.0), Wait(1.0))


def test_a_link_that_did_not_last_goes_on_with_its_delays() -> None:
    up = Link(State.UP, failures=5, up_since=100.0)
    assert step(up, LinkLost(), now=159.9, chance=1.0) == (Link(State.WAITING, 6, 100.0), Wait(32.0))


def test_the_servers_own_retry_after_is_honoured_and_spread() -> None:
    assert run(Started(), DialFailed(retry_after=30.0), chance=0.5)[1] == Wait(30.5)
    assert run(Started(), DialSucceeded(), LinkLost(retry_after=30.0), chance=0.0)[1] == Wait(30.0)


@pytest.mark.parametrize(("asked", "waited"), [(-5.0, 0.0), (10.0**9, link.RETRY_AFTER_MAX)])
def test_a_retry_after_beyond_reason_is_held_within_it(asked: float, waited: float) -> None:
    assert run(Started(), DialFailed(retry_after=asked), chance=0.0)[1] == Wait(waited)


@pytest.mark.parametrize(("chance", "waited"), [(0.0, 30.0), (0.5, 45.0), (1.0, 60.0)])
def test_a_refused_certificate_is_retried_slowly_and_not_by_all_at_once(chance: float, waited: float) -> None:
    assert run(Started(), DialFailed(refused=True), chance=chance)[1] == Wait(waited)


def test_every_wait_is_decided_alike() -> None:
    assert decide_wait(3, None, 0.5) == 4.0
    assert decide_wait(3, 10.0, 0.5) == 14.0
    assert decide_wait(0, 10.0**9, 0.0) == link.RETRY_AFTER_MAX
    assert decide_wait(0, 5.0, 0.0, refused=True) == 5.0


@pytest.mark.parametrize("state", list(State))
def test_it_can_be_stopped_in_every_state(state: State) -> None:
    assert step(Link(state), StopAsked(), now=0, chance=0.5) == (Link(State.CLOSED), HangUp())


def test_what_is_not_in_the_table_cannot_come() -> None:
    for state, event in itertools.product(State, EVENTS):
        if type(event) in TRANSITIONS[state]:
            assert step(Link(state), event, now=0, chance=0.5)[0].state is TRANSITIONS[state][type(event)]
        else:
            with pytest.raises(LocalProtocolError, match=type(event).__name__):
                step(Link(state), event, now=0, chance=0.5)


@given(st.lists(st.sampled_from(EVENTS)), st.floats(0, 1, exclude_max=True), st.floats(0, 1e9))
def test_no_order_to_wait_is_ever_longer_than_a_minute_unasked(events: list[Event], chance: float, now: float) -> None:
    here = Link()
    for event in events:
        if type(event) not in TRANSITIONS[here.state]:
            continue
        here, order = step(here, event, now=now, chance=chance)
        assert not isinstance(order, Wait) or 0 <= order.seconds <= 60


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("retry-after: 30", 30.0),
        ("too many nodes; Retry-After:5, thank you", 5.0),
        ("", None),
        ("retry-after: soon", None),
        ("retry-after: -1", None),
        ("retry-after: 99999999999", None),
    ],
)
def test_a_servers_wish_is_read_from_its_words(text: str, seconds: float | None) -> None:
    assert parse_retry_after(text) == seconds


@given(st.text())
def test_no_text_upsets_the_reader(text: str) -> None:
    found = parse_retry_after(text)
    assert found is None or found >= 0
