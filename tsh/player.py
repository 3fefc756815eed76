"""The player of a recording: what to show now, and how long to wait for what comes next.

No clock, no terminal and no network here: it is told the time and the keys, and reads from `Footage`. Times within a
recording are milliseconds since the session's start; `now` is seconds of any clock that runs evenly.

==========  ==================================================  ==============================================
it is       it shows                                            until
==========  ==================================================  ==============================================
playing     each event when it is due                           nothing is left: following, or over
following   what has just arrived, at once                      the recording ends, or a key
seeking     everything up to the target, at once                it is there, or nothing is left
paused      a line that says so                                 a key
over        nothing
==========  ==================================================  ==============================================

Whatever waits for the network says so, on the line of a pause. What that line covers is drawn again when it goes.
"""

from __future__ import annotations

import math
from enum import Enum

from protocol.recording.cast import CastHeader, Event
from protocol.recording.plain import PlainText
from tsh import caption
from tsh.canvas import Canvas
from tsh.caption import LastLine, Size
from tsh.footage import Cursor, Footage, end_of, redraw_from
from tsh.keyboard import Key
from tsh.pace import Pace
from tsh.screen import Screen
from tsh.step import Step

LEAP = 5_000
# What is shown in one step, in characters: between two steps keys are heard.
STEP_MAX = 64 * 1024
# Who waits longer for the network is told, in seconds.
PATIENCE = 0.5


class Mode(Enum):
    """What the player does."""

    PLAYING = "playing"
    FOLLOWING = "following"
    SEEKING = "seeking"
    PAUSED = "paused"
    OVER = "over"


