from __future__ import annotations

import pytest

from controller.api.turnstile import Turnstile
from protocol.names import NodeId

HERE, THERE = NodeId("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f"), NodeId("b0a04442-70dc-4be8-9308-7b7901d2d600")


def test_so_many_of_a_node_are_in_at_a_time_and_one_comes_in_when_another_leaves() -> None:
    turnstile = Turnstile(2)
    with turnstile.enter(HERE) as first:
        with turnstile.enter(HERE) as second, turnstile.enter(HERE) as third, turnstile.enter(THERE) as other:
            assert (first, second, third, other) == (True, True, False, True)
        with turnstile.enter(HERE) as fourth, turnstile.enter(HERE) as fifth:
            assert (fourth, fifth) == (True, False)
    assert turnstile._inside == {}


def test_what_fails_leaves_too() -> None:
    turnstile = Turnstile(1)

    def fail() -> None:
        with turnstile.enter(HERE) as is_in:
            assert is_in
            raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            fail()
