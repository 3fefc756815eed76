from __future__ import annotations

from controller.presence import Presence, Tunnel
from protocol.names import NodeId
from tests.controller.harbour import Harbour

ONE, TWO, THREE = (NodeId(f"00000000-0000-4000-8000-00000000000{number}") for number in (1, 2, 3))


def test_what_is_written_is_read_by_others(harbour: Harbour) -> None:
    up, down = Tunnel("up", harbour.clock()), Tunnel("down", harbour.clock())
    harbour.presence.write({ONE: up, TWO: down})
    assert Presence(harbour.store, harbour.clock).read() == {ONE: up, TWO: down}


def test_a_change_replaces_what_was_known_of_that_node_alone(harbour: Harbour) -> None:
    up = Tunnel("up", harbour.clock())
    harbour.presence.write({ONE: up, TWO: up})
    harbour.clock.move(seconds=5)
    harbour.presence.write({ONE: Tunnel("down", harbour.clock())})
    assert harbour.presence.read() == {ONE: Tunnel("down", harbour.clock()), TWO: up}


def test_a_proxy_that_begins_takes_every_node_down_and_leaves_those_that_were_down_since_then(
    harbour: Harbour,
) -> None:
    before = harbour.clock()
    harbour.presence.write({ONE: Tunnel("up", before), TWO: Tunnel("down", before)})
    harbour.clock.move(minutes=5)
    expected = {ONE: Tunnel("down", harbour.clock()), TWO: Tunnel("down", before)}
    assert harbour.presence.all_down() == expected
    assert harbour.presence.read() == expected
    harbour.clock.move(minutes=5)
    assert harbour.presence.all_down() == expected


def test_what_is_forgotten_is_known_no_more_and_may_be_forgotten_twice(harbour: Harbour) -> None:
    up = Tunnel("up", harbour.clock())
    harbour.presence.write({ONE: up, TWO: up})
    harbour.presence.forget(ONE)
    harbour.presence.forget(ONE)
    assert harbour.presence.read() == {TWO: up}


def test_nothing_known_is_nothing_to_take_down(harbour: Harbour) -> None:
    assert harbour.presence.all_down() == harbour.presence.read() == {}
    harbour.presence.write({})
    assert harbour.presence.read() == {}
