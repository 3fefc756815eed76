"""What may be recorded, what follows where something may not, and what of the spool gives way.

The checks: D1 it is known how the cluster records; D2 the spool stays within its quota; D3 the disk keeps free what
it must; D4 the recording stays within what one may be; D5 the disk takes it; D6 it can be locked for the cluster;
D7 nothing else went wrong; D8 the disk answers in time; D9 it has kept what it took. The driver makes D5 to D9 of the
errors it meets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import SessionId
from protocol.recordings import Mode
from protocol.sizes import format_size

# A session that begins to be recorded should not have to end at its first screenful.
BEGIN_NEED = 256 * 1024
# What may pass while the session goes on, so that the rest of it can be recorded.
_PASSING = frozenset({"D2", "D3", "D5", "D8"})
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Room:
    """How things stand in the spool. All in bytes.

    Attributes:
        used: what its files hold.
        quota: what they may hold.
        free: what is free on the disk.
        min_free: what must stay free there.
    """

    used: int
    quota: int
    free: int
    min_free: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A recording that the controller refused and the device has kept.

    Attributes:
        size: bytes that it takes up on the disk.
        modified: when it was written last, seconds since 1970.
    """

    session: SessionId
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Record:
    """The session is to be recorded."""


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """The session goes on without being recorded.

    Attributes:
        gap: why, for the audit log; empty where nobody asked for a recording.
    """

    gap: str


def judge_room(room: Room, need: int, size: int = 0) -> Granted[int] | Refused:
    """Judge whether `need` more bytes may be written to a recording that has `size`.

    Grants the number of bytes that could be written.
    """
    if size + need > limits.RECORDING_MAX:
        return Refused(f"the recording has grown to {size // _MIB} MiB, the most that one may have", "D4")
    if room.used + need > room.quota:
        return Refused(
            f"{format_size(room.used)} of recordings wait to be uploaded, and the device keeps no more than "
            f"{format_size(room.quota)} (recording.spool_max)",
            "D2",
        )
    if room.free - need < room.min_free:
        return Refused(f"no space left on the device{_withheld(room)}", "D3")
    return Granted(min(room.quota - room.used, room.free - room.min_free))


def _withheld(room: Room) -> str:
    if not room.min_free:
        return ""
    return f": {format_size(room.free)} are free, and {format_size(room.min_free)} stay so (recording.min_free)"


def decide_begin(mode: Mode | None) -> Record | Unrecorded | Refused:
    """Decide whether a session that is about to begin is to be recorded.

    `mode` is how the cluster records; None where that is not known.
    """
    if mode == "off":
        return Unrecorded("")
    if mode is None:
        return Refused("the controller has not said yet how sessions are recorded here; try again in a moment", "D1")
    return Record()


def decide_failure(mode: Mode, problem: Refused) -> Unrecorded | Refused:
    """Decide what becomes of a session that cannot be recorded, or not any further."""
    return problem if mode == "strict" else Unrecorded(problem.reason)


def may_pass(mode: Mode, problem: Refused) -> bool:
    """Tell whether a session that goes on without being recorded may be again, once `problem` is over."""
    return isinstance(decide_failure(mode, problem), Unrecorded) and problem.check in _PASSING


def stalled() -> Refused:
    """Return what is wrong with a disk that takes too long."""
    return Refused("the device's disk does not answer", "D8")


def explain(problem: Refused) -> str:
    """Return what a person is told whose session ends for want of a recording, or does not begin."""
    if problem.check == "D1":
        return f"this session cannot begin: {problem.reason}"
    return f"this session cannot be recorded ({problem.reason}) and this cluster requires it; the session ends"


def give_way(refused: Iterable[Kept], room: Room, need: int) -> list[Kept]:
    """Return which recordings that the controller will never take make room for `need` bytes, the oldest first.

    None do where all of them would not be enough. What still can be uploaded never gives way.
    """
    short = max(room.used + need - room.quota, room.min_free + need - room.free)
    chosen: list[Kept] = []
    for kept in sorted(refused, key=lambda one: one.modified):
        if short <= 0:
            break
        chosen.append(kept)
        short -= kept.size
    return chosen if short <= 0 else []
