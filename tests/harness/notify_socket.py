"""A socket as systemd gives one to a service of Type=notify, and what the service says there."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 120.0


class NotifySocket:
    """Made by `notify_socket`."""

    def __init__(self, path: Path, sock: socket.socket) -> None:
        self.path = path
        self._sock = sock
        self._messages: list[str] = []
        self._heard = threading.Condition()
        self._listener = threading.Thread(target=self._listen, name="notify socket", daemon=True)
        self._listener.start()

    def variables(self, *, watchdog: float | None = None) -> dict[str, str]:
        """Return what the service finds in its environment; `watchdog` is in seconds."""
        pulse = {} if watchdog is None else {"WATCHDOG_USEC": str(int(watchdog * 1_000_000))}
        return {"NOTIFY_SOCKET": str(self.path), **pulse}

    def messages(self) -> list[str]:
        """Return all that was said, message by message."""
        with self._heard:
            return list(self._messages)

    def mark(self) -> int:
        """Return the place after all that was said so far."""
        return len(self.messages())

    def await_message(self, is_it: Callable[[str], bool], since: int = 0) -> str:
        """Wait for a message after `since`, and return it."""
        deadline = time.monotonic() + PATIENCE
        with self._heard:
            while True:
                for message in self._messages[since:]:
                    if is_it(message):
                        return message
                left = deadline - time.monotonic()
                assert left > 0, f"it never came; what came is {self._messages}"
                self._heard.wait(left)

    def await_line(self, line: str, since: int = 0) -> str:
        """Wait for a message after `since` with this line in it, and return the message."""
        return self.await_message(lambda message: line in message.splitlines(), since)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._listener.join(10)
        self._sock.close()

    def _listen(self) -> None:
        while data := self._sock.recv(4096):
            with self._heard:
                self._messages.append(data.decode())
                self._heard.notify_all()


@contextmanager
def notify_socket(folder: Path) -> Iterator[NotifySocket]:
    """Yield a socket in `folder` that listens."""
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        listening = NotifySocket(path, sock)
        try:
            yield listening
        finally:
            listening.close()
