"""What the broker remembers over a SIGKILL."""

from __future__ import annotations

from controller.broker.broker import Change
from protocol import topics
from tests.controller.broker.lab import NODE, PATIENCE, Lab


def test_what_is_retained_and_what_is_queued_for_a_sleeper_outlive_a_sigkill(lab: Lab) -> None:
    controller, node = lab.controller(), lab.node(clean=False)
    node.subscribe(topics.node_document(NODE))
    node.publish(topics.state(NODE), b"online", retain=True)
    node.close()
    controller.publish(topics.POLICY, b"policy", retain=True)
    controller.publish(topics.seen(NODE), b"memory", retain=True)
    controller.publish(topics.node_document(NODE), b"while it slept")
    lab.await_memory(b"while it slept")
    lab.kill()
    lab.run()
    again = lab.node(clean=False)
    assert again.next_message() == (topics.node_document(NODE), b"while it slept", False)
    late = lab.controller()
    late.subscribe("#")
    assert {late.next_message() for _ in range(3)} == {
        (topics.state(NODE), b"online", True),
        (topics.POLICY, b"policy", True),
        (topics.seen(NODE), b"memory", True),
    }


def test_heartbeats_are_not_written_to_the_disk(lab: Lab) -> None:
    controller, node = lab.controller(), lab.node(clean=False)
    controller.subscribe("n/#", qos=0)
    node.publish(topics.state(NODE), b"online", retain=True)
    lab.await_memory(b"online")
    before = lab.memory.stat().st_mtime_ns
    for number in range(200):
        node.publish(topics.beat(NODE), b"%d" % number, qos=0)
    while controller.next_message()[1] != b"199":
        pass
    assert lab.memory.stat().st_mtime_ns == before


def test_a_broker_that_was_killed_without_its_memory_starts_empty(lab: Lab) -> None:
    lab.controller().publish(topics.POLICY, b"policy", retain=True)
    lab.await_memory(b"policy")
    lab.kill()
    lab.memory.unlink()
    lab.run()
    late = lab.controller()
    late.subscribe("#")
    late.publish(topics.PULSE, b"the only")
    assert late.next_message()[1] == b"the only"


def test_the_broker_of_a_large_fleet_saves_after_several_changes_and_when_it_is_ended(lab: Lab) -> None:
    lab.fleet = 999
    assert lab.refresh() is Change.RESTART  # there is room for fewer connections at first
    lab.fleet = 1000
    assert lab.refresh() is Change.RELOAD
    controller = lab.controller()
    for number in range(10):  # however many of them it counts from before it heard of that
        controller.publish(topics.seen(NODE), b"memory %d" % number, retain=True)
    controller.publish(topics.seen(NODE), b"the last", retain=True)
    lab.process.terminate()
    lab.process.wait(PATIENCE)
    assert b"the last" in lab.memory.read_bytes()
    lab.run()
    late = lab.controller()
    late.subscribe("seen/#")
    assert late.next_message() == (topics.seen(NODE), b"the last", True)
