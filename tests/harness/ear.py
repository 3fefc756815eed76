"""What listens where systemd would (sd_notify(3)), in the abstract name space too; each message as it was said."""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path

PATIENCE = 60.0


class Ear:
    """Hears what a service says, and keeps all of it.

    Attributes:
        name: for ``NOTIFY_SOCKET``.
        heard: the messages, as far as somebody has waited for them.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path) if path else "")  # "": the kernel chooses an abstract name, unix(7)
        name = self._socket.getsockname()
        self.name = str(path) if path else "@" + name[1:].decode("ascii")
        self.heard: list[str] = []

    def wait_for(self, line: str, *, since: int = 0, timeout: float = PATIENCE) -> str:
        """Wait for a message with a line that begins like that; return the message."""
        deadline = time.monotonic() + timeout
        while True:
            for message in self.heard[since:]:
                if any(said.startswith(line) for said in message.split("\n")):
                    return message
            left = deadline - time.monotonic()
            ready = select.select([self._socket], [], [], max(left, 0))[0]
            assert ready, f"{line} was never said; heard: {self.heard[-20:]}"
            self.heard.append(self._socket.recv(65536).decode())

    def after(self, line: str) -> int:
        """Return the place after the last message heard that begins like that."""
        return max(at for at, message in enumerate(self.heard) if message.startswith(line)) + 1

    def is_silent(self, seconds: float) -> bool:
        """Tell whether nothing is said for so long. What was said before counts as heard."""
        self.mark()
        return not select.select([self._socket], [], [], seconds)[0]

    def mark(self) -> int:
        """Return the place after all that has been said."""
        while select.select([self._socket], [], [], 0)[0]:
            self.heard.append(self._socket.recv(65536).decode())
        return len(self.heard)

    def close(self) -> None:
        self._socket.close()
