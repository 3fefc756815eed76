from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.pair import Goal, Row, Spread, take_turns

_positive = st.floats(min_value=1e-3, max_value=1e9)


def test_the_result_is_the_median_and_the_spread_its_ends() -> None:
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)


def test_nothing_measured_has_no_spread() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread.of([])


@given(st.lists(_positive, min_size=1, max_size=9))
def test_the_median_lies_within_the_spread(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.lowest <= spread.median <= spread.highest


def test_ratios_are_taken_within_a_turn() -> None:
    row = Row("x", "s", [2.0, 30.0, 8.0], [1.0, 10.0, 2.0])
    assert row.ratios() == [2.0, 3.0, 4.0]


@given(st.lists(st.tuples(_positive, _positive), min_size=1, max_size=9), st.floats(min_value=0.1, max_value=10))
def test_a_machine_that_slows_both_alike_changes_no_ratio(pairs: list[tuple[float, float]], slower: float) -> None:
    before = Row("x", "s", [a for a, _ in pairs], [b for _, b in pairs]).ratios()
    after = Row("x", "s", [a * slower for a, _ in pairs], [b * slower for _, b in pairs]).ratios()
    assert after == pytest.approx(before)


def test_a_turn_missing_on_one_side_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        Row("x", "s", [1.0, 2.0], [1.0]).ratios()


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal("ratio", "at least", 1.5), True),
        (Goal("ratio", "at least", 2.5), False),
        (Goal("ratio", "at most", 2.0), True),
        (Goal("ours", "at most", 3.0), False),
        (Goal("ours", "at most", 4.0), True),
    ],
)
def test_a_goal_is_held_against_the_median(goal: Goal, reached: bool) -> None:
    row = Row("x", "s", [4.0, 1.0, 100.0], [2.0, 1.0, 10.0], "them", goal)
    assert row.reached() is reached
    assert row.to_dict()["reached"] is reached


def test_without_a_goal_nothing_is_reached_or_missed() -> None:
    row = Row("x", "s", [4.0])
    assert row.reached() is None
    assert "reached" not in row.to_dict()
    assert "ratio" not in row.to_dict()


def test_the_result_keeps_every_turn() -> None:
    found = Row("x", "s", [4.0, 6.0], [2.0, 2.0], "them").to_dict()
    assert found["ratio"] == {"median": 2.5, "min": 2.0, "max": 3.0, "turns": [2.0, 3.0]}
    assert found["rival"] == "them"


def test_contenders_run_in_turn_after_a_warm_up_that_does_not_count() -> None:
    order: list[str] = []

    def run(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = take_turns({"a": lambda: run("a"), "b": lambda: run("b")}, 2)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}
