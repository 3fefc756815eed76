"""Standard input, output and error without blocking the loop and without O_NONBLOCK on what others share.

A file description belongs to everyone who inherited it: setting it non-blocking breaks the shell that
started us. So pipes and terminals are opened a second time through /proc, sockets are written to with
MSG_DONTWAIT, and what never blocks for long (files, /dev/null) is written to as it is.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections import deque
from collections.abc import Callable

_READ = 64 * 1024
_BITE = 4096  # POSIX: a pipe that polls writable takes PIPE_BUF bytes without blocking


def _reopened(descriptor: int) -> int | None:
    """Return a non-blocking descriptor of the same pipe or terminal; None where it cannot be had."""
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None


class Sink:
    """Writes to one descriptor; keeps what it does not take.

    Attributes:
        broken: why nothing can be written any more; None while all is well.
    """

    def __init__(self, descriptor: int, on_change: Callable[[], None]) -> None:
        """Make a sink. `on_change` is called when it has drained or broken."""
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[memoryview] = deque()
        self.broken: OSError | None = None
        self._close: Callable[[], None] | None = None
        self._descriptor, self._put = self._open(descriptor)

    def _open(self, descriptor: int) -> tuple[int, Callable[[memoryview | bytes], int]]:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(kind):
            shared = socket.socket(fileno=os.dup(descriptor))
            self._close = shared.close
            return shared.fileno(), lambda data: shared.send(data, socket.MSG_DONTWAIT)
        if stat.S_ISFIFO(kind) or os.isatty(descriptor):
            ours = _reopened(descriptor)
            if ours is None:  # another user's terminal: small bites, and only when it polls writable
                return descriptor, lambda data: os.write(descriptor, data[:_BITE])
            self._close = lambda: os.close(ours)
            return ours, lambda data: os.write(ours, data)
        return descriptor, lambda data: os.write(descriptor, data)

    @property
    def stalled(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._waiting)

    def write(self, data: bytes) -> None:
        """Write `data`, at once as far as it goes."""
        if self.broken:
            return
        if self._waiting:
            self._waiting.append(memoryview(data))
            return
        rest = self._try(memoryview(data))
        if rest:
            self._waiting.append(rest)
            self._loop.add_writer(self._descriptor, self._drain)

    def _try(self, data: memoryview) -> memoryview:
        try:
            while data:
                data = data[self._put(data) :]
        except BlockingIOError:
            pass
        except OSError as err:
            self.broken = err
            self._waiting.clear()
            self._loop.call_soon(self._on_change)
            return data[:0]
        return data

    def _drain(self) -> None:
        while self._waiting:
            rest = self._try(self._waiting.popleft())
            if rest:
                self._waiting.appendleft(rest)
                return
        self._loop.remove_writer(self._descriptor)
        self._on_change()

    def close(self) -> None:
        """Let go of what was opened here."""
        if self._waiting:
            self._waiting.clear()
            self._loop.remove_writer(self._descriptor)
        if self._close:
            self._close()
            self._close = None


class Source:
    """Reads one descriptor as it becomes readable: `on_data` gets what came, empty at its end."""

    def __init__(self, descriptor: int, on_data: Callable[[bytes], None]) -> None:
        self._descriptor = descriptor
        self._on_data = on_data
        self._loop = asyncio.get_running_loop()
        self._running = False
        self._ended = False
        self._pollable = True
        self._scheduled = False

    def start(self) -> None:
        """Begin, or go on after `pause`."""
        if self._running or self._ended:
            return
        self._running = True
        if self._pollable:
            try:
                self._loop.add_reader(self._descriptor, self._read)
            except PermissionError:  # epoll takes no files: they are always ready
                self._pollable = False
        if not self._pollable:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._read)

    def pause(self) -> None:
        """Read nothing until `start`."""
        if self._running and self._pollable:
            self._loop.remove_reader(self._descriptor)
        self._running = False

    def _read(self) -> None:
        self._scheduled = False
        if not self._running:
            return
        try:
            data = os.read(self._descriptor, _READ)
        except (BlockingIOError, InterruptedError):
            data = None
        except OSError:
            data = b""  # a terminal that hung up
        if data == b"":
            self.pause()
            self._ended = True
        if data is not None:
            self._on_data(data)
        if not self._pollable and self._running:
            self._schedule()
