"""Errands that may hang do not hold each other up."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_agent.operations.side_by_side import run_side_by_side


def test_an_errand_that_hangs_is_left_alone_and_the_others_are_told() -> None:
    never, met = threading.Event(), threading.Barrier(2)
    errands: dict[str, Callable[[], object]] = {"hangs": lambda: never.wait(60), "a": met.wait, "b": met.wait}
    try:
        found = run_side_by_side(errands, 5.0)
    finally:
        never.set()
    assert set(found) == {"a", "b"}  # each waited for the other: they ran at the same time


def test_nothing_to_do_is_done_at_once() -> None:
    errands: dict[str, Callable[[], object]] = {}
    assert run_side_by_side(errands, 60.0) == {}
