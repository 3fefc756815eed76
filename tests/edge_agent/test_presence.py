"""A real agent and a real mosquitto: what the agent says of itself, when, and what becomes of it when links end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from edge_agent.identity import DataDirectory
from edge_agent.papers import Papers
from edge_agent.presence import Presence
from edge_agent.spool import Spool
from edge_agent.vitals import Vitals
from protocol import topics
from protocol.names import NodeId
from protocol.presences import NodeState
from tests.harness.road import Agent, join_arguments
from tests.harness.simulated_broker import SimulatedBroker
from tests.harness.simulated_controller import SimulatedController, TlsAuthority

_PATIENCE = 30.0


@pytest.fixture
def begin(
    own_controller: SimulatedController, start_agent: Callable[..., Agent], tmp_path: Path
) -> Callable[..., tuple[Agent, str]]:
    """Start an agent whose heart beats every five seconds; return it and its node's id."""

    def start(name: str = "lone-node", *arguments: str) -> tuple[Agent, str]:
        settings = tmp_path / f"{name}.yaml"
        settings.write_text("heartbeat_interval: 5\n")
        data = tmp_path / name
        agent = start_agent(
            own_controller, *join_arguments(own_controller, name, data), "-c", str(settings), *arguments
        )
        return agent, own_controller.wait_for_node(name)

    return start


def test_node_says_that_it_is_there_and_its_heart_beats(
    broker: SimulatedBroker, begin: Callable[..., tuple[Agent, str]]
) -> None:
    agent, node_id = begin()
    state = broker.wait_for_state(node_id, None)
    assert state.interval == 5
    assert state.memory > 0
    assert state.disk > 0
    assert state.platform.startswith("Linux ")
    beat = broker.wait_for_beat(node_id, lambda beat: beat.tunnel and bool(beat.round_trip))
    assert beat.uptime > 0
    assert 0 < beat.memory < state.memory
    assert (beat.sessions, beat.reconnects, beat.spool_files) == (0, 0, 0)
    assert beat.generation == 1
    later = broker.wait_for_beat(node_id, since=len(broker.heard.beats))
    assert later.uptime >= beat.uptime
    assert agent.stop() == 0
    assert broker.wait_for_state(node_id, "stopped").instance == state.instance


def test_killed_agent_is_told_lost_by_its_will(
    broker: SimulatedBroker, begin: Callable[..., tuple[Agent, str]]
) -> None:
    agent, node_id = begin()
    state = broker.wait_for_state(node_id, None)
    agent.process.kill()
    assert broker.wait_for_state(node_id, "lost").instance == state.instance
    agent.wait()


def test_agent_that_says_nothing_any_more_is_given_up_by_the_broker(
    broker: SimulatedBroker, begin: Callable[..., tuple[Agent, str]]
) -> None:
    agent, node_id = begin()
    broker.wait_for_state(node_id, None)
    agent.process.send_signal(signal.SIGSTOP)
    try:
        broker.wait_for_state(node_id, "lost", timeout=120)
    finally:
        agent.process.send_signal(signal.SIGCONT)
    broker.wait_for_state(node_id, None, since=len(broker.heard.states))


def test_agent_comes_back_to_a_broker_that_was_killed(
    broker: SimulatedBroker, begin: Callable[..., tuple[Agent, str]]
) -> None:
    _, node_id = begin()
    state = broker.wait_for_state(node_id, None)
    broker.kill()
    mark = len(broker.heard.states)
    broker.start()
    again = broker.wait_for_state(node_id, None, since=mark)
    assert again.instance == state.instance
    broker.wait_for_beat(node_id, lambda beat: beat.reconnects >= 1, timeout=_PATIENCE)


def test_tunnel_that_goes_and_comes_is_told_at_once(
    own_controller: SimulatedController, broker: SimulatedBroker, begin: Callable[..., tuple[Agent, str]]
) -> None:
    _, node_id = begin()
    broker.wait_for_beat(node_id, lambda beat: beat.tunnel)
    mark = len(broker.heard.beats)
    own_controller.close_tunnel_door()
    broker.wait_for_beat(node_id, lambda beat: not beat.tunnel, since=mark)
    own_controller.open_tunnel_door()
    broker.wait_for_beat(node_id, lambda beat: beat.tunnel, since=mark + 1, timeout=_PATIENCE)


def test_tunnel_that_fell_silent_is_found_out_once_the_heart_can_beat_no_more(
    own_controller: SimulatedController, broker: SimulatedBroker, begin: Callable[..., tuple[Agent, str]]
) -> None:
    agent, node_id = begin()
    broker.wait_for_beat(node_id, lambda beat: beat.tunnel)
    silent = own_controller.tunnels[node_id]
    own_controller.run(_stop_reading(silent))
    broker.kill()
    agent.wait_for_line("the connection to the broker is gone")
    agent.wait_for_line("the tunnel is gone", timeout=60)
    own_controller.run(_abort(silent))


