"""A node that the admin has removed: cut off within a second or two, and let in nowhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest

from controller.presence import Tunnel
from protocol.names import NodeId
from tests.controller.harbour import ADMIN
from tests.controller.proxy.lab import (
    PATIENCE,
    ProxyLab,
    Streams,
    eventually,
    exchange,
    open_to,
    refusal,
    running_proxy,
)


async def ended(streams: Streams) -> None:
    """Wait until the other end of a channel is gone."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises((asyncssh.Error, OSError, asyncio.IncompleteReadError)):
            await streams[0].readexactly(1)


async def test_its_tunnel_and_the_channels_in_it_are_cut_and_no_other_s(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        gone, kept = await lab.node("gone"), await lab.node("kept")
        person = await lab.person_connected()
        to_gone, to_kept = await open_to(person, "gone"), await open_to(person, "kept")
        assert await exchange(to_gone, b"x") == await exchange(to_kept, b"x") == b"x"
        lab.cluster.enrolment.nodes.remove(gone.reply.node_id, ADMIN)
        assert "gone" in (await refusal(person, "gone"))[1]  # at once: nobody is led there any more
        async with asyncio.timeout(PATIENCE):
            await gone.connection.wait_closed()
        await ended(to_gone)
        assert await exchange(to_kept, b"still here") == b"still here"
        assert await exchange(await open_to(person, "kept"), b"y") == b"y"
        await eventually(lambda: lab.tunnel_state(kept.reply.node_id) == "up")


async def test_it_is_told_why_and_its_certificate_is_void(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reasons: list[str] = []
        over = asyncio.Event()

        class Listening(asyncssh.SSHClient):
            def connection_lost(self, exc: Exception | None) -> None:
                reasons.append(str(exc))
                over.set()

        reply, credential = lab.enrol()
        node = await lab.connect(credential.client_keys(), lab.tunnel_port, reply.node_id, client_factory=Listening)
        await node.start_server(lambda _host, _port: False, "node", 22, encoding=None)
        lab.cluster.enrolment.nodes.remove(reply.node_id, ADMIN)
        async with asyncio.timeout(PATIENCE):
            await over.wait()
        assert reasons == ["this node has been removed from the cluster"]
        with pytest.raises(asyncssh.PermissionDenied):
            await lab.dial(reply, credential)
        (entry,) = await lab.audited("T3007W")
        assert (entry["check"], entry["user"]) == ("T2", reply.node_id)


def stored(lab: ProxyLab) -> set[NodeId]:
    return set(lab.cluster.presence.read())


async def test_nothing_is_kept_of_its_presence_whether_its_tunnel_was_up_or_down(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        up, down, kept = await lab.node("up"), await lab.node("down"), await lab.node("kept")
        down.connection.abort()
        known = {node.reply.node_id for node in (up, down, kept)}
        await eventually(lambda: stored(lab) == known and lab.tunnel_state(down.reply.node_id) == "down")
        for node in (up, down):
            lab.cluster.enrolment.nodes.remove(node.reply.node_id, ADMIN)
        await eventually(lambda: stored(lab) == {kept.reply.node_id})
        async with asyncio.timeout(PATIENCE):
            await up.connection.wait_closed()
        # Whatever the end of its connection could have changed is stored before another node's change.
        other = await lab.node("other")
        await eventually(lambda: lab.tunnel_state(other.reply.node_id) == "up")
        assert stored(lab) == {kept.reply.node_id, other.reply.node_id}


async def test_what_was_removed_while_no_proxy_ran_is_forgotten_by_the_next(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        node = await lab.node()
        await eventually(lambda: lab.tunnel_state(node.reply.node_id) == "up")
        cluster = lab.cluster
    cluster.enrolment.nodes.remove(node.reply.node_id, ADMIN)
    cluster.presence.write({node.reply.node_id: Tunnel("up", lab.clock())})  # as a proxy that was killed leaves it
    async with running_proxy(tmp_path) as lab:
        await eventually(lambda: stored(lab) == set())
