"""Who may wait in front of the node's own door."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.lobby import PATIENCE, Guest, decide_entry, network_of
from protocol.decision import Granted, Refused


def guests(*networks: str) -> list[Guest]:
    return [Guest(number, network, float(number)) for number, network in enumerate(networks)]


def test_there_is_room_for_a_newcomer() -> None:
    assert decide_entry(guests("a", "b"), "a", 3.0, limit=3, share=2) == Granted(None)


def test_a_network_that_has_its_share_is_turned_away() -> None:
    answer = decide_entry(guests("a", "a"), "a", 1.0, limit=9, share=2)
    assert isinstance(answer, Refused)
    assert answer.check == "Q1"


def test_a_guest_of_the_same_network_who_dawdles_makes_room() -> None:
    assert decide_entry(guests("b", "a", "a"), "a", 1.0 + PATIENCE, limit=9, share=2) == Granted(1)


def test_in_a_full_lobby_the_largest_crowd_gives_up_its_oldest() -> None:
    assert decide_entry(guests("b", "a", "a"), "c", 3.0, limit=3, share=3) == Granted(1)


@given(st.lists(st.sampled_from("abcdef"), max_size=60), st.floats(0, 10))
def test_the_bounds_hold_whoever_comes(arrivals: list[str], pause: float) -> None:
    waiting: list[Guest] = []
    for number, network in enumerate(arrivals):
        now = number * pause
        answer = decide_entry(waiting, network, now, limit=8, share=3)
        if isinstance(answer, Granted):
            waiting = [each for each in waiting if each.number != answer.value]
            waiting.append(Guest(number, network, now))
        assert len(waiting) <= 8
        assert all(sum(each.network == other for each in waiting) <= 3 for other in "abcdef")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("nonsense", ""),
    ],
)
def test_an_asker_is_an_ipv4_address_or_an_ipv6_network(address: str, network: str) -> None:
    assert network_of(address) == network
