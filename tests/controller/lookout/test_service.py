"""The presence process against a real mosquitto: what nodes say, what the audit log is told, what outlives what."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

from controller.broker.broker import MUTED
from controller.origin import Origin
from controller.presence.mirror import Mirror
from protocol import limits, topics
from protocol.control import PolicyDocument, Pulse
from protocol.decision import Granted
from protocol.endorsement import Endorsed, judge_endorsed, plain_key
from protocol.names import NodeId
from protocol.presences import Beat, NodeState
from tests.controller.broker.lab import NODE, OTHER, Caller
from tests.controller.lookout.lab import BEAT, FIRST, SECOND, Port

ADMIN = Origin(via="tctl", actor="root")
PATIENCE = 30.0


async def connected(port: Port, node_id: NodeId = NODE, instance: str = FIRST) -> Caller:
    return await asyncio.to_thread(port.connect, node_id, instance)


def drop(caller: Caller) -> None:
    """End a node's connection without a farewell."""
    sock = cast("socket.socket", caller.client.socket())
    caller.client.loop_stop()
    with contextlib.suppress(OSError):
        sock.shutdown(2)


async def test_a_node_comes_online_beats_and_is_offline_when_its_link_breaks(port: Port) -> None:
    port.enrol(NODE)
    async with port.watch():
        node = await connected(port)
        found = await port.until_presence(NODE, "online")
        assert found.state == NodeState(FIRST, version="0.2")
        node.publish(topics.beat(NODE), BEAT.encode(), qos=0)
        await port.until(lambda: _beat(port))
        drop(node)
        gone = await port.until_presence(NODE, "offline")
        assert (gone.reason, gone.beat) == ("its link was lost", BEAT)


def _beat(port: Port) -> Beat | None:
    return Mirror(port.cluster.config.data_dir, port.clock).view().of(NODE).beat


async def test_coming_and_going_are_told_to_the_audit_log_once_they_have_lasted(port: Port) -> None:
    port.enrol(NODE)
    port.clock.hold()
    async with port.watch():
        node = await connected(port)
        await port.until_presence(NODE, "online")
        assert not list(port.cluster.audit.entries(kinds=["node.online"]))
        port.clock.ahead += limits.PRESENCE_SETTLE
        (online,) = await port.until_event("node.online")
        assert (online["server_id"], online["server_hostname"], online["version"]) == (NODE, "gw-1", "0.2")
        drop(node)
        await port.until_presence(NODE, "offline")
        port.clock.ahead += limits.PRESENCE_SETTLE
        (offline,) = await port.until_event("node.offline")
        assert offline["reason"] == "its link was lost"


