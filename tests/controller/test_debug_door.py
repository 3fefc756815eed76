from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller import unix_door
from controller.debug_door import DebugError, give_order, serve_orders
from controller.policy.debug_order import SOCKET, Describe, Order, SetLevel

PATIENCE = timedelta(seconds=20)


def obey(order: Order) -> Mapping[str, Any]:
    return {"obeyed": str(order)}


@asynccontextmanager
async def serving(data_dir: Path) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        door = tasks.create_task(serve_orders(data_dir, obey))
        while not (data_dir / SOCKET).exists():  # noqa: ASYNC110 - it is the other task that is awaited, by its turns
            await asyncio.sleep(0)
        try:
            yield
        finally:
            door.cancel()


async def raw(data_dir: Path, data: bytes) -> bytes:
    def ask() -> bytes:
        with unix_door.connect(data_dir, SOCKET, PATIENCE) as sock:
            with suppress(BrokenPipeError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                return sock.recv(4096)
            return b""

    return await asyncio.to_thread(ask)


async def test_an_order_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path):
        for order in (Describe(), SetLevel("DEBUG")):
            assert await asyncio.to_thread(give_order, tmp_path, order, PATIENCE) == {"obeyed": str(order)}


async def test_the_socket_is_its_owner_s_alone_however_long_the_directory_s_name(tmp_path: Path) -> None:
    data_dir = tmp_path / ("a" * 100)
    data_dir.mkdir()
    async with serving(data_dir):
        assert (data_dir / SOCKET).stat().st_mode & 0o777 == 0o600
        assert await asyncio.to_thread(give_order, data_dir, Describe(), PATIENCE)
        assert os.listdir(data_dir) == [SOCKET]  # noqa: PTH208 - names


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"order": "explode"}\n', b'{"order": "describe"'])
async def test_what_is_no_order_is_refused_and_the_next_is_heard(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path):
        answer = await raw(tmp_path, line)
        assert answer.startswith(b'{"error": "the order should be')
        assert await asyncio.to_thread(give_order, tmp_path, Describe(), PATIENCE)


async def test_a_flood_costs_the_connection_and_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path):
        assert await raw(tmp_path, b"x" * 1_000_000) == b""
        assert await asyncio.to_thread(give_order, tmp_path, Describe(), PATIENCE)


def test_where_no_controller_runs_it_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DebugError, match=r"^no controller runs on .*: `controller start` starts one$"):
        give_order(tmp_path, Describe())
    unix_door.bind(tmp_path, SOCKET).close()  # as a controller leaves it that was killed
    with pytest.raises(DebugError, match=r"^no controller runs on "):
        give_order(tmp_path, Describe())


def test_a_controller_that_hangs_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with unix_door.bind(tmp_path, SOCKET), pytest.raises(DebugError, match=r"timed out|no answer"):
        give_order(tmp_path, Describe(), timedelta(milliseconds=200))