async def _stop_reading(connection: asyncssh.SSHServerConnection) -> None:
    """Have a connection's end take nothing in any more: it lives, and never answers."""
    transport = connection._transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()


async def _abort(connection: asyncssh.SSHServerConnection) -> None:
    connection.abort()


def test_broker_of_another_name_is_not_believed(
    broker: SimulatedBroker, begin: Callable[..., tuple[Agent, str]]
) -> None:
    broker.stop()
    broker.certify("api.simulated")
    broker.start()
    agent, node_id = begin()
    line = agent.wait_for_line("is not reached")
    assert "ostname mismatch" in line, line
    assert all(told != node_id for told, _ in broker.heard.states)


def test_without_a_broker_everything_else_works(
    own_controller: SimulatedController, begin: Callable[..., tuple[Agent, str]]
) -> None:
    agent, node_id = begin()
    agent.wait_for_line("names no broker")
    assert node_id in own_controller.tunnels
    assert agent.stop() == 0


def test_what_the_broker_kept_of_an_earlier_run_is_overwritten(
    broker: SimulatedBroker, begin: Callable[..., tuple[Agent, str]]
) -> None:
    agent, node_id = begin()
    first = broker.wait_for_state(node_id, None)
    agent.process.kill()
    agent.wait()
    mark = len(broker.heard.states)
    begin()
    second = broker.wait_for_state(node_id, None, since=mark)
    assert second.instance != first.instance


def test_garbage_and_messages_beyond_all_bounds_do_not_end_the_agent(
    broker: SimulatedBroker, begin: Callable[..., tuple[Agent, str]]
) -> None:
    agent, node_id = begin()
    broker.wait_for_state(node_id, None)
    document = topics.node_document(NodeId(node_id))
    for payload in (b"\xff\x00 no document", b"{}", b"[" * 100_000):
        broker.publish(document, payload, retain=False)
    mark = len(broker.heard.states)
    broker.publish(document, bytes(1024 * 1024), retain=False)
    agent.wait_for_line("larger than", _PATIENCE)
    state: NodeState = broker.wait_for_state(node_id, None, since=mark, timeout=_PATIENCE)
    assert state.farewell is None
    assert os.path.exists(f"/proc/{agent.process.pid}")  # noqa: PTH110 - the process is the same


@pytest.fixture
async def device(
    broker: SimulatedBroker, begin: Callable[..., tuple[Agent, str]], tmp_path: Path
) -> Callable[..., tuple[Papers, Presence]]:
    """Make a presence in this process, of a node that has joined. It goes where its papers say that there is one."""
    agent, node_id = await asyncio.to_thread(begin)
    await asyncio.to_thread(broker.wait_for_beat, node_id)
    await asyncio.to_thread(agent.stop)
    await asyncio.to_thread(broker.wait_for_state, node_id, "stopped")
    identity = DataDirectory(tmp_path / "lone-node").load()
    assert identity
    spool = Spool(tmp_path / "spool", quota=2**30, min_free=0)
    now = datetime.now(UTC)

    def make(
        take: Callable[[str, bytes, bool], None] = lambda *_: None,
        asked: Callable[[], None] = lambda: None,
        **granted: Any,  # noqa: ANN401 - fields of several types
    ) -> tuple[Papers, Presence]:
        papers = Papers(replace(identity, granted=replace(identity.granted, **granted)))
        vitals = Vitals(papers, spool, offset=lambda: None, has_tunnel=lambda: True, sessions=lambda: 0)

        def address() -> tuple[str, int] | None:
            asked()
            return ("127.0.0.1", broker.port) if papers.identity.granted.mqtt_address else None

        presence = Presence(
            papers,
            vitals,
            take,
            address=address,
            span=lambda: (now, now),
            interval=3600,
        )
        return papers, presence

    return make


def renew(papers: Papers, **granted: Any) -> None:  # noqa: ANN401 - fields of several types
    identity = papers.identity
    papers.renew(replace(identity, granted=replace(identity.granted, **granted)))


async def test_new_certificates_are_shown_on_a_new_connection_and_nobody_takes_the_node_for_lost(
    broker: SimulatedBroker, device: Callable[..., tuple[Papers, Presence]]
) -> None:
    papers, presence = device()
    node_id = papers.identity.granted.node_id
    mark, beats = len(broker.heard.states), len(broker.heard.beats)
    async with asyncio.TaskGroup() as group:
        group.create_task(presence.run())
        await asyncio.to_thread(broker.wait_for_beat, node_id, lambda beat: beat.reconnects == 0, since=beats)
        renew(papers, tls_certificate=papers.identity.granted.tls_certificate + "\n")
        await asyncio.to_thread(broker.wait_for_beat, node_id, lambda beat: beat.reconnects == 1)
        presence.stop()
    farewells = [state.farewell for told, state in broker.heard.states[mark:] if told == node_id]
    assert "lost" not in farewells


