"""What stands on the terminal's last line while a recording is played."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.recording.cast import CastError, Event, parse_size
from protocol.sizes import format_size
from protocol.table import escape_text

Size = tuple[int, int]
# A line about the terminals' sizes, or about who joined or left, stands so long, in seconds.
NOTE_TIME = 3.0
# The same of where a key has led, or how fast it goes now.
PLACE_TIME = 1.5
# Who follows a session in which nothing happens for so long is told.
QUIET = 10.0


class LastLine:
    """Whether the last line covers what a recording showed there, and what it says of the terminals' sizes.

    Attributes:
        covers: whether something stands there that is not the recording's.
    """

    def __init__(self) -> None:
        self.covers = False
        self._recorded: Size | None = None
        self._first: Size | None = None
        self._terminal: Size | None = None
        self._told: tuple[Size | None, Size | None] = (None, None)
        self._note, self._until = "", 0.0

    def begin(self, recorded: Size) -> None:
        """Take the size of the session's terminal at its beginning, of which the viewer is told otherwise."""
        self._first = self._recorded = recorded
        self._told = (recorded, self._terminal)

    def record(self, recorded: Size | None) -> None:
        """Take the size of the session's terminal from here on; None for that of its beginning."""
        self._recorded = recorded or self._first

    def read(self, recorded: str) -> None:
        """Take that size as a recording has it. What is none, as in a file of another program, fits everywhere."""
        try:
            self._recorded = parse_size(recorded)
        except CastError:
            self._recorded = None

    def resize(self, terminal: Size | None) -> bool:
        """Take the size of the viewer's terminal, None where there is none; return whether it has changed."""
        before, self._terminal = self._terminal, terminal
        return before != terminal

    def cover(self) -> None:
        """Something is put there, if there is a terminal."""
        self.covers = self.is_seen

    def uncover(self) -> bool:
        """Forget what was put there, for it goes away; return whether there was something."""
        covered, self.covers, self._note = self.covers, False, ""
        return covered

    def has_to_go(self, now: float, *, is_more: bool) -> bool:
        """Tell whether what stands there goes now. What tells of a wait goes as soon as there is more to show."""
        return self.covers and (now >= self._until if self._note else is_more)

    @property
    def is_seen(self) -> bool:
        """Whether there is a terminal to show it."""
        return self._terminal is not None

    def tell(self, said: str, now: float, time: float = NOTE_TIME) -> None:
        """Put something there for `time` seconds, if there is a terminal."""
        if self.is_seen:
            self._note, self._until, self.covers = said, now + time, True

    def note(self, now: float) -> tuple[str, float]:
        """Return what to say of the sizes, nothing mostly, and for how many seconds from `now`."""
        sizes = (self._recorded, self._terminal)
        if sizes != self._told and (said := describe_misfit(*sizes)):
            self.tell(said, now)
        self._told = sizes
        return self._note, max(self._until - now, 0.0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody is in a recording.

    Attributes:
        here: milliseconds since its start.
        length: how many there are, as far as anybody knows.
        speed: how fast they pass.
    """

    here: float
    length: float
    speed: float

    def __str__(self) -> str:
        return f"{_clock(self.here)} / {_clock(self.length)}  {self.speed:g}x"


def describe_pause(place: Place, *, is_live: bool = False) -> str:
    """Return the line for somebody who has paused; `is_live` where the session may go on."""
    state = "paused  live" if is_live else "paused"
    return f" {state}  {place}  space: go on  left, right: 5 s  up, down: speed  q: quit "


def describe_place(place: Place) -> str:
    """Return the line for somebody who has pressed a key while it plays."""
    return f" {place} "


def describe_quiet(node: str) -> str:
    """Return the line for somebody who follows a session of `node` in which nothing happens."""
    return f" waiting for more from {escape_text(node) or 'the device'}  q: quit "


def describe_fetch(held: int, total: int) -> str:
    """Return the line for somebody who waits for the network: bytes that have come, and all there are."""
    return f" fetching  {format_size(held)} of {format_size(max(held, total))}  q: quit "


def describe_misfit(recorded: Size | None, terminal: Size | None) -> str:
    """Return the line for somebody whose terminal is smaller than the session's; nothing where it is not, or may be.

    Args:
        recorded: columns and rows of the session's terminal; None where they are not known.
        terminal: the same of the viewer's.
    """
    if recorded is None or terminal is None or (recorded[0] <= terminal[0] and recorded[1] <= terminal[1]):
        return ""
    return (
        f" the session's terminal is {recorded[0]} by {recorded[1]} now, and this one {terminal[0]} by {terminal[1]}: "
        "what is shown may look broken until you enlarge it "
    )


def describe_party(event: Event) -> str:
    """Return the line for somebody who sees another one join a session, or leave it; nothing for other events."""
    did = {"j": "joined", "l": "left"}.get(event.code)
    return f" {escape_text(event.data)} {did} " if did else ""


def describe_exit(said: str) -> str:
    """Return how a program ended, of which an event says so: its exit status, or ``SIG`` and a name."""
    return f"exit status {said}" if said.isdecimal() else escape_text(said)


def _clock(milliseconds: float) -> str:
    minutes, seconds = divmod(int(milliseconds) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
