"""Somebody who watches a recording, without a terminal and a clock: for the tests of the player."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocol.recording.cast import Event
from tsh.footage import Progress
from tsh.keyboard import Key
from tsh.player import Mode, Player
from tsh.scene import Scene, Scout
from tsh.screen import Screen

CLEARED = "\x1b[2J"


@dataclass
class ListedReel:
    """A recording in a list, as far as it has come."""

    blocks: list[Sequence[Event]] = field(default_factory=list)
    progress: Progress = "over"
    length: int = 0
    weight: int = 100
    arrived: tuple[int, int] = (0, 0)
    opened: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.blocks)

    def begin(self, block: int) -> int:
        return self.blocks[block][0].time

    def size(self, block: int) -> int:
        assert self.blocks[block]
        return self.weight

    def scene(self, block: int) -> Scene:
        scout = Scout()
        for events in self.blocks[:block]:
            scout.read(b"".join(event.line() for event in events))
        return scout.scene

    def events(self, block: int) -> Sequence[Event]:
        self.opened.append(block)
        return self.blocks[block]


def output(time: int, text: str) -> Event:
    return Event(time, "o", text)


def seconds(count: int, progress: Progress = "over") -> ListedReel:
    """Return a recording in which each second shows its number; a block a second."""
    blocks = [[output(number * 1000, f"<{number}>")] for number in range(count)]
    return ListedReel([list(block) for block in blocks], progress, count * 1000)


def player(reel: ListedReel, *, speed: float = 1.0, skip_idle: bool = False) -> Player:
    return Player(reel, Screen(), now=0.0, speed=speed, skip_idle=skip_idle)


@dataclass
class Viewer:
    """Somebody who watches: time passes as the player wishes."""

    player: Player
    now: float = 0.0
    seen: str = ""

    def watch(self, until: float = math.inf) -> str:
        """Watch until a time, or until the player waits for something else than time. Returns what was shown."""
        seen = ""
        while True:
            step = self.player.step(self.now)
            seen += step.output
            if step.over or step.wait is None:
                break
            if self.now + step.wait > until:
                self.now = until
                break
            self.now += step.wait
        self.seen += seen
        return seen

    def press(self, *keys: Key) -> None:
        for key in keys:
            self.player.press(key, self.now)

    def status(self) -> str:
        return self.player.step(self.now).status or ""

    def is_in(self, mode: Mode) -> bool:
        return self.player.mode is mode


def numbers(*which: int) -> str:
    return "".join(f"<{number}>" for number in which)


def drawn(text: str) -> str:
    """Return what is on the screen of what was shown: what came since it was last cleared."""
    return Screen().show(text.rpartition(CLEARED)[2]).replace("\x1b[?2026l", "").replace("\x1b[?2026h", "")


def on_terminal(reel: ListedReel, terminal: tuple[int, int] = (80, 24)) -> Viewer:
    viewer = Viewer(player(reel))
    viewer.player.resize(terminal, 0.0)
    return viewer
