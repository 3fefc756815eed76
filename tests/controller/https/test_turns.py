from __future__ import annotations

from typing import cast

from controller.https.caller import Caller
from controller.https.turns import Turns


class Waiting:
    def __init__(self, address: str, number: int) -> None:
        self.address = address
        self.number = number

    def __repr__(self) -> str:
        return f"{self.address}{self.number}"


def crowd(turns: Turns, address: str, count: int) -> None:
    for number in range(count):
        turns.ask(cast("Caller", Waiting(address, number)))


def begun(turns: Turns) -> list[Caller]:
    found = []
    while (caller := turns.take()) is not None:
        found.append(caller)
    return found


def test_an_address_has_its_share_at_most_and_others_have_what_is_left() -> None:
    turns = Turns(threads=4, share=2)
    crowd(turns, "a", 10)
    assert [str(each) for each in begun(turns)] == ["a0", "a1"]
    crowd(turns, "b", 1)
    crowd(turns, "c", 5)
    assert [str(each) for each in begun(turns)] == ["b0", "c0"]


def test_addresses_take_turns_and_each_keeps_its_order() -> None:
    turns = Turns(threads=1, share=1)
    crowd(turns, "a", 3)
    crowd(turns, "b", 2)
    order = []
    while (caller := turns.take()) is not None:
        order.append(str(caller))
        assert turns.take() is None
        turns.give_back(caller)
    assert order == ["a0", "b0", "a1", "b1", "a2"]


def test_a_thread_given_back_goes_to_whoever_waits() -> None:
    turns = Turns(threads=4, share=2)
    crowd(turns, "a", 3)
    first, _ = begun(turns)
    assert turns.take() is None
    turns.give_back(first)
    assert [str(each) for each in begun(turns)] == ["a2"]
    assert begun(turns) == []
