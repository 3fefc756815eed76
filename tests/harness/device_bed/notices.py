"""What systemd-nspawn tells of a device: which process is its first one, and that it is up (sd_notify(3))."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

_LEADER = re.compile(r"^X_NSPAWN_LEADER_PID=(\d+)$", re.MULTILINE)
_READY = re.compile(r"^READY=1$", re.MULTILINE)


class Notices:
    """Listens at the socket `path`, over all boots."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.leader = 0
        self.count = 0
        self._told = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._listen, name=f"notices at {path}", daemon=True)
        self._thread.start()

    def await_count(self, count: int, timeout: float, is_on: Callable[[], bool], said: Callable[[], str]) -> None:
        """Wait until it has come up `count` times; it must stay switched on meanwhile."""
        deadline = time.monotonic() + timeout
        with self._told:
            while self.count < count:
                left = deadline - time.monotonic()
                assert left > 0, f"the device is not up within {timeout:.0f} s; it said:\n{said()}"
                assert is_on(), f"the device went off instead of coming up; it said:\n{said()}"
                self._told.wait(min(left, 1.0))

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()
        self.path.unlink()

    def _listen(self) -> None:
        while data := self._socket.recv(65536):
            text = data.decode(errors="replace")
            with self._told:
                if found := _LEADER.search(text):
                    self.leader = int(found[1])
                if _READY.search(text):
                    self.count += 1
                self._told.notify_all()