class Player:
    """Plays one recording."""

    def __init__(
        self, reel: Footage, screen: Screen, *, now: float, speed: float = 1.0, skip_idle: bool = False
    ) -> None:
        """Begin at the recording's start. `skip_idle` shortens the time in which nothing happens."""
        self._footage, self._screen = reel, screen
        self._cursor, self._last_line = Cursor(reel), LastLine()
        self._canvas = Canvas(screen, self._last_line)
        self._pace = Pace(now, speed, skip_idle=skip_idle)
        self.mode = Mode.PLAYING
        self.target = 0.0  # where a seek goes; endless for all that there is
        self._after = Mode.PLAYING  # what follows the seek
        self._dry_since: float | None = None  # when the wait for the network began
        self._says_place = False  # a key asked for the seek: where it has gone is told
        self._is_quiet = False  # it was told that nothing happens
        self._planned = -1  # blocks there were when the way to the target was last thought about
        self._line_ends, self._node = False, ""
        self._plain = PlainText(in_place=True)
        self._is_drawn = False  # something was shown

    # --- what the outside tells ---

    @property
    def block(self) -> int:
        """The block that is played."""
        return self._cursor.block

    def introduce(self, header: CastHeader) -> None:
        """Say what the recording says of its session, before anything of it is shown."""
        self._last_line.begin((header.width, header.height))
        self._line_ends = header.said.get("interactive") is False  # they are a line feed alone
        self._node = str(header.said.get("node", ""))

    def resize(self, terminal: Size | None, now: float) -> None:
        """Say how large the viewer's terminal is. Where that changes, what is on it has moved: it is drawn again."""
        if self._last_line.resize(terminal) and self._is_drawn:
            self._redraw(now)

    def follow(self) -> None:
        """Show everything that has arrived at once, and then what arrives."""
        self._seek(math.inf, Mode.PLAYING)

    def press(self, key: Key, now: float) -> None:
        """Do what a key asks for."""
        if self.mode is Mode.OVER:
            return
        self._stop_clock(now)
        paused = Mode.PAUSED in (self.mode, self._after)
        if key is Key.QUIT:
            self._quit()
        elif key is Key.PAUSE:
            self._pause_or_go_on(paused=paused)
        elif key in (Key.FASTER, Key.SLOWER):
            self._pace.change(1 if key is Key.FASTER else -1)
            self._tell_place(now)
        else:
            self._says_place = True
            self._seek(self._target_of(key), Mode.PAUSED if paused else Mode.PLAYING)

    def step(self, now: float) -> Step:
        """Return what is to be shown now, and how long to wait."""
        match self.mode:
            case Mode.OVER:
                return Step(self._canvas.finish() + self._canvas.erase(), None, over=True)
            case Mode.PAUSED:
                status = caption.describe_pause(self._place(), is_live=self._footage.progress == "edge")
                return Step(self._canvas.finish(), None, status=status)
            case Mode.SEEKING:
                return self._step_seeking(now)
            case _:
                return self._step_playing(now)

    def _quit(self) -> None:
        if self.mode is Mode.PAUSED:
            self._last_line.cover()
        self.mode = Mode.OVER

    def _pause_or_go_on(self, *, paused: bool) -> None:
        if not paused and self.mode is Mode.SEEKING:
            self._after = Mode.PAUSED
        elif not paused:
            self.mode = Mode.PAUSED
        else:  # the line that said so covered something
            self._seek(self.target if self.mode is Mode.SEEKING else self._here(), Mode.PLAYING, anew=True)

    def _target_of(self, key: Key) -> float:
        goals = {Key.START: 0.0, Key.END: math.inf, Key.BACK: self._here() - LEAP, Key.FORWARD: self._here() + LEAP}
        return max(0.0, goals[key])

    def _tell_place(self, now: float) -> None:
        """Say where it is and how fast it goes, where no line of a pause does."""
        if self.mode in (Mode.PLAYING, Mode.FOLLOWING):
            self._last_line.tell(caption.describe_place(self._place()), now, caption.PLACE_TIME)

    def _place(self) -> caption.Place:
        return caption.Place(self._here(), self._length(), self._pace.speed)

    def _here(self) -> float:
        if self.mode is Mode.SEEKING and math.isfinite(self.target):
            return self.target
        return min(self._pace.moment, self._length())

    def _length(self) -> float:
        return max(self._footage.length, self._cursor.last)

    def _seek(self, target: float, after: Mode, *, anew: bool = False) -> None:
        anew = anew or target < max(self._pace.moment, self._cursor.last) or self.mode is Mode.PAUSED
        self.mode, self.target, self._after, self._planned = Mode.SEEKING, target, after, -1
        self._dry_since = None
        if anew:
            self._rewind(redraw_from(self._footage, target))

    def _stop_clock(self, now: float) -> None:
        if self.mode is Mode.PLAYING:
            self._pace.pass_on(now)

    # --- events ---

    def _pass(self, event: Event) -> str:
        self._cursor.go_past(event)
        self._dry_since = None
        if event.code == "r":
            self._last_line.read(event.data)
            return self._screen.resize()
        text = self._plain.show(event)
        self._is_drawn = self._is_drawn or bool(text)
        return self._screen.show(self._lines(text))

    def _lines(self, text: str) -> str:
        return text.replace("\r\n", "\n").replace("\n", "\r\n") if self._line_ends else text

    def _step_playing(self, now: float) -> Step:
        if self._last_line.has_to_go(now, is_more=self._cursor.next() is not None):
            return self._uncover(now)
        shown: list[str] = []
        room = STEP_MAX
        while event := self._cursor.next():
            wait = self._wait_for(event, now)
            if wait > 0 or room <= 0:
                return self._with_note(Step("".join(shown), wait), now)
            shown.append(self._pass(event))
            self._tell_party(event, now)
            room -= len(event.data)
        return self._with_note(self._run_dry("".join(shown), now), now)

    def _tell_party(self, event: Event, now: float) -> None:
        """Say who has joined or left: a full-screen program soon draws over what the node wrote of it."""
        if event.time > 0:  # that is when who began it came
            said = caption.describe_party(event)
            if said:
                self._last_line.tell(said, now)

    def _wait_for(self, event: Event, now: float) -> float:
        if self.mode is not Mode.FOLLOWING:
            return self._pace.wait_for(event.time, self._cursor.last, now)
        self._pace.late = self._is_quiet = False
        self._pace.set(float(max(event.time, self._cursor.last)), now)
        return 0.0

    def _run_dry(self, shown: str, now: float) -> Step:
        progress = self._footage.progress
        if progress == "over":
            if self._last_line.covers and self._is_drawn:
                return self._uncover(now)
            self.mode = Mode.OVER
            return Step(shown + self._lines(self._plain.end()), 0.0)
        if progress == "edge":
            self._stop_clock(now)
            self.mode = Mode.FOLLOWING
            return Step(shown, self._grow_quiet(now))
        self._pace.late = self.mode is Mode.PLAYING
        return self._await(shown, now)

    def _grow_quiet(self, now: float) -> float | None:
        """Say once that nothing happens, if it is so for long; return how many seconds are left until then."""
        self._dry_since = now if self._dry_since is None else self._dry_since
        left = self._dry_since + caption.QUIET - now
        if self._is_quiet or not self._last_line.is_seen:
            return None
        if left > 0:
            return left
        self._is_quiet = True
        self._last_line.tell(caption.describe_quiet(self._node), now)
        return None

    def _await(self, shown: str, now: float) -> Step:
        """Wait for the network."""
        self._dry_since = now if self._dry_since is None else self._dry_since
        patience = self._dry_since + PATIENCE - now
        if shown or patience > 0:
            return Step(shown, max(patience, 0.0))
        self._last_line.cover()
        return Step("", None, status=caption.describe_fetch(*self._footage.arrived))

    # --- seeking ---

    def _step_seeking(self, now: float) -> Step:
        if self.target > end_of(self._footage) and self._footage.progress == "more":
            return self._await("", now)  # it is fetched first, and then only the last of it is shown
        if self._planned != self._footage.count:
            self._plan()
        shown, room = [self._begin_drawing()], STEP_MAX
        while (event := self._cursor.next()) and event.time <= self.target:
            if room <= 0:
                return Step("".join(shown), 0.0)
            shown.append(self._pass(event))
            room -= len(event.data)
        shown.append(self._arrive(now, dry=event is None))
        return Step("".join(shown), 0.0)

    def _plan(self) -> None:
        """Begin further on, where that shows the same; or anew, where something was covered."""
        self._planned = self._footage.count
        start = redraw_from(self._footage, self.target)
        if start > self._cursor.block or (self._last_line.covers and self._is_drawn):
            self._rewind(start)

    def _arrive(self, now: float, *, dry: bool) -> str:
        self._pace.set(float(self._cursor.last) if dry else self.target, now)
        self.mode, self._after = self._after, Mode.PLAYING
        if self._says_place and not dry:
            self._tell_place(now)
        self._says_place = False
        return self._canvas.finish()

    def _rewind(self, block: int) -> None:
        self._cursor.go_to(block)
        self._pace.moment = float(self._cursor.last)
        self._planned = self._footage.count
        self._last_line.record(self._footage.scene(block).size)
        self._canvas.clear()
        self._plain = PlainText(in_place=True)

    def _begin_drawing(self) -> str:
        return self._canvas.begin(alternate=self._footage.scene(self._cursor.block).alternate)

    # --- what covers something, and the terminals' sizes ---

    def _redraw(self, now: float) -> None:
        """Draw what is shown again."""
        self._stop_clock(now)
        match self.mode:
            case Mode.SEEKING:
                self._seek(self.target, self._after, anew=True)
            case Mode.FOLLOWING:
                self._seek(math.inf, Mode.PLAYING, anew=True)
            case Mode.PLAYING | Mode.PAUSED:
                self._seek(self._cursor.last if self._pace.late else self._here(), self.mode, anew=True)

    def _uncover(self, now: float) -> Step:
        if not self._is_drawn:
            return Step(self._begin_drawing(), 0.0)
        self._redraw(now)
        return Step("", 0.0)

    def _with_note(self, step: Step, now: float) -> Step:
        note, left = self._last_line.note(now) if self.mode is not Mode.OVER else ("", 0.0)
        return step.with_note(note, left)
