from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest

from benchmarks import fleet
from benchmarks.fleet_agents import Orders, data_directory, read_meter
from benchmarks.fleet_controller import Controller, processor_seconds

_HEADERS = 52


async def test_the_meter_counts_what_was_said_both_ways_and_its_headers() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1000))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        sock = writer.get_extra_info("socket")
        before = read_meter(sock)
        writer.write(bytes(1000))
        await reader.readexactly(1000)
        counted = read_meter(sock) - before
        writer.close()
        await writer.wait_closed()
    # Two segments with what was said, and perhaps one or two that only acknowledge.
    assert counted in range(2 * (1000 + _HEADERS), 2 * (1000 + _HEADERS) + 3 * _HEADERS)


def test_a_meter_needs_a_tcp_socket() -> None:
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="not supported"):
        read_meter(sock)


def test_orders_come_over_a_command_line_as_they_were_given() -> None:
    orders = Orders("127.0.0.1:1", "sha256:00", "token", "/a folder/with 'signs'", 40, 2)
    assert Orders.from_text(orders.to_text()) == orders


def test_processor_time_is_what_the_system_says() -> None:
    spent = os.times()
    assert processor_seconds(os.getpid()) == pytest.approx(spent.user + spent.system, abs=0.5)


def test_a_device_that_was_enrolled_in_bulk_is_a_node_with_an_identity_of_its_own(tmp_path: Path) -> None:
    controller = Controller(tmp_path / "fleet")
    controller.enrol(tmp_path / "agents", range(3, 5))
    nodes = controller.open().enrolment.nodes.list()
    assert [node.name for node in nodes] == ["edge-00003", "edge-00004"]
    for node, number in zip(nodes, (3, 4), strict=True):
        identity = json.loads((data_directory(tmp_path / "agents", number) / "identity.json").read_text())
        assert identity["granted"]["node_id"] == node.node_id


def test_a_small_fleet_is_measured_from_joining_to_its_return_after_a_crash(tmp_path: Path) -> None:
    found = {row.what: row.ours[0] for row in fleet.measure(tmp_path, turns=1, quick=True)}
    assert found["100: kill -9 to all back"] >= found["100: kill -9 to 95 % back"] > 0
    assert found["100: controller in all, PSS"] > found["100: proxy, PSS"] > 0
    assert found["100: tsh ls"] > 0
