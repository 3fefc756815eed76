from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, cast

import pytest

from controller.proxy.lobby import Lobby
from tests.controller.proxy.lab import eventually

LOG = logging.getLogger("PROXY")
TURNS = 32


class Guests:
    """Guests of a lobby: in what order their turn came, and who had to go."""

    def __init__(self, lobby: Lobby) -> None:
        self.lobby = lobby
        self.served: list[int] = []
        self.gone: list[int] = []

    def come(self, number: int, host: str) -> bool:
        guest = cast("Any", number)  # the lobby does nothing with a guest but know them
        return self.lobby.enter(
            guest, host, begin=lambda: self.served.append(number), vacate=lambda: self.gone.append(number)
        )

    def get_in(self, number: int) -> None:
        self.lobby.admit(cast("Any", number))

    def give_up(self, number: int) -> None:
        self.lobby.leave(cast("Any", number))

    async def await_served(self, count: int) -> None:
        await eventually(lambda: len(self.served) >= count)


def address(number: int) -> str:
    return f"127.9.{number // 250}.{number % 250}"


async def test_a_few_at_a_time_have_their_turn_in_the_order_in_which_they_came() -> None:
    guests = Guests(Lobby(LOG))
    for number in range(100):
        assert guests.come(number, address(number))
    assert guests.served == list(range(TURNS))
    guests.get_in(3)
    guests.give_up(5)
    guests.get_in(0)
    assert guests.served == list(range(TURNS + 3))


async def test_who_leaves_before_their_turn_is_passed_over() -> None:
    guests = Guests(Lobby(LOG))
    for number in range(40):
        guests.come(number, address(number))
    guests.give_up(32)
    guests.get_in(0)
    assert guests.served[TURNS:] == [33]


async def test_who_says_nothing_holds_up_nobody_for_long() -> None:
    guests = Guests(Lobby(LOG))
    for number in range(3 * TURNS):
        guests.come(number, address(number))
    await guests.await_served(3 * TURNS)
    assert guests.served == list(range(3 * TURNS))


async def test_a_turn_goes_on_for_as_long_as_it_is_we_who_are_busy() -> None:
    guests = Guests(Lobby(LOG))
    for number in range(TURNS + 1):
        guests.come(number, address(number))
    for _ in range(3):
        time.sleep(0.5)  # noqa: ASYNC251 - what a busy loop looks like to its timers
        await asyncio.sleep(0)
    assert len(guests.served) == TURNS
    await guests.await_served(TURNS + 1)


async def test_a_fleet_that_comes_back_costs_nobody_their_place() -> None:
    guests = Guests(Lobby(LOG, limit=50))
    entered = [guests.come(number, address(number)) for number in range(200)]
    assert entered == [True] * 50 + [False] * 150
    assert guests.gone == []
    guests.get_in(0)
    assert guests.come(200, address(200))


async def test_a_network_that_holds_more_than_its_own_makes_room_for_a_newcomer() -> None:
    guests = Guests(Lobby(LOG, limit=50))
    for number in range(50):
        guests.come(number, address(number // 10))
    assert guests.come(50, address(99))
    assert guests.gone == [0]


async def test_whoever_dawdles_after_their_turn_makes_room_where_all_networks_hold_the_same() -> None:
    guests = Guests(Lobby(LOG, limit=2))
    assert guests.come(0, address(0))
    assert guests.come(1, address(1))
    assert not guests.come(2, address(2))
    await eventually(lambda: guests.come(2, address(2)))
    assert guests.gone == [0]


@pytest.mark.parametrize("share", [1, 2])
async def test_a_network_has_no_more_than_its_share(share: int) -> None:
    guests = Guests(Lobby(LOG, share=share))
    assert [guests.come(number, address(0)) for number in range(3)] == [number < share for number in range(3)]