async def test_presence_outlives_the_presence_process_and_is_not_told_twice(port: Port) -> None:
    port.enrol(NODE)
    async with port.watch():
        await connected(port)
        before = await port.until_presence(NODE, "online")
        port.clock.ahead += limits.PRESENCE_SETTLE
        await port.until_event("node.online")
        await port.until(lambda: _is_remembered(port))
    port.clock.ahead += timedelta(minutes=10)
    async with port.watch():
        after = await port.until_presence(NODE, "online")
        assert after.since == before.since.replace(microsecond=before.since.microsecond // 1000 * 1000)
        port.clock.ahead += limits.PRESENCE_SETTLE
        await _a_look(port)
    told = list(port.cluster.audit.entries(kinds=["node.online", "node.offline"]))
    assert [event["server_id"] for event in told] == [NODE, OTHER]


def _is_remembered(port: Port) -> bool:
    """Tell whether the broker holds what the audit log was told; read from its file, which it writes by itself."""
    return b'"told":"online"' in (port.broker.broker.directory / "mosquitto.db").read_bytes()


async def _a_look(port: Port) -> None:
    """Wait until the roster was looked through after all that came before: a node that comes now is told."""
    port.enrol(OTHER, "gw-9")
    await connected(port, OTHER)
    await port.until_presence(OTHER, "online")
    port.clock.ahead += limits.PRESENCE_SETTLE
    await port.until_event("node.online", count=2)


async def test_a_broker_that_is_away_leaves_everybody_stale_and_is_told_when_it_goes_and_comes(port: Port) -> None:
    port.enrol(NODE)
    async with port.watch():
        node = await connected(port)
        await port.until_presence(NODE, "online")
        await asyncio.to_thread(port.broker.kill)
        found = await port.until_presence(NODE, "stale")
        assert "broker" in found.reason
        await port.until_event("broker.down")
        await asyncio.to_thread(port.broker.run)
        await port.until_presence(NODE, "online")
        (event,) = await port.until_event("broker.up")
        assert event["down_since"]
    node.client.loop_stop()


async def test_a_node_that_joins_is_heard_from_its_first_message_and_a_stranger_is_refused(port: Port) -> None:
    port.enrol(NODE)
    async with port.watch():
        await connected(port)
        await port.until_presence(NODE, "online")
        await connected(port, OTHER)
        (event,) = await port.until_event("presence.refused")
        assert (event["server_id"], event["check"]) == (OTHER, "B2")


async def test_the_first_heartbeat_of_a_node_counts_though_it_came_before_its_record_was_read(port: Port) -> None:
    port.clock.hold()  # so that the records are read when somebody unknown speaks, and at no other time
    async with port.watch():
        await port.until(lambda: port.mirror.ask_health().is_up)  # who is not there yet hears no heartbeat
        port.enrol(NODE)
        node = await asyncio.to_thread(port.connect_silently, NODE)
        node.publish(topics.beat(NODE), BEAT.encode(), qos=0)
        await port.until(lambda: _beat(port))


async def test_a_flood_is_refused_once_and_its_node_muted(port: Port) -> None:
    port.enrol(NODE)
    port.enrol(OTHER, "gw-2")
    async with port.watch():
        node = await connected(port)
        await port.until_presence(NODE, "online")
        for _ in range(1000):
            node.publish(topics.beat(NODE), BEAT.encode(), qos=0)
        (event,) = await port.until_event("presence.refused")
        assert (event["server_id"], event["check"]) == (NODE, "B4")
        muted = port.cluster.store.collection(MUTED)
        await port.until(lambda: muted.get(NODE, now=port.clock()))
        await connected(port, OTHER, SECOND)
        await port.until_presence(OTHER, "online")
        assert len(list(port.cluster.audit.entries(kinds=["presence.refused"]))) == 1


async def test_garbage_is_refused_once_and_what_was_retained_of_it_is_cleared(port: Port) -> None:
    port.enrol(NODE)
    node = await connected(port)
    node.publish(topics.state(NODE), b"\xff garbage", retain=True)
    node.publish(topics.beat(NODE), BEAT.encode(), retain=True)
    async with port.watch():
        (event,) = await port.until_event("presence.refused")
        assert (event["check"], event["server_hostname"]) == ("B3", "gw-1")
        node.publish(topics.state(NODE), b"[]")
        node.publish(topics.state(NODE), b"x" * 60_000)
        node.publish(topics.beat(NODE), b"[1,2]")
        node.publish(topics.state(NODE), NodeState(FIRST).encode(), retain=True)
        found = await port.until_presence(NODE, "online")
        assert found.beat is None
    assert len(list(port.cluster.audit.entries(kinds=["presence.refused"]))) == 1


async def test_two_devices_with_one_identity_are_locked(port: Port) -> None:
    port.enrol(NODE)
    async with port.watch():
        await connected(port, NODE, FIRST)
        await port.until_presence(NODE, "online")
        await connected(port, NODE, SECOND)
        third = await connected(port, NODE, FIRST)
        (event,) = await port.until_event("cert.generation_mismatch")
        assert event["server_id"] == NODE
        lock = await port.until(lambda: port.cluster.locks.find(node=NODE))
        assert lock.value == NODE
        third.client.disconnect()


async def test_what_a_broker_that_is_not_ours_shows_of_a_clone_raises_the_alarm_and_locks_nobody(
    tmp_path: Path,
) -> None:
    port = Port(tmp_path, "{broker: external, url: 'mqtts://broker.example:8883'}")
    port.enrol(NODE)
    try:
        await asyncio.to_thread(port.broker.start)
        async with port.watch():
            forger = await connected(port, NODE, FIRST)
            await port.until_presence(NODE, "online")
            for instance in (SECOND, FIRST):
                forger.publish(topics.state(NODE), NodeState(instance).encode())
            (event,) = await port.until_event("cert.generation_mismatch")
            assert (event["server_id"], "lock" in event) == (NODE, False)
            assert "not ours" in event["reason"]
            forger.client.disconnect()
    finally:
        port.broker.close()
    assert port.cluster.locks.list() == []


async def test_a_clock_that_is_set_takes_nobody_offline_and_tells_nothing(port: Port) -> None:
    port.enrol(NODE)
    async with port.watch():
        await connected(port)
        await port.until_presence(NODE, "online")
        port.clock.ahead += limits.PRESENCE_SETTLE
        await port.until_event("node.online")
        port.clock.wrong = timedelta(hours=1)
        await _a_look(port)
        assert (await port.until_presence(NODE, "online")).reason == ""
        port.clock.ahead += timedelta(seconds=130)
        await port.until_presence(NODE, "offline")
    assert len(list(port.cluster.audit.entries(kinds=["node.offline"]))) == 0


async def test_a_mute_ends_though_the_clock_was_set_back(port: Port) -> None:
    port.enrol(NODE)
    port.clock.hold()
    async with port.watch():
        node = await connected(port)
        await port.until_presence(NODE, "online")
        for _ in range(limits.MESSAGES_BURST + 1):
            node.publish(topics.beat(NODE), BEAT.encode(), qos=0)
        muted = port.cluster.store.collection(MUTED)
        await port.until(lambda: muted.get(NODE, now=port.clock()))
        port.clock.wrong = timedelta(hours=-1)
        port.clock.ahead += limits.MUTE
        await port.until(lambda: muted.get(NODE, now=port.clock()) is None)


async def test_who_was_there_for_weeks_and_is_not_heard_again_is_offline_since_the_controller_came_back(
    port: Port,
) -> None:
    port.enrol(NODE)
    async with port.watch():
        node = await connected(port)
        await port.until_presence(NODE, "online")
        port.clock.ahead += limits.PRESENCE_SETTLE
        await port.until_event("node.online")
        await port.until(lambda: _is_remembered(port))
        port.clock.wrong = timedelta(days=30)  # weeks, in which it was heard of
        node.publish(topics.beat(NODE), BEAT.encode(), qos=0)
        await port.until(lambda: _beat(port))
        ended = port.clock()
    port.clock.ahead += timedelta(hours=3)
    back = port.clock()
    async with port.watch():
        found = await port.until_presence(NODE, "online")
        assert ended - timedelta(seconds=1) < found.last_seen < back
        port.clock.ahead += timedelta(seconds=130)
        found = await port.until_presence(NODE, "offline")
        assert ended - timedelta(seconds=1) < found.last_seen < back <= found.since


async def test_a_heartbeat_of_a_generation_that_was_replaced_twice_is_a_copy_s(port: Port) -> None:
    nodes = port.cluster.enrolment.nodes
    port.enrol(NODE)
    found = nodes.find(NODE)
    assert found is not None
    assert nodes.replace(found, replace(found.node, generation=3))
    async with port.watch():
        node = await connected(port)
        await port.until_presence(NODE, "online")
        node.publish(topics.beat(NODE), replace(BEAT, generation=2).encode())  # an answer that was lost
        node.publish(topics.beat(NODE), replace(BEAT, generation=1).encode())
        (event,) = await port.until_event("cert.generation_mismatch")
        assert event["reason"] == "certificates of generation 1 at the broker, where 3 is due"
        drop(node)


async def test_a_node_that_was_removed_leaves_nothing_on_the_broker(port: Port) -> None:
    port.enrol(NODE)
    async with port.watch():
        node = await connected(port)
        await port.until_presence(NODE, "online")
        port.cluster.enrolment.nodes.remove(NODE, ADMIN)
        await port.until_presence(NODE, "unknown")
        drop(node)  # the broker does not know yet that it is none any more: its last will comes, and is kept
        (event,) = await port.until_event("presence.refused")
        assert (event["server_id"], event["check"]) == (NODE, "B2")
    await port.until(lambda: not _held(port))
    assert len(list(port.cluster.audit.entries(kinds=["presence.refused"]))) == 1


def _held(port: Port) -> list[str]:
    """Return what the broker keeps that is of the node, as the controller sees it, which is not there meanwhile."""
    reader = port.broker.controller()
    reader.subscribe("#")
    reader.publish("seen/end", b"here", qos=1)
    held = []
    while (message := reader.next_message())[0] != "seen/end":
        held.append(message)
    reader.close()
    return [topic for topic, payload, retained in held if retained and NODE in topic and payload]


async def test_what_is_kept_for_a_node_for_which_nothing_is_to_be_kept_is_cleared(port: Port) -> None:
    port.enrol(NODE)
    writer = await asyncio.to_thread(port.broker.controller)
    writer.publish(topics.node_document(NODE), b"{}", retain=True)  # from after the backup that was put back
    writer.close()
    node = await connected(port)
    node.subscribe(topics.node_document(NODE))
    assert (await asyncio.to_thread(node.next_message))[1:] == (b"{}", True)
    async with port.watch():
        assert (await asyncio.to_thread(node.next_message))[1:] == (b"", False)


def _bumps(port: Port) -> int:
    """Return how often the version of the policy was raised, and nothing else in it."""
    return sum(event["changed"] == ["version"] for event in port.cluster.audit.entries(kinds=["policy.update"]))


async def _claim(port: Port, node: Caller, version: int) -> None:
    """Have a node say which policy it goes by, and wait until that has been judged: before the next policy is told."""
    node.publish(topics.beat(NODE), replace(BEAT, policy=version).encode(), qos=0)
    await port.until(lambda: (beat := _beat(port)) and beat.policy == version)
    lock = port.cluster.locks.add("user", f"user-{version}", "", None, ADMIN)
    while (message := await asyncio.to_thread(node.next_message))[0] == topics.POLICY:
        if lock.value in [each.value for each in _document(port, message[1]).locks]:
            return


async def test_a_node_that_claims_a_policy_above_ours_moves_it_once_an_hour_and_is_named(port: Port) -> None:
    port.enrol(NODE)
    port.clock.hold()
    async with port.watch():
        node = await connected(port)
        await port.until_presence(NODE, "online")
        node.subscribe(topics.POLICY)
        now = int(port.clock().timestamp())
        await _claim(port, node, now + 86_000)
        (event,) = await port.until_event("presence.refused")
        assert (event["server_id"], event["check"], _bumps(port)) == (NODE, "B5", 0)
        for ahead in (50, 100, 150):
            await _claim(port, node, now + ahead)
        assert _bumps(port) == 1
        assert port.cluster.control.version > now + 50
        port.clock.ahead += limits.POLICY_OUTRUN_AGAIN
        await _claim(port, node, int(port.clock().timestamp()) + 250)
        assert _bumps(port) == 2
    assert len(list(port.cluster.audit.entries(kinds=["presence.refused"]))) == 2


async def test_nodes_are_told_the_policy_what_is_for_them_and_the_time(port: Port) -> None:
    port.enrol(NODE)
    async with port.watch():
        node = await connected(port)
        await port.until_presence(NODE, "online")
        node.subscribe(topics.POLICY)
        topic, payload, _ = await asyncio.to_thread(node.next_message)
        assert topic == topics.POLICY
        first = _document(port, payload)
        node.subscribe(topics.POLICY)
        assert await asyncio.to_thread(node.next_message) == (topics.POLICY, payload, True)  # whoever comes later
        node.subscribe(topics.PULSE, 0)
        port.cluster.locks.add("user", "mallory", "stolen", None, ADMIN)
        topic, payload, retained = await asyncio.to_thread(node.next_message)
        if topic == topics.PULSE:  # the one of when the controller connected
            topic, payload, retained = await asyncio.to_thread(node.next_message)
        second = _document(port, payload)
        assert not retained
        assert second.version > first.version
        assert [lock.value for lock in second.locks] == ["mallory"]
        # At once, which tells that this is the policy of today; and in its time.
        for ahead in (timedelta(), limits.PULSE_INTERVAL):
            port.clock.ahead += ahead
            topic, payload, _ = await asyncio.to_thread(node.next_message)
            assert topic == topics.PULSE
            assert Pulse.decode(_judged(port, payload, "pulse")).policy == second.version


def _document(port: Port, payload: bytes) -> PolicyDocument:
    return PolicyDocument.decode(_judged(port, payload, "policy"))


def _judged(port: Port, payload: bytes, kind: str) -> str:
    endorsed = Endorsed.from_dict(json.loads(payload))
    trusted = {plain_key(line) for line in port.cluster.authority.ssh_authorities("host")}
    answer = judge_endorsed(endorsed, kind, trusted=trusted, cluster=port.cluster.config.cluster_name)  # type: ignore[arg-type]  # one of the literal's own
    assert isinstance(answer, Granted)
    return answer.value


async def test_a_broker_that_does_not_let_the_controller_in_is_told_once(port: Port) -> None:
    port.broker.kill()
    async with port.watch():
        port.clock.ahead += timedelta(seconds=11)
        (event,) = await port.until_event("broker.down")
        assert "cannot be reached" in event["error"]
        port.clock.ahead += timedelta(seconds=60)
        await asyncio.to_thread(port.broker.run)
        await port.until_event("broker.up")
    assert len(list(port.cluster.audit.entries(kinds=["broker.down"]))) == 1
