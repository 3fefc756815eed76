"""Which recording is sent next, and what is to be done with it.

The driver (`edge_agent.upload`) lists what waits and carries out one step after the other; `edge_agent.policy.answer`
turns each answer into the progress that is judged here. `now` counts seconds on any clock that only goes forward;
`local` is the device's own wall clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from edge_agent.policy.upload import PIECE_MIN, Order, RecordingSettings
from protocol.names import SessionId

# A device's clock may be set at any time: a closed window is looked at again by then.
WINDOW_LOOK = 60.0


# --- what waits, and how far it is ------------------------------------------------------------------------------


class Waiting(Protocol):
    """A recording in the spool, see `edge_agent.spool`."""

    @property
    def session(self) -> SessionId:
        """The session's id."""

    @property
    def size(self) -> int:
        """Bytes that are safely on the disk and may be sent."""

    @property
    def modified(self) -> float:
        """When it last grew: what "newest" is measured by."""

    @property
    def is_live(self) -> bool:
        """Whether more is to come."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the controller says of one upload.

    Attributes:
        offset: bytes it holds.
        state: a `protocol.recordings.State`.
        digest: the chain's last value in hex, once it has the whole.
    """

    offset: int
    state: str = "arriving"
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one upload is, as far as this agent's life knows. The controller and the file know better.

    Attributes:
        has_begun: whether the controller has been told of it in this agent's life.
        is_missing: whether the controller says that it knows of no such upload.
        standing: the controller's last word; None where it must be asked.
        mark: how far our own file has been read for its hash, in the worker's words.
        digest: that hash, once the file has been read; see `Standing.digest`.
        refusal: why it is not sent any more; empty while it may be.
        failures: how often in a row it has failed by itself.
        not_before: `now` before which it is left alone.
        turn: number of its last step: the smallest comes next among the live.
    """

    has_begun: bool = False
    is_missing: bool = False
    standing: Standing | None = None
    mark: str = ""
    digest: str = ""
    refusal: str = ""
    failures: int = 0
    not_before: float = 0.0
    turn: int = 0


FRESH = Progress()


# --- which is next ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Upload:
    """See to this session's recording now."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done for so many seconds, unless something changes."""

    seconds: float
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing is to be done until something changes."""


def decide_next(
    waiting: Iterable[Waiting],
    progress: Mapping[SessionId, Progress],
    settings: RecordingSettings,
    *,
    now: float,
    local: datetime,
) -> Upload | Wait | Nothing:
    """Return which recording comes next.

    Live ones come first, by turns: somebody may be watching. Then what has ended, in the order that is set. One that
    has failed waits by itself and holds up no other.
    """
    found = [(one, progress.get(one.session, FRESH)) for one in waiting]
    due = [(one, known) for one, known in found if decide_step(one, known, PIECE_MIN) is not None]
    if not due:
        return Nothing()
    window = settings.upload_window
    if window and not window.is_open(local):
        return Wait(min(window.until_open(local), WINDOW_LOOK), is_closed=True)
    free = [(one, known) for one, known in due if known.not_before <= now]
    if not free:
        return Wait(min(known.not_before for _, known in due) - now)
    return Upload(min(free, key=lambda pair: _turn(pair[0], pair[1], settings.upload_order))[0].session)


def _turn(one: Waiting, known: Progress, order: Order) -> tuple[bool, float, str]:
    return (False, known.turn, one.session) if one.is_live else (True, rank(one, order), one.session)


def rank(one: Waiting, order: Order) -> float:
    """Return where a recording that has ended stands among others: the smallest goes first."""
    return one.modified if order == "oldest" else -one.modified


# --- what is to be done with it ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    """Tell the controller that there is such a recording."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the controller how much it has."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send bytes from `offset`; `length` is the whole's, where they are the last of it."""

    offset: int
    size: int
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Read on in our own file from `mark`, for the hash of the whole."""

    mark: str


@dataclass(frozen=True, slots=True)
class Remove:
    """The controller has the whole: our file may go."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Put our file aside, where it stays."""

    reason: str


Step = Begin | Look | Send | Check | Remove | Refuse


def decide_step(one: Waiting, known: Progress, piece: int) -> Step | None:
    """Return what is to be done next with a recording; None while there is nothing.

    Args:
        one: the recording.
        known: how far it is.
        piece: how many bytes to send at most.
    """
    if known.refusal:
        return None if one.is_live else Refuse(known.refusal)
    standing = known.standing
    if standing is None:
        return _first_step(one, known)
    if standing.offset > one.size:
        return Look() if one.is_live else Refuse(excess(standing.offset, one.size))
    if standing.state != "arriving":
        return None if one.is_live else _last_step(standing, known, one.size)
    size = min(piece, one.size - standing.offset)
    if one.is_live:
        return Send(standing.offset, size) if size else None
    reaches_end = standing.offset + size == one.size
    return Send(standing.offset, size, one.size if reaches_end else None)


def excess(held: int, size: int) -> str:
    """Return what is wrong where the controller holds more of a recording than the device, which lost some of it."""
    return f"the controller holds {held} bytes of it, but there are only {size} here"


def _first_step(one: Waiting, known: Progress) -> Step | None:
    """Return how an upload starts: what began in this agent's life is new to the controller as well."""
    if known.is_missing or (one.is_live and not known.has_begun):
        return Begin() if one.size else None
    return Look()


def _last_step(standing: Standing, known: Progress, size: int) -> Step:
    """Return what is to be done with a recording that the controller calls whole."""
    if standing.offset != size:
        return Refuse(f"the controller calls it whole with {standing.offset} bytes, but there are {size}")
    if not known.digest:
        return Check(known.mark)
    return Remove() if known.digest == standing.digest else Refuse("the controller holds other bytes: its hash differs")