async def test_authority_that_comes_ends_no_connection_and_the_one_that_vouched_for_the_broker_does_when_it_goes(
    broker: SimulatedBroker, device: Callable[..., tuple[Papers, Presence]]
) -> None:
    papers, presence = device()
    presence.spread = 0.0
    node_id = papers.identity.granted.node_id
    old, new = papers.tls_authorities, TlsAuthority().pem
    async with asyncio.TaskGroup() as group:
        group.create_task(presence.run())
        await asyncio.to_thread(broker.wait_for_beat, node_id, lambda beat: beat.reconnects == 0)
        mark = len(broker.heard.beats)
        renew(papers, tls_authorities=(new, *old))
        await asyncio.to_thread(broker.wait_for_beat, node_id, lambda beat: beat.reconnects == 0, since=mark)
        mark = len(broker.heard.beats)
        renew(papers, tls_authorities=old)  # the other goes again: it vouched for nothing
        await asyncio.to_thread(broker.wait_for_beat, node_id, lambda beat: beat.reconnects == 0, since=mark)
        lost = asyncio.Event()
        presence.went_down = lost.set
        renew(papers, tls_authorities=(new,))
        async with asyncio.timeout(_PATIENCE):
            await lost.wait()
        renew(papers, tls_authorities=old)
        await asyncio.to_thread(broker.wait_for_beat, node_id, lambda beat: beat.reconnects == 1)
        presence.stop()


async def test_all_nodes_do_not_connect_anew_at_once_where_an_authority_goes(
    broker: SimulatedBroker, device: Callable[..., tuple[Papers, Presence]]
) -> None:
    papers, presence = device()
    presence.spread = 1e6
    node_id = papers.identity.granted.node_id
    async with asyncio.TaskGroup() as group:
        group.create_task(presence.run())
        await asyncio.to_thread(broker.wait_for_beat, node_id, lambda beat: beat.reconnects == 0)
        mark = len(broker.heard.beats)
        renew(papers, tls_authorities=(TlsAuthority().pem,))
        await asyncio.to_thread(broker.wait_for_beat, node_id, lambda beat: beat.reconnects == 0, since=mark)
        assert presence.is_connected
        presence.stop()


async def test_broker_of_which_a_renewal_tells_is_gone_to_at_once(
    broker: SimulatedBroker, device: Callable[..., tuple[Papers, Presence]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "skerry.agent")
    asked = asyncio.Event()
    papers, presence = device(asked=asked.set, mqtt_address="")
    node_id = papers.identity.granted.node_id
    beats, states = len(broker.heard.beats), len(broker.heard.states)
    async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(presence.run())
        for _ in range(2):  # the second time after a renewal that tells of none either
            await asked.wait()
            asked.clear()
            assert not presence.is_connected
            renew(papers)
        await asked.wait()
        renew(papers, mqtt_address=f":{broker.port}")
        await asyncio.to_thread(broker.wait_for_beat, node_id, since=beats)
        presence.stop()
    assert caplog.text.count("names no broker") == 1
    broker.wait_for_state(node_id, "stopped", since=states)
    assert [state.farewell for _, state in broker.heard.states[states:]] == [None, "stopped"]


async def test_node_that_waits_for_a_broker_can_be_stopped(device: Callable[..., tuple[Papers, Presence]]) -> None:
    asked = asyncio.Event()
    _, presence = device(asked=asked.set, mqtt_address="")
    async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(presence.run())
        await asked.wait()
        presence.stop()


async def test_what_was_published_while_it_was_away_is_not_kept_for_it_but_what_is_retained_comes(
    broker: SimulatedBroker, device: Callable[..., tuple[Papers, Presence]]
) -> None:
    heard: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
    seen: list[tuple[bytes, bool]] = []

    async def be_there(*expected: bytes, then: bytes) -> None:
        papers, presence = device(lambda _topic, payload, retained: heard.put_nowait((payload, retained)))
        document = topics.node_document(papers.identity.granted.node_id)
        async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
            group.create_task(presence.run())
            seen.extend([await heard.get() for _ in expected])
            await asyncio.to_thread(broker.publish, document, then, retain=False)
            seen.append(await heard.get())
            presence.stop()

    papers, _ = device()
    document = topics.node_document(papers.identity.granted.node_id)
    await asyncio.to_thread(broker.publish, document, b"first", retain=True)
    await be_there(b"first", then=b"one")
    for missed in (b"missed", b"missed too"):
        await asyncio.to_thread(broker.publish, document, missed, retain=False)
    await asyncio.to_thread(broker.publish, document, b"second", retain=True)
    await be_there(b"second", then=b"two")
    assert seen == [(b"first", True), (b"one", False), (b"second", True), (b"two", False)]
