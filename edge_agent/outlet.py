"""What one party of a session is shown: its channel, and what is done where that takes no more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import asyncssh

from edge_agent.policy.pace import Backlog, Pace, decide_pace
from edge_agent.session import Stream
from protocol import limits
from protocol.joining import JoinMode

_PATIENCE = limits.PEER_PATIENCE.total_seconds()
_STDERR = asyncssh.EXTENDED_DATA_STDERR


class Source(Protocol):
    """Where what is shown comes from."""

    def hold(self, holder: object) -> None:
        """Send no more until `holder` has released it."""

    def release(self, holder: object) -> None:
        """Take back a `hold`."""

    def snapshot(self) -> bytes:
        """Return what makes a terminal show what the others see by now."""

    def catch_up(self) -> bytes:
        """Return the same for somebody who goes on from there, and see to it that what is missing in it follows."""

    @property
    def is_shared(self) -> bool:
        """Whether several take part."""


class Outlet:
    """One party's. Output that it is given goes out in order; or it is told to catch up with a snapshot.

    Attributes:
        mode: what the party may do.
        holds: how many times the source was held for this one.
        most: the most bytes that ever waited for it.
    """

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        self.mode: JoinMode = "peer"
        self.holds = self.most = 0
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._source: Source | None = None
        self._full: set[str] = set()  # what is full: the channel, the link
        self._queue: deque[tuple[bytes, Stream]] = deque()
        self._queued = 0
        self._is_holding = self._is_dropped = False
        self._waiting_since: float | None = None  # since when others have waited for this one
        self._caught_up_at: float | None = None  # when this one was shown a snapshot last, having been behind
        self._making_up = 0  # at most so many bytes of that one are still on the way to the channel
        self._news = b""
        self._timer: asyncio.TimerHandle | None = None

    def connect(self, source: Source, mode: JoinMode) -> None:
        """Be shown what `source` says from now on, which is held where this takes nothing."""
        self._source, self.mode = source, mode
        self.look()

    def disconnect(self) -> None:
        """Hold it no more, and miss nothing more of it."""
        self._let_go()
        self._source, self._is_dropped = None, False

    @property
    def is_behind(self) -> bool:
        """Whether the party misses what is said, and is to see a snapshot."""
        return self._is_dropped

    # --- what is shown ------------------------------------------------------------------------------------------------

    def show(self, data: bytes, stream: Stream = "output") -> None:
        """Show `data`, now or as soon as there is room, unless the party is behind."""
        if self._is_dropped:
            return
        if self._full or self._queue:
            self._queue.append((data, stream))
            self._queued += len(data)
            self.look()
        else:
            self._write(data, stream)

    def tell(self, news: bytes) -> None:
        """Send the client a message of its own; where there is no room, the last one of them later."""
        self._news = news
        if not self._full:
            self._tell()

    def finish(self, last: Sequence[tuple[bytes, Stream]] = ()) -> None:
        """Show what is still to be shown, and `last` in any case: the channel is about to be closed, and takes all."""
        if self._is_dropped and self._source:
            self._write(self._source.snapshot(), "output")
        while self._queue:
            self._write(*self._queue.popleft())
        self._queued = 0
        self.disconnect()
        for data, stream in last:
            self._write(data, stream)

    def _write(self, data: bytes, stream: Stream) -> None:
        if not data:
            return
        with suppress(OSError):
            self._channel.write(data, _STDERR if stream == "error" else None)

    def _tell(self) -> None:
        from protocol.joining import NEWS_REQUEST

        news, self._news = self._news, b""
        if news:
            self._channel._send_request(NEWS_REQUEST, len(news).to_bytes(4, "big") + news)  # noqa: SLF001 - the library's own way to say its requests

    # --- where there is no room ---------------------------------------------------------------------------------------

    def pause(self, why: str) -> None:
        """Note that something is full."""
        self._full.add(why)
        self.look()

    def resume(self, why: str) -> None:
        """Note that it is not any more."""
        self._full.discard(why)
        if not self._full:
            self._making_up = 0
            self._catch_up()
        self.look()

    def look(self) -> None:
        """Do what is to be done about what waits."""
        source = self._source
        if source is None:
            return
        buffered = self._channel.get_write_buffer_size()
        self.most = max(self.most, self._queued + buffered)
        backlog = Backlog(
            bool(self._full),
            self._queued + max(buffered - self._making_up, 0),
            held=self._since(self._waiting_since),
            kept_up=self._since(self._caught_up_at),
        )
        pace = decide_pace(backlog, self.mode, is_alone=not source.is_shared)
        if pace is Pace.HOLD:
            self._hold(source)
            return
        if pace is Pace.DROP:
            self._is_dropped, self._queued = True, 0
            self._queue.clear()
        self._let_go()

    def _since(self, moment: float | None) -> float | None:
        return None if moment is None else self._loop.time() - moment

    def _hold(self, source: Source) -> None:
        if not source.is_shared:
            self._stop_waiting()
        elif self._waiting_since is None:
            self._waiting_since = self._loop.time()
            self._timer = self._loop.call_later(_PATIENCE, self.look)
        if not self._is_holding:
            self._is_holding = True
            self.holds += 1
            source.hold(self)

    def _stop_waiting(self) -> None:
        self._waiting_since = None
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _let_go(self) -> None:
        self._stop_waiting()
        if self._is_holding and self._source:
            self._is_holding = False
            self._source.release(self)

    def _catch_up(self) -> None:
        if self._is_dropped and self._source:
            self._is_dropped, self._caught_up_at = False, self._loop.time()
            snapshot = self._source.catch_up()
            self._write(snapshot, "output")
            self._making_up = len(snapshot) if self._full else 0
        while self._queue and not self._full:
            data, stream = self._queue.popleft()
            self._queued -= len(data)
            self._write(data, stream)
        if not self._full:
            self._tell()
