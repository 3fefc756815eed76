from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

from controller.accounts import UserRecord
from controller.enrolment.nodes import NodeRecord
from controller.fleet import Fleet
from controller.policy.liveness import TUNNEL_PROOF, BrokerHealth, Standing
from controller.presence import Presence, Tunnel
from controller.presence.mirror import View, view_of
from controller.store.interface import Value
from controller.store.tiny import TinyStore
from protocol.messages import NodeList
from protocol.names import NodeId, NodeName
from protocol.presences import NodeState
from tests.controller.harbour import ADMIN, Harbour
from tests.controller.lookout.lab import BEAT

STRANGER = NodeId("00000000-0000-4000-8000-000000000003")
RUN = NodeState("00000000000000aa", version="0.2")


class Told:
    """What is known over MQTT, as a test says it."""

    def __init__(self) -> None:
        self.view = View({}, BrokerHealth(is_up=True))

    def __call__(self) -> View:
        return self.view

    def say(self, node: NodeRecord, standing: Standing) -> None:
        self.view = View({**self.view.standings, node.node_id: standing}, self.view.health)


def fleet_of(harbour: Harbour, told: Told) -> Fleet:
    return Fleet(harbour.enrolment.nodes, harbour.presence, told, harbour.clock)


def alice(harbour: Harbour) -> UserRecord:
    harbour.invite("alice")
    found = harbour.accounts.users.get("alice")
    assert found is not None
    return found


def test_the_fleet_shows_each_node_with_the_state_of_its_tunnel(harbour: Harbour) -> None:
    up, down, never = harbour.node("up"), harbour.node("down"), harbour.node("never", env="lab")
    since = harbour.clock()
    harbour.presence.write({up.node_id: Tunnel("up", since), down.node_id: Tunnel("down", since)})
    harbour.presence.write({STRANGER: Tunnel("up", since)})  # of a node that is enrolled no more
    views = harbour.fleet.all()
    assert [(view.name, view.tunnel, view.tunnel_since, view.status) for view in views] == [
        ("down", "down", since, "offline"),
        ("never", "unknown", None, "unknown"),
        ("up", "up", since, "online"),
    ]
    entry = views[1].entry()
    assert (entry.node_id, entry.address, entry.labels) == (never.node_id, "⟵ Tunnel", {"env": "lab"})


def test_the_fleet_shows_what_mqtt_says_beside_the_tunnel(harbour: Harbour) -> None:
    told, node = Told(), harbour.node("gw")
    fleet, now = fleet_of(harbour, told), harbour.clock()
    told.say(node, Standing("online", now, now, "", RUN, BEAT))
    assert [(view.status, view.version) for view in fleet.all()] == [("tunnel down", "0.2")]
    harbour.presence.write({node.node_id: Tunnel("up", now)})
    assert [view.status for view in fleet.all()] == ["online"]
    told.view = view_of(told.view.standings, BrokerHealth(is_up=False, since=now, reason="the broker is away"))
    (view,) = fleet.all()
    assert (view.status, view.standing.reason) == ("stale", "the broker is away")
    entry = view.entry()
    assert (entry.presence, entry.tunnel, entry.last_seen) == ("stale", "up", int(now.timestamp() * 1000))


def test_an_offline_node_whose_tunnel_lives_on_is_stale_after_a_while_although_nothing_was_written(
    harbour: Harbour,
) -> None:
    told, node = Told(), harbour.node("gw")
    fleet = fleet_of(harbour, told)
    harbour.presence.write({node.node_id: Tunnel("up", harbour.clock())})
    harbour.clock.move(minutes=1)
    told.say(node, Standing("offline", harbour.clock(), harbour.clock(), "its link was lost"))
    assert [view.status for view in fleet.all()] == ["offline"]
    harbour.clock.now += TUNNEL_PROOF
    views = fleet.all()
    assert [view.status for view in views] == ["stale"]
    assert fleet.all() is views


def test_a_person_sees_the_nodes_they_may_open_and_no_others(harbour: Harbour) -> None:
    harbour.node("one")
    person = alice(harbour)
    assert [view.name for view in harbour.fleet.nodes_for(person)] == ["one"]
    assert harbour.fleet.nodes_for(replace(person, roles=())) == ()
    assert json.loads(harbour.fleet.listing_for(replace(person, roles=()))) == {"nodes": []}


def test_a_node_that_waits_for_approval_is_shown_to_the_admin_alone(harbour: Harbour) -> None:
    record = NodeRecord(STRANGER, NodeName("new"), {}, "ssh-ed25519 AAAA", 0, harbour.clock(), "", "0.1", pending=True)
    harbour.enrolment.nodes.add(record)
    (view,) = harbour.fleet.all()
    assert (view.status, view.since) == ("pending", harbour.clock())
    assert harbour.fleet.nodes_for(alice(harbour)) == ()


def test_the_listing_as_text_is_the_listing(harbour: Harbour) -> None:
    told, person = Told(), alice(harbour)
    nodes = [harbour.node(f"gw-{number}", env="lab") for number in range(3)]
    fleet = fleet_of(harbour, told)
    for node in nodes[:2]:
        told.say(node, Standing("online", harbour.clock(), harbour.clock(), "", RUN, BEAT))
        listed = NodeList.from_dict(json.loads(fleet.listing_for(person)))
        assert listed.nodes == tuple(view.entry() for view in fleet.nodes_for(person))
    harbour.enrolment.nodes.remove(nodes[0].node_id, ADMIN)
    assert [node.name for node in NodeList.from_dict(json.loads(fleet.listing_for(person))).nodes] == ["gw-1", "gw-2"]


def test_one_node_is_found_by_its_id(harbour: Harbour) -> None:
    node = harbour.node("gw")
    found = harbour.fleet.get(node.node_id)
    assert found is not None
    assert found.name == "gw"
    assert harbour.fleet.get(STRANGER) is None


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


def test_of_ten_thousand_nodes_those_alone_are_looked_at_anew_that_changed(harbour: Harbour) -> None:
    count, now = 10_000, harbour.clock()
    ids = [NodeId(f"00000000-0000-4000-8000-{number:012d}") for number in range(count)]
    records: dict[str, Value] = {
        each: NodeRecord(each, NodeName(f"gw-{n}"), {"env": "lab"}, "ssh-ed25519 AAAA", 1, now, "", "0.1").to_value()
        for n, each in enumerate(ids)
    }
    harbour.store.collection("nodes").put_many(records, now=now)
    told = Told()
    told.view = View({each: Standing("online", now, now, "", RUN) for each in ids}, told.view.health)
    fleet, person = fleet_of(harbour, told), alice(harbour)
    before = {view.node_id: view for view in fleet.nodes_for(person)}
    assert len(before) == count
    beaten = {each: Standing("online", now, now + timedelta(seconds=30), "", RUN, BEAT) for each in ids[:300]}
    told.view = View({**told.view.standings, **beaten}, told.view.health)
    after = {view.node_id: view for view in fleet.nodes_for(person)}
    assert [each for each in ids if after[each] is not before[each]] == ids[:300]
