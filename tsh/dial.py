"""Dialling while the SSH library is still being loaded: both take about as long as a round trip to the far side."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from protocol import limits


def start_dialling(host: str, port: int) -> Future[socket.socket]:
    """Begin to connect to `host` and `port`, in a thread of its own that nobody need wait for.

    The future holds the connected socket, or the OSError that came of it.
    """
    dialled: Future[socket.socket] = Future()

    def dial() -> None:
        try:
            connected = socket.create_connection((host, port), limits.DIAL_TIMEOUT.total_seconds())
        except OSError as err:
            with suppress(InvalidStateError):
                dialled.set_exception(err)
            return
        try:
            dialled.set_result(connected)
        except InvalidStateError:  # nobody waits any more
            connected.close()

    threading.Thread(target=dial, name="dial", daemon=True).start()
    return dialled
