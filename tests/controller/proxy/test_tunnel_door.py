from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import asyncssh
import pytest

from controller.cluster import open_cluster
from protocol import certificates, limits
from protocol.certificates import HOST_ROLE_EXTENSION, CertificateOrder
from protocol.messages import JoinReply
from protocol.names import parse_node_name
from tests.controller.proxy.lab import Credential, ProxyLab, eventually, exchange, open_to, refusal, running_proxy


@dataclass
class Attempt:
    """Who dials: the node's id as SSH user name, and what it brings."""

    username: str
    credential: Credential


def order_of(lab: ProxyLab, reply: JoinReply) -> CertificateOrder:
    return certificates.node_order(
        node_id=reply.node_id,
        name=reply.name,
        cluster=reply.cluster_name,
        generation=1,
        serial=9,
        now=lab.clock(),
    )


def forged(lab: ProxyLab, _folder: Path) -> Attempt:
    reply, credential = lab.enrol()
    blob = bytearray(base64.b64decode(credential.line.split()[1]))
    blob[blob.index(reply.node_id.encode())] ^= 1
    return Attempt(reply.node_id, replace(credential, forged=bytes(blob)))


def a_person_s(lab: ProxyLab, _folder: Path) -> Attempt:
    return Attempt(lab.enrol()[0].node_id, lab.person())


def of_another_cluster(lab: ProxyLab, folder: Path) -> Attempt:
    other = open_cluster(replace(lab.cluster.config, data_dir=folder / "other"), lab.clock)
    reply, _ = lab.enrol()
    return Attempt(reply.node_id, lab.certify(order_of(lab, reply), other))


def expired(lab: ProxyLab, _folder: Path) -> Attempt:
    reply, credential = lab.enrol()
    lab.clock.move(days=31)
    return Attempt(reply.node_id, credential)


def the_proxy_s_role(lab: ProxyLab, _folder: Path) -> Attempt:
    reply, _ = lab.enrol()
    order = replace(order_of(lab, reply), extensions={HOST_ROLE_EXTENSION: "proxy"})
    return Attempt(reply.node_id, lab.certify(order))


def a_first_principal_that_is_no_id(lab: ProxyLab, _folder: Path) -> Attempt:
    reply, _ = lab.enrol()
    order = order_of(lab, reply)
    return Attempt(reply.node_id, lab.certify(replace(order, principals=order.principals[::-1])))


def another_node_s_name(lab: ProxyLab, _folder: Path) -> Attempt:
    other, _ = lab.enrol("other")
    return Attempt(other.node_id, lab.enrol()[1])


def no_id_as_user_name(lab: ProxyLab, _folder: Path) -> Attempt:
    return Attempt("root", lab.enrol()[1])


def not_enrolled(lab: ProxyLab, _folder: Path) -> Attempt:
    reply, credential = lab.enrol()
    lab.cluster.store.collection("nodes").delete(reply.node_id, now=lab.clock())
    return Attempt(reply.node_id, credential)


def not_approved(lab: ProxyLab, _folder: Path) -> Attempt:
    reply, credential = lab.enrol()
    nodes = lab.cluster.enrolment.nodes
    found = nodes.find(reply.node_id)
    assert found is not None
    assert nodes.replace(found, replace(found.node, pending=True))
    return Attempt(reply.node_id, credential)


