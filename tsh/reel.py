"""A recording while it is fetched and played at the same time: a thread fetches and checks, the player reads."""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from protocol.recording.cast import CastHeader, Event
from protocol.recording.fault import RecordingError
from tsh.error import TshError
from tsh.footage import Progress
from tsh.recording import Block, Recording
from tsh.scene import Scene, Scout

# So many bytes are fetched ahead of what is played.
_AHEAD = 16 * 1024 * 1024
_CHAIN = 32


class Reel:
    """The blocks that have come, see `tsh.footage.Footage`.

    Attributes:
        changes: a descriptor that can be read when there is something new.
        progress: whether more blocks come.
        header: what the recording says of its session, once its first block was opened.
        fault: why it ends where it should not; None where it does not.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._numbers, self._begins, self._offsets, self._sizes = array("Q"), array("Q"), array("Q"), array("L")
        self._weights = array("L")
        self._chains = bytearray()
        self._scout = Scout()
        self._scenes, self._scene_begins = [Scene()], array("Q", [0])  # those that differ, and from which block on
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._wanted_block, self._wanted_time = 0, 0.0
        self.changes, self._bell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.count = 0
        self.progress: Progress = "more"
        self.header: CastHeader | None = None
        self.fault: Exception | None = None

    # --- for the player ---

    @property
    def length(self) -> int:
        """How long the recording is, as far as anybody knows."""
        return self._recording.length

    def begin(self, block: int) -> int:
        """Return when a block's first event happened."""
        return self._begins[block]

    @property
    def arrived(self) -> tuple[int, int]:
        """How many bytes have come, and how many there are, as far as anybody knows."""
        return self._recording.content.held, self._recording.content.total

    def size(self, block: int) -> int:
        """Return how many bytes a block's events are."""
        return self._weights[block]

    def scene(self, block: int) -> Scene:
        """Return what the screen was like when the block began."""
        return self._scenes[bisect_right(self._scene_begins, block) - 1]

    def events(self, block: int) -> Sequence[Event]:
        """Return a block's events. One that cannot be opened has none, and is the last."""
        chain = bytes(self._chains[block * _CHAIN : (block + 1) * _CHAIN])
        found = Block(self._numbers[block], self._begins[block], self._offsets[block], self._sizes[block], chain)
        try:
            items = self._recording.open(found)
        except (RecordingError, TshError, OSError) as err:
            self._end(err, block)
            return ()
        for item in items:
            if isinstance(item, CastHeader):
                self.header = item
        return [item for item in items if isinstance(item, Event)]

    # --- for the player's owner ---

    def want(self, block: int, time: float) -> None:
        """Say which block is played, and up to which moment blocks are wanted in any case."""
        with self._changed:
            self._wanted_block, self._wanted_time = block, time
            self._changed.notify_all()

    def ring(self) -> None:
        """Have `changes` read. A signal's handler may call it."""
        with suppress(BlockingIOError):  # then it was rung before, and not heard yet
            os.write(self._bell, b"!")

    def hear(self) -> None:
        """Take note of what is new: `changes` can be read again at the next."""
        with suppress(BlockingIOError):
            while os.read(self.changes, 4096):
                pass

    # --- the thread that fetches ---

    @contextmanager
    def fetched(self) -> Iterator[None]:
        """Fetch in the background until left."""
        thread = threading.Thread(target=self._fetch, name="fetch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            self.want(self.count, 0.0)

    def _fetch(self) -> None:
        fault: Exception | None = None
        try:
            for block in self._recording.blocks(self._stopped.wait):
                if self._stopped.is_set():
                    return
                if block is None:
                    self._tell("edge")
                else:
                    self._add(block)
                    self._throttle()
        except Exception as err:  # noqa: BLE001 - told by the thread that plays
            fault = err
        self._end(fault, None)

    def _add(self, block: Block) -> None:
        self._numbers.append(block.number)
        self._begins.append(block.begin)
        self._offsets.append(block.offset)
        self._sizes.append(block.size)
        self._chains += block.chain.ljust(_CHAIN, b"\0")
        self._survey(block)
        with self._changed:
            if self.progress != "over":
                self.count = len(self._sizes)
        self._tell("more")

    def _survey(self, block: Block) -> None:
        """Take note of what is to be known of a block before it is played."""
        try:
            lines = self._recording.lines(block)
        except (RecordingError, TshError, OSError):  # told when it is played
            self._weights.append(block.size)
            return
        self._weights.append(len(lines))
        scene = self._scout.read(lines)
        if scene != self._scenes[-1]:
            self._scenes.append(scene)
            self._scene_begins.append(len(self._weights))

    def _throttle(self) -> None:
        def is_wanted() -> bool:
            at = min(self._wanted_block, self.count - 1)
            ahead = self._offsets[-1] - self._offsets[at] > _AHEAD
            return not ahead or self._begins[-1] <= self._wanted_time or self._stopped.is_set()

        with self._changed:
            self._changed.wait_for(is_wanted)

    def _tell(self, progress: Progress) -> None:
        with self._changed:
            if self.progress != "over":
                self.progress = progress
            self._changed.notify_all()
        self.ring()

    def _end(self, fault: Exception | None, last: int | None) -> None:
        with self._changed:
            if self.progress != "over" or last is not None:
                self.fault = fault
            if last is not None:
                self.count = last
        self._tell("over")
