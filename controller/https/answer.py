"""An answer on its way: made piece by piece, as fast as its reader takes it, and holding no thread in between.

A thread makes it until there is enough to write; whoever has the socket writes that without waiting; when it is
written, a thread goes on. So a peer that reads slowly costs memory, bounded, and no thread.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

# So much is made ahead of the reader, and one piece more.
AHEAD = 256 * 1024
# So much is given to TLS at once, and so often before others have their turn.
_WRITE = 64 * 1024
_WRITES_PER_TURN = 8


class Answer:
    """One answer. gunicorn's response writes into it as into a socket."""

    def __init__(self) -> None:
        self.size = 0  # bytes that are made and not written
        self._taken = 0  # bytes that were written, and not counted yet
        self.is_made = False
        self.keeps = False  # whether the connection may serve another request after it
        self.response: Any = None
        self._waiting: deque[memoryview] = deque()
        self._pieces: Iterator[bytes] = iter(())
        self._close: Callable[[], object] | None = None

    # --- being made, in a thread --------------------------------------------------------------------------------------

    def sendall(self, data: bytes) -> None:
        """Take bytes to be written."""
        if data:
            self._waiting.append(memoryview(data))
            self.size += len(data)

    def send(self, data: bytes) -> int:
        """Take bytes to be written, all of them."""
        self.sendall(data)
        return len(data)

    def begin(self, response: Any, body: Iterable[bytes]) -> None:  # noqa: ANN401 - gunicorn carries no types
        """Take gunicorn's response and what the application answers, to be gone through by `go_on`."""
        self.response = response
        self._close = getattr(body, "close", None)
        self._pieces = iter(body)

    def go_on(self) -> None:
        """Make more of it, until there is enough to write or it is made. Raises what the application raises."""
        while self.size < AHEAD:
            piece = next(self._pieces, None)
            if piece is None:
                self.response.close()
                self.close()
                self.is_made = True
                return
            self.response.write(piece)

    def cut_off(self) -> None:
        """Make no more of it: what there is goes out, and the connection ends."""
        self.close()
        self.is_made, self.keeps = True, False

    def give_up(self) -> None:
        """Write no more of it."""
        self.cut_off()
        self._waiting.clear()
        self.size = 0

    def close(self) -> None:
        """Free what the application holds for it. May be called again."""
        close, self._close = self._close, None
        if close is not None:
            with suppress(OSError, ValueError):
                close()

    # --- being written ------------------------------------------------------------------------------------------------

    def count_taken(self, step: int) -> int:
        """Return how many times so many bytes the peer has taken since the last call; what is over counts the next."""
        count, self._taken = divmod(self._taken, step)
        return count

    def write(self, sock: ssl.SSLSocket) -> bool:
        """Write some of what there is to a non-blocking socket; tell whether anything is left.

        Raises `ssl.SSLWantWriteError` where the kernel takes no more for now, another `OSError` where the peer is gone.
        """
        for _ in range(_WRITES_PER_TURN):
            if not self._waiting:
                return False
            sent = sock.send(self._waiting[0][:_WRITE])
            self.size -= sent
            self._taken += sent
            self._waiting[0] = self._waiting[0][sent:]
            if not self._waiting[0]:
                self._waiting.popleft()
        return bool(self._waiting)
