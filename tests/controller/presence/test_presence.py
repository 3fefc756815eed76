from __future__ import annotations

from controller.presence import Presence, Tunnel
from controller.store.tiny import TinyStore
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


def test_the_fleet_shows_each_node_with_the_state_of_its_tunnel(harbour: Harbour) -> None:
    up, down, never = harbour.node("up"), harbour.node("down"), harbour.node("never", env="lab")
    since = harbour.clock()
    harbour.presence.write({up.node_id: Tunnel("up", since), down.node_id: Tunnel("down", since)})
    harbour.presence.write({THREE: Tunnel("up", since)})  # of a node that is enrolled no more
    views = harbour.fleet.all()
    assert [(view.name, view.tunnel, view.since) for view in views] == [
        ("down", "down", since),
        ("never", "unknown", None),
        ("up", "up", since),
    ]
    entry = views[1].entry()
    assert (entry.node_id, entry.address, entry.labels) == (never.node_id, "⟵ Tunnel", {"env": "lab"})


def test_a_person_sees_the_nodes_they_may_open_and_no_others(harbour: Harbour) -> None:
    harbour.node("one")
    harbour.invite("alice")
    alice = harbour.accounts.users.get("alice")
    assert alice is not None
    assert [view.name for view in harbour.fleet.nodes_for(alice)] == ["one"]
    from dataclasses import replace

    assert harbour.fleet.nodes_for(replace(alice, roles=())) == ()


def test_a_fleet_that_nobody_changed_is_the_very_same_and_a_change_by_another_process_is_seen(
    harbour: Harbour,
) -> None:
    node = harbour.node("one")
    harbour.presence.write({node.node_id: Tunnel("up", harbour.clock())})
    views = harbour.fleet.all()
    assert harbour.presence.read() is harbour.presence.read()
    assert harbour.fleet.all() is views
    store = TinyStore(harbour.folder / "store") if isinstance(harbour.store, TinyStore) else harbour.store
    Presence(store, harbour.clock).write({node.node_id: Tunnel("down", harbour.clock())})
    assert [view.tunnel for view in harbour.fleet.all()] == ["down"]
    harbour.node("two")
    assert [view.tunnel for view in harbour.fleet.all()] == ["down", "unknown"]