def another_key(lab: ProxyLab, _folder: Path) -> Attempt:
    reply, _ = lab.enrol()
    return Attempt(reply.node_id, lab.certify(order_of(lab, reply)))


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (forged, "K0"),
        (a_person_s, "K1"),
        (of_another_cluster, "K2"),
        (expired, "K3"),
        (the_proxy_s_role, "K5"),
        (a_first_principal_that_is_no_id, "K6"),
        (another_node_s_name, "T1"),
        (no_id_as_user_name, "T1"),
        (not_enrolled, "T2"),
        (not_approved, "T2"),
        (another_key, "T3"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_certificate_that_is_not_this_node_s_is_refused_alike_and_audited_with_its_check(
    make: Callable[[ProxyLab, Path], Attempt], check: str, tmp_path: Path
) -> None:
    async with running_proxy(tmp_path) as lab:
        attempt = make(lab, tmp_path)
        with pytest.raises(asyncssh.PermissionDenied) as caught:
            await lab.connect(attempt.credential.client_keys(), lab.tunnel_port, attempt.username)
        assert caught.value.reason == f"Permission denied for user {attempt.username} on host 127.0.0.1"
        (entry,) = await lab.audited("T3007W")
        assert (entry["check"], entry["door"], entry["user"]) == (check, "tunnel", attempt.username)


async def test_a_node_is_online_while_it_holds_a_tunnel_and_the_store_says_so(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol()
        assert lab.tunnel_state(reply.node_id) is None
        connection = await lab.dial(reply, credential)
        person = await lab.person_connected()
        await refusal(person, "gw-1")  # authenticated, and nothing asked for yet: that is no tunnel

        async def nothing(reader: asyncssh.SSHReader[bytes], _writer: asyncssh.SSHWriter[bytes]) -> None:
            await reader.read()

        await connection.start_server(lambda _host, _port: nothing, "node", 22, encoding=None)
        await eventually(lambda: lab.tunnel_state(reply.node_id) == "up")
        await open_to(person)
        connection.abort()
        await eventually(lambda: lab.tunnel_state(reply.node_id) == "down")


async def test_a_second_connection_displaces_the_first_and_the_node_stays_online_throughout(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        first = await lab.node()
        await eventually(lambda: lab.tunnel_state(first.reply.node_id) == "up")
        since = lab.cluster.presence.read()[first.reply.node_id]
        lab.clock.move(minutes=1)
        second = replace(first, connection=await lab.dial(first.reply, first.credential))
        await second.serve()
        async with asyncio.timeout(10):
            await first.connection.wait_closed()
        person = await lab.person_connected()
        assert await exchange(await open_to(person), b"by the second") == b"by the second"
        # Another node's change is stored after anything the first one's end could have changed.
        other = await lab.node("other")
        await eventually(lambda: lab.tunnel_state(other.reply.node_id) == "up")
        assert lab.cluster.presence.read()[first.reply.node_id] == since
        second.connection.abort()
        await eventually(lambda: lab.tunnel_state(first.reply.node_id) == "down")


async def test_the_displaced_connection_is_told_why(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reasons: list[str] = []
        over = asyncio.Event()

        class Listening(asyncssh.SSHClient):
            def connection_lost(self, exc: Exception | None) -> None:
                reasons.append(str(exc))
                over.set()

        reply, credential = lab.enrol()
        first = await lab.connect(credential.client_keys(), lab.tunnel_port, reply.node_id, client_factory=Listening)
        for connection in (first, await lab.dial(reply, credential)):
            await connection.start_server(lambda _host, _port: False, "node", 22, encoding=None)
        async with asyncio.timeout(10):
            await over.wait()
        assert reasons == ["displaced by a newer connection of this node"]


async def test_a_node_gets_one_forward_and_no_port(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol()
        connection = await lab.dial(reply, credential)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.start_server(lambda _host, _port: False, "0.0.0.0", 0)  # noqa: S104 - asked for in vain
        await connection.start_server(lambda _host, _port: False, "node", 22)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.start_server(lambda _host, _port: False, "node", 23)


async def test_a_node_cannot_open_channels_to_other_nodes(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node("other")
        thief = await lab.node("thief")
        for target in ("other", "127.0.0.1"):
            with pytest.raises(asyncssh.ChannelOpenError):
                await open_to(thief.connection, target)


async def test_a_node_that_refuses_a_channel_is_passed_on_as_a_refusal(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        node = await lab.node()
        person = await lab.person_connected()
        node.accepting = False
        assert await refusal(person, "gw-1") == (asyncssh.OPEN_RESOURCE_SHORTAGE, "too many connections")
        node.accepting = True
        assert await exchange(await open_to(person), b"x") == b"x"


async def test_channels_that_were_refused_take_no_room_and_keep_no_proxy_from_stopping(tmp_path: Path) -> None:
    async with running_proxy(tmp_path, drain="60s") as lab:
        node = await lab.node()
        person = await lab.person_connected()
        node.accepting = False
        for _ in range(limits.CHANNELS_PER_CONNECTION + 1):
            assert (await refusal(person, "gw-1"))[1] == "too many connections"
        node.accepting = True
        streams = await open_to(person)
        assert await exchange(streams, b"x") == b"x"
        streams[1].close()
        await streams[1].wait_closed()
        lab.stop.set()
        async with asyncio.timeout(10):
            await lab.ended.wait()


async def test_a_node_that_was_up_when_the_proxy_died_is_down_when_it_is_back(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        node = await lab.node(parse_node_name("gw-1"))
        await eventually(lambda: lab.tunnel_state(node.reply.node_id) == "up")
        cluster = lab.cluster
    assert cluster.presence.read()[node.reply.node_id].state == "down"
    async with running_proxy(tmp_path) as lab:
        code, text = await refusal(await lab.person_connected(), "gw-1")
        assert code == asyncssh.OPEN_CONNECT_FAILED
        assert "is offline since" in text
