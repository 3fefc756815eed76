"""A node of which there are two shows itself at the tunnel door; one whose link breaks again and again does not."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh

from protocol.addresses import join_address
from protocol.messages import JoinReply
from tests.controller.proxy.lab import (
    PATIENCE,
    Credential,
    ProxyLab,
    SimulatedNode,
    eventually,
    exchange,
    open_to,
    running_proxy,
)

_CLOSE_WAIT = 8  # tcp_states.h: the other end has closed


async def come(lab: ProxyLab, reply: JoinReply, credential: Credential) -> SimulatedNode:
    node = SimulatedNode(reply, credential, await lab.dial(reply, credential))
    await node.serve()
    return node


def address_of(connection: asyncssh.SSHClientConnection) -> str:
    host, port = connection.get_extra_info("sockname")[:2]
    return join_address(host, port)


def is_left(connection: asyncssh.SSHClientConnection) -> bool:
    """Tell whether the proxy has closed a connection of which nothing is read."""
    sock: Any = connection.get_extra_info("socket")
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSE_WAIT)


async def test_two_that_take_the_tunnel_from_each_other_are_locked(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol()
        node = await come(lab, reply, credential)
        addresses: list[str] = []
        for _ in range(3):
            before, node = node, await come(lab, reply, credential)
            addresses = [address_of(each.connection) for each in (before, node)]
            async with asyncio.timeout(PATIENCE):
                await before.connection.wait_closed()
        (entry,) = await lab.audited("TCB03W")
        assert entry["addr.remote"] == addresses[0]
        assert entry["reason"].endswith(f", and both answer: {addresses[0]} and {addresses[1]}")
        assert (entry["server_id"], entry["lock"]) == (reply.node_id, lab.cluster.locks.list()[0].lock_id)
        async with asyncio.timeout(PATIENCE):
            await node.connection.wait_closed()


async def test_a_device_whose_link_breaks_again_and_again_is_not(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol()
        left = []
        for _ in range(6):
            node = await come(lab, reply, credential)
            transport: Any = node.connection._transport
            transport.pause_reading()  # it answers nothing from here on
            left.append(node.connection)
        await come(lab, reply, credential)
        await eventually(lambda: all(is_left(connection) for connection in left))
        person = await lab.person_connected()
        assert await exchange(await open_to(person), b"by the last") == b"by the last"
        assert not lab.cluster.locks.list()


def record_generation(lab: ProxyLab, reply: JoinReply, generation: int) -> None:
    nodes = lab.cluster.enrolment.nodes
    found = nodes.find(reply.node_id)
    assert found is not None
    assert nodes.replace(found, replace(found.node, generation=generation))


async def test_certificates_that_were_replaced_twice_are_a_copy_s(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol()
        record_generation(lab, reply, 3)
        connection = await lab.dial(reply, credential)
        (entry,) = await lab.audited("TCB03W")
        assert entry["reason"] == "certificates of generation 1 at the tunnel door, where 3 is due"
        async with asyncio.timeout(PATIENCE):
            await connection.wait_closed()


async def test_certificates_that_were_replaced_once_are_a_lost_answer_s(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol()
        record_generation(lab, reply, 2)
        await come(lab, reply, credential)
        copied, its = lab.enrol("copied")
        record_generation(lab, copied, 3)
        await lab.dial(copied, its)
        await lab.audited("TCB03W")  # what would be told of the first was told before
        person = await lab.person_connected()
        assert await exchange(await open_to(person), b"x") == b"x"
        assert [lock.value for lock in lab.cluster.locks.list()] == [copied.node_id]
