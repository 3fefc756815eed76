from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.policy.retention import Held, Retention, decide_removals
from protocol import limits
from protocol.names import NodeId, SessionId

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MANY = 1000


def session(number: int) -> SessionId:
    return SessionId(f"00000000-0000-4000-8000-{number:012d}")


def held(number: int, days: float, size: int = 10, *, is_arriving: bool = False, node: str = "a") -> Held:
    return Held(session(number), NodeId(node), NOW - timedelta(days=days), size, is_arriving)


def removed(entries: list[Held], retention: Retention, most: int = MANY) -> list[tuple[int, str]]:
    return [(int(one.session[-12:]), one.reason) for one in decide_removals(entries, retention, NOW, most=most)]


def test_without_a_rule_everything_is_kept() -> None:
    assert removed([held(1, 10_000), held(2, 0)], Retention()) == []


def test_what_is_past_its_age_goes_at_that_very_instant() -> None:
    entries = [held(1, 29.999), held(2, 30), held(3, 31)]
    assert removed(entries, Retention(age=30 * DAY)) == [(3, "age"), (2, "age")]


def test_the_oldest_go_until_the_rest_fits() -> None:
    entries = [held(1, 3), held(2, 5), held(3, 2), held(4, 4)]
    assert removed(entries, Retention(size=40)) == []
    assert removed(entries, Retention(size=39)) == [(2, "size")]
    assert removed(entries, Retention(size=20)) == [(2, "size"), (4, "size")]
    assert removed(entries, Retention(size=1)) == [(2, "size"), (4, "size"), (1, "size"), (3, "size")]


def test_what_goes_for_its_age_makes_room_for_the_rest() -> None:
    entries = [held(1, 40, 50), held(2, 10), held(3, 5)]
    assert removed(entries, Retention(age=30 * DAY, size=20)) == [(1, "age")]
    assert removed(entries, Retention(age=30 * DAY, size=10)) == [(1, "age"), (2, "size")]


def test_a_node_that_floods_pushes_out_its_own_and_nobody_else_s() -> None:
    honest = [held(number, 90 - number, 10, node=f"honest-{number % 10}") for number in range(90)]
    flood = [held(1000 + number, 1, 100, node="hostile") for number in range(98)]
    gone = removed([*honest, *flood], Retention(size=1000))
    assert [number for number, _ in gone] == [1000 + number for number in range(97)]
    assert removed([*flood, *honest], Retention(size=1000)) == gone


def test_room_is_taken_from_whoever_holds_most_by_then_the_oldest_first() -> None:
    entries = [held(1, 2, 60, node="a"), held(2, 1, 30, node="a"), held(3, 9, 50, node="b"), held(4, 8, 10, node="b")]
    assert removed(entries, Retention(size=100)) == [(1, "size")]
    assert removed(entries, Retention(size=80)) == [(1, "size"), (3, "size")]
    assert removed(entries, Retention(size=39)) == [(1, "size"), (3, "size"), (2, "size")]


def test_what_is_spared_counts_for_its_node_and_the_next_node_gives_way_where_nothing_else_may() -> None:
    entries = [held(1, 0, 900, node="a"), held(2, 3, 10, node="a"), held(3, 9, 50, node="b"), held(4, 4, 50, node="b")]
    assert removed(entries, Retention(size=1000)) == [(2, "size")]
    assert removed(entries, Retention(size=950)) == [(2, "size"), (3, "size")]


def test_what_has_only_just_grown_is_spared_and_the_next_oldest_goes_instead() -> None:
    just = limits.RECORDING_SETTLE / DAY
    entries = [held(1, just * 0.99, 100), held(2, just, 10)]
    assert removed(entries, Retention(age=timedelta(seconds=1), size=1)) == [(2, "age")]
    assert removed(entries, Retention(size=1)) == [(2, "size")]


def test_what_is_still_arriving_is_spared_until_nothing_has_come_for_long() -> None:
    days = limits.RECORDING_ARRIVAL_MAX / DAY
    entries = [held(1, days * 0.99, is_arriving=True), held(2, days, is_arriving=True), held(3, days * 0.99)]
    assert removed(entries, Retention(age=DAY)) == [(2, "age"), (3, "age")]
    assert removed(entries, Retention(size=1)) == [(2, "size"), (3, "size")]


def test_one_round_takes_no_more_than_it_may_and_the_next_goes_on() -> None:
    entries = [held(number, 100 - number) for number in range(5)]
    assert removed(entries, Retention(age=DAY), most=2) == [(0, "age"), (1, "age")]
    assert removed(entries[2:], Retention(age=DAY), most=2) == [(2, "age"), (3, "age")]
    assert removed(entries, Retention(age=DAY), most=0) == []


def test_a_recording_from_the_future_is_kept() -> None:
    assert removed([held(1, -400)], Retention(age=DAY, size=1)) == []


def test_of_the_same_instant_the_order_is_always_the_same() -> None:
    entries = [held(2, 5), held(1, 5), held(3, 5)]
    assert (
        removed(entries, Retention(size=10)) == removed(entries[::-1], Retention(size=10)) == [(1, "size"), (2, "size")]
    )


_HELD = st.builds(
    lambda number, minutes, size, is_arriving, node: held(
        number, minutes / 1440, size, is_arriving=is_arriving, node=node
    ),
    st.integers(0, 10**6),
    st.integers(0, 60 * 24 * 20),
    st.integers(0, 1000),
    st.booleans(),
    st.sampled_from("abc"),
)


@given(
    st.lists(_HELD, max_size=30, unique_by=lambda one: one.session),
    st.none() | st.integers(1, 60 * 24 * 20).map(lambda minutes: timedelta(minutes=minutes)),
    st.none() | st.integers(1, 5000),
)
def test_afterwards_the_rules_hold_for_all_that_is_not_spared_and_no_more_went_than_had_to(
    entries: list[Held], age: timedelta | None, size: int | None
) -> None:
    removals = decide_removals(entries, Retention(age, size), NOW, most=MANY)
    gone = {removal.session: removal for removal in removals}
    by_session = {one.session: one for one in entries}
    kept = [one for one in entries if one.session not in gone]
    spared = [
        one
        for one in kept
        if NOW - one.grown < (limits.RECORDING_ARRIVAL_MAX if one.is_arriving else limits.RECORDING_SETTLE)
    ]
    free = [one for one in kept if one not in spared]
    assert len(gone) == len(removals)
    if age is not None:
        assert all(NOW - one.grown < age for one in free)
    if size is not None:
        assert not free or sum(one.size for one in kept) <= size
    for removal in [removal for removal in removals if removal.reason == "size"][-1:]:
        assert size is not None
        assert sum(one.size for one in kept) + by_session[removal.session].size > size
