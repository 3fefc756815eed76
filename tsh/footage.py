"""A recording as far as it has come, as its player sees it, and where in it to begin."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal, Protocol

from protocol.recording.cast import Event
from tsh.scene import Scene

# more: what is next is on its way; edge: that was all there is so far; over: nothing comes any more.
Progress = Literal["more", "edge", "over"]
# So much of a recording, unpacked, is shown again before the moment that somebody goes to: from its start, mostly.
REDRAW_MAX = 4 * 1024 * 1024


class Footage(Protocol):
    """Blocks of events, in order of their begin."""

    @property
    def count(self) -> int:
        """How many blocks there are."""

    @property
    def progress(self) -> Progress:
        """Whether more blocks come."""

    @property
    def length(self) -> int:
        """How long the recording is, as far as anybody knows."""

    @property
    def arrived(self) -> tuple[int, int]:
        """How many bytes have come, and how many there are, as far as anybody knows."""

    def begin(self, block: int) -> int:
        """Return when a block's first event happened."""

    def size(self, block: int) -> int:
        """Return how many bytes a block's events are."""

    def scene(self, block: int) -> Scene:
        """Return what the screen was like when the block began."""

    def events(self, block: int) -> Sequence[Event]:
        """Return a block's events. A block that cannot be read has none, and is the last."""


def end_of(footage: Footage) -> float:
    """Return when the last block that has come begins; before everything where none has."""
    return footage.begin(footage.count - 1) if footage.count else -1.0


def block_at(footage: Footage, moment: float) -> int:
    """Return the last block that begins by `moment`, or the first."""
    return max(0, bisect_right(range(footage.count), moment, key=footage.begin) - 1)


def redraw_from(footage: Footage, moment: float) -> int:
    """Return the block at which to begin, so that at `moment` the screen looks as it did."""
    block, room = block_at(footage, moment), REDRAW_MAX
    while block > 0 and room > 0:
        block -= 1
        room -= footage.size(block)
    return block


class Cursor:
    """A place in a recording.

    Attributes:
        block: the block that the next event is in.
        last: when the last event that was passed happened.
    """

    def __init__(self, footage: Footage) -> None:
        """Begin at the beginning."""
        self._footage = footage
        self.block, self.last = 0, 0
        self._at = 0
        self._events: Sequence[Event] | None = None

    def next(self) -> Event | None:
        """Return the next event, if it has come."""
        while self.block < self._footage.count:
            if self._events is None:
                self._events = self._footage.events(self.block)
            if self._at < len(self._events):
                return self._events[self._at]
            self.block, self._at, self._events = self.block + 1, 0, None
        return None

    def go_past(self, event: Event) -> None:
        """Leave the next event behind."""
        self._at += 1
        self.last = max(self.last, event.time)

    def go_to(self, block: int) -> None:
        """Go to the beginning of a block."""
        self.block, self._at, self._events = block, 0, None
        self.last = self._footage.begin(block) if block < self._footage.count else 0
