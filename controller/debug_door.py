"""The debug socket: how an admin on the controller's host speaks with the controller that runs there.

Whoever may write in the data directory may connect, and nobody else.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from controller import unix_door
from controller.policy.debug_order import LINE_MAX, SOCKET, Order, OrderError, encode_order, parse_order

_ORDER_SECONDS = 5.0
_ORDER_MAX = 1024
_PATIENCE = timedelta(seconds=10)


class DebugError(Exception):
    """The controller that runs was not reached, or refused; the message is one line with what to do."""


async def serve_orders(data_dir: Path, answer: Callable[[Order], Mapping[str, Any]]) -> None:
    """Answer orders until cancelled. Raises `OSError` where the socket cannot be made."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_ORDER_SECONDS):
                line = await reader.readline()
                writer.write(_answered(line, answer))
                await writer.drain()
        except (TimeoutError, ValueError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, sock=unix_door.bind(data_dir, SOCKET), limit=_ORDER_MAX)
    async with server:
        await server.serve_forever()


def _answered(line: bytes, answer: Callable[[Order], Mapping[str, Any]]) -> bytes:
    try:
        told = answer(parse_order(line))
    except OrderError as err:
        told = {"error": str(err)}
    return json.dumps(told).encode() + b"\n"


def give_order(data_dir: Path, order: Order, patience: timedelta = _PATIENCE) -> Mapping[str, Any]:
    """Give an order to the controller that runs on `data_dir`, and return its answer. Blocks, for up to `patience`.

    Raises `DebugError`.
    """
    try:
        with unix_door.connect(data_dir, SOCKET, patience) as sock:
            sock.sendall(encode_order(order))
            told = json.loads(_line(sock))
    except (FileNotFoundError, ConnectionRefusedError):
        raise DebugError(f"no controller runs on {data_dir}: `controller start` starts one") from None
    except PermissionError as err:
        raise DebugError(
            f"cannot speak with the controller on {data_dir}: {err.strerror}: run this as root, or as the user that "
            "runs the controller"
        ) from None
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or "it gave no answer"
        raise DebugError(f"cannot speak with the controller on {data_dir}: {reason}: see whether it hangs") from None
    if not isinstance(told, dict) or "error" in told:
        raise DebugError(f"the controller refused: {told['error'] if isinstance(told, dict) else told}")
    return told


def _line(sock: socket.socket) -> bytes:
    """Return what comes, up to the end of a line, or of what is bearable. Raises `OSError`."""
    gathered = b""
    while not gathered.endswith(b"\n") and len(gathered) <= LINE_MAX and (piece := sock.recv(4096)):
        gathered += piece
    return gathered
