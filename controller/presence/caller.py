"""How the controller's other processes reach the presence process: a connection, lines, and single questions."""

from __future__ import annotations

import socket
import time
from datetime import timedelta
from pathlib import Path

from controller import unix_door
from controller.presence.history import NodeHistory
from controller.presence.wire import LINE_MAX, SOCKET, WireError, history_question, read_history
from protocol.names import NodeId

_PATIENCE = timedelta(seconds=2)
_PIECE = 256 * 1024


def connect(data_dir: Path, patience: timedelta) -> socket.socket:
    """Connect to the presence process. Raises `OSError`."""
    return unix_door.connect(data_dir, SOCKET, patience)


def ask_history(data_dir: Path, node_id: NodeId, timeout: timedelta = _PATIENCE) -> NodeHistory | None:
    """Return the last day of a node's heartbeats; None where nothing is known of it, or nobody answers. Blocks.

    Args:
        data_dir: the controller's.
        node_id: which node.
        timeout: how long to wait for the presence process.
    """
    try:
        with connect(data_dir, timeout) as sock:
            sock.sendall(history_question(node_id))
            return read_history(Lines(sock, timeout).next())
    except (OSError, WireError):
        return None


class Lines:
    """Reads lines from a socket, each of bounded length, in bounded time. Raises `OSError` or `WireError`."""

    def __init__(self, sock: socket.socket, patience: timedelta) -> None:
        self._sock = sock
        self._patience = patience.total_seconds()
        self._rest = bytearray()

    def next(self) -> bytes:
        """Return the next line."""
        pieces: list[bytes] = []
        size = 0
        deadline = time.monotonic() + self._patience
        found = self._rest
        while b"\n" not in found:
            pieces.append(bytes(found))
            size += len(found)
            if size > LINE_MAX:
                raise WireError("a line of the presence process without end")
            self._sock.settimeout(max(0.001, deadline - time.monotonic()))
            found = bytearray(self._sock.recv(_PIECE))
            if not found:
                raise ConnectionResetError("the presence process has left")
        end, _, self._rest = found.partition(b"\n")
        return b"".join([*pieces, end])
