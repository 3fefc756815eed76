"""What nodes tell of their live sessions, over a real mosquitto, up to what a person is shown."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from controller.live import Live
from controller.origin import Origin
from controller.policy.liveness import Standing
from controller.presence.mirror import Mirror
from protocol import limits, topics
from protocol.fleet_sessions import SessionEntry
from protocol.live_sessions import LiveSessions
from protocol.presences import NodeState
from tests.controller.broker.lab import NODE, OTHER
from tests.controller.lookout.lab import SECOND, Port
from tests.controller.lookout.test_service import _held, connected, drop
from tests.controller.presence.live import going_on, told

ADMIN = Origin(via="tctl", actor="root")
TOLD = topics.live(NODE)


def standing(port: Port) -> Standing:
    return Mirror(port.cluster.config.data_dir, port.clock).view().of(NODE)


def shown(port: Port) -> tuple[SessionEntry, ...]:
    view = Mirror(port.cluster.config.data_dir, port.clock).view
    return Live(port.cluster.enrolment.nodes, view).everywhere()


async def until_told(port: Port, live: LiveSessions) -> None:
    await port.until(lambda: standing(port).live == live)


async def test_sessions_are_shown_while_they_go_on_and_no_longer_than_their_node_is_there(port: Port) -> None:
    port.enrol(NODE)
    async with port.watch():
        node = await connected(port)
        node.publish(TOLD, told(NODE, "ada", "bob").encode(), retain=True)
        await until_told(port, told(NODE, "ada", "bob"))
        (entry,) = await asyncio.to_thread(shown, port)
        assert (entry.name, entry.live) == ("gw-1", going_on(NODE, 1, "ada", "bob"))
        node.publish(TOLD, LiveSessions().encode(), retain=True)
        await until_told(port, LiveSessions())
        node.publish(TOLD, told(NODE).encode(), retain=True)
        await until_told(port, told(NODE))
        drop(node)
        assert (await port.until_presence(NODE, "offline")).live == LiveSessions()
        assert await asyncio.to_thread(shown, port) == ()


async def test_what_is_retained_outlives_the_presence_process_and_makes_nobody_alive(port: Port) -> None:
    port.enrol(NODE)
    port.enrol(OTHER, "gw-2")
    node = await connected(port)
    node.publish(TOLD, told(NODE).encode(), retain=True)
    silent = await asyncio.to_thread(port.connect_silently, OTHER)
    silent.publish(topics.live(OTHER), told(OTHER).encode(), retain=True)
    silent.close()
    async with port.watch():
        assert (await port.until_presence(NODE, "online")).live == told(NODE)
        view = await asyncio.to_thread(Mirror(port.cluster.config.data_dir, port.clock).view)
        assert view.of(OTHER).presence == "unknown"
        assert [entry.node_id for entry in await asyncio.to_thread(shown, port)] == [NODE]


async def test_sessions_told_before_the_node_was_known_are_not_lost(port: Port) -> None:
    async with port.watch():
        node = await connected(port)
        node.publish(TOLD, told(NODE).encode(), retain=True)
        port.enrol(NODE)
        await until_told(port, told(NODE))


@pytest.mark.parametrize(
    ("payload", "check"),
    [
        (b"\xff garbage", "B3"),
        (b"[]", "B3"),
        (b"[" * 30_000, "B3"),
        (b'{"sessions": 7}', "B3"),
        (b'{"sessions": [{"session": "../../etc/passwd", "login": "pi", "started": 1}]}', "B3"),
        (b"x" * (limits.LIVE_SESSIONS_SIZE_MAX + 1), "B3"),
        (told(NODE).encode().replace(b'"ada"', b'"\\u202egpj.exe"'), "B3"),
        (told(NODE).encode().replace(b'"peer"', b'"owner"'), "B3"),
        (told(NODE).encode().replace(b'"started":', b'"started":9999'), "B3"),
        (told(OTHER).encode(), "B6"),
    ],
)
async def test_what_is_no_news_of_live_sessions_is_refused_once_and_wiped(
    port: Port, payload: bytes, check: str
) -> None:
    port.enrol(NODE)
    node = await connected(port)
    node.publish(TOLD, payload, retain=True)
    async with port.watch():
        (event,) = await port.until_event("presence.refused")
        assert (event["server_id"], event["server_hostname"], event["check"]) == (NODE, "gw-1", check)
        node.publish(TOLD, payload)
        node.publish(topics.state(NODE), NodeState(SECOND).encode(), retain=True)
        await port.until(lambda: (found := standing(port).state) is not None and found.instance == SECOND)
        assert (await asyncio.to_thread(standing, port)).live == LiveSessions()
    assert len(list(port.cluster.audit.entries(kinds=["presence.refused"]))) == 1
    assert TOLD not in await asyncio.to_thread(_held, port)


async def test_a_megabyte_ends_its_connection_and_changes_nothing_else(port: Port) -> None:
    port.enrol(NODE)
    port.enrol(OTHER, "gw-2")
    async with port.watch():
        other = await connected(port, OTHER, SECOND)
        node = await connected(port)
        await port.until_presence(NODE, "online")
        node.client.publish(TOLD, b"x" * 1024 * 1024)
        assert (await port.until_presence(NODE, "offline")).live == LiveSessions()
        other.publish(topics.live(OTHER), told(OTHER).encode(), retain=True)
        await port.until(lambda: [entry.node_id for entry in shown(port)] == [OTHER])


async def test_a_command_that_would_steer_a_terminal_is_told_as_it_is_and_cut(port: Port) -> None:
    port.enrol(NODE)
    hostile = "\x1b]0;owned\x07\u202e<script>alert(1)</script>" + "A" * 5_000
    session = replace(going_on(NODE), command=hostile)
    payload = json.dumps({"v": 1, "sessions": [session.to_dict()], "more": 0}).encode()
    async with port.watch():
        node = await connected(port)
        node.publish(TOLD, payload, retain=True)
        await port.until(lambda: shown(port))
        (entry,) = await asyncio.to_thread(shown, port)
        assert entry.live.command == hostile[: limits.RECORDING_COMMAND_LISTED]


async def test_what_a_node_told_goes_with_the_node_and_nobody_can_tell_for_another(port: Port) -> None:
    port.enrol(NODE)
    port.enrol(OTHER, "gw-2")
    async with port.watch():
        node, other = await connected(port), await connected(port, OTHER, SECOND)
        other.publish(TOLD, told(NODE, "mallory").encode(), retain=True)
        other.publish(topics.live(OTHER), told(OTHER).encode(), retain=True)
        await port.until(lambda: [entry.node_id for entry in shown(port)] == [OTHER])
        node.publish(TOLD, told(NODE).encode(), retain=True)
        await until_told(port, told(NODE))
        port.cluster.enrolment.nodes.remove(NODE, ADMIN)
        await port.until_presence(NODE, "unknown")
        node.publish(TOLD, told(NODE, "eve").encode(), retain=True)  # the broker does not know yet that it is none
        await port.until_event("presence.refused")
        assert [entry.node_id for entry in await asyncio.to_thread(shown, port)] == [OTHER]
    await port.until(lambda: not _held(port))
