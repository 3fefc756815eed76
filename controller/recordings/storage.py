"""Where recordings are kept, as a Protocol: what a directory does today, an object store could do as well.

A recording is arriving, and then it is kept: growing first, and never changed after. Beside it lies what is known of
it, `Facts`, which the storage does not look into; of each that is kept, its day's index has a line. Every method may
raise `OSError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import Protocol

from protocol.events import Json
from protocol.names import SessionId

Facts = Mapping[str, Json]


class DamagedFactsError(OSError):
    """What lies where facts should be is none."""


class Storage(Protocol):
    """Recordings by session. What is written is on the disk, or as safe as there, when the method returns."""

    def turn(self, session: SessionId) -> AbstractContextManager[None]:
        """Hold the session's recording alone, among all threads and processes: for everything that changes it."""
        ...

    # --- arriving ---

    def begin(self, session: SessionId, facts: Facts) -> None:
        """Make room for a recording that will arrive: empty, whatever a crash left of an earlier one."""
        ...

    def arrival(self, session: SessionId) -> Facts | None:
        """Return the facts of a recording that is arriving; None where it is not."""
        ...

    def arrivals(self) -> Sequence[SessionId]:
        """Return all that are arriving."""
        ...

    def stamp(self, session: SessionId) -> object:
        """Return something that stays equal as long as an arrival's facts stay as they are; None where there are none.

        It costs less than to read them.
        """
        ...

    def arrived(self, session: SessionId) -> int:
        """Return how many bytes of it are there: more than the facts say, where a crash came before they were noted."""
        ...

    def append(self, session: SessionId, offset: int, data: bytes) -> None:
        """Put `data` at `offset`, which lies not beyond the end; what was there from `offset` on is gone."""
        ...

    def note(self, session: SessionId, facts: Facts) -> None:
        """Replace the facts of a recording that is arriving, all of them or none."""
        ...

    def finish(self, session: SessionId, day: date, facts: Facts, line: Facts) -> None:
        """Keep what has arrived, under the day on which the session began: all at once, and again after a crash.

        `line` is what the day's index has of it; it names the session.
        """
        ...

    def forget_arrival(self, session: SessionId) -> None:
        """Remove what is arriving of a recording; one that is kept stays."""
        ...

    def put_aside(self, session: SessionId) -> None:
        """Take a recording whose facts are damaged out of what is arriving, without removing it."""
        ...

    # --- kept ---

    def kept(self, session: SessionId, day: date | None = None) -> Facts | None:
        """Return the facts of a recording that is kept, under `day` where that is known; None where it is not."""
        ...

    def days(self) -> Sequence[date]:
        """Return the days that recordings are kept under, the newest first."""
        ...

    def index(self, day: date) -> Mapping[SessionId, Facts | None]:
        """Return what is kept under `day`, each with its line; None where the index has none, or none that is whole."""
        ...

    def put_in_index(self, day: date, lines: Sequence[Facts]) -> None:
        """Add lines to the index of a day, which may have lacked them."""
        ...

    # --- either ---

    def read(self, session: SessionId, offset: int, size: int) -> bytes:
        """Return at most `size` bytes from `offset`, of a recording that is arriving or kept.

        Raises:
            FileNotFoundError: it is neither.
        """
        ...

    def remove(self, session: SessionId) -> None:
        """Remove a recording, arriving or kept, where there is one."""
        ...

    def sweep(self) -> int:
        """Remove what crashes left of recordings that are neither arriving nor kept; return of how many."""
        ...

    def free(self) -> int:
        """Return how many bytes there is still room for."""
        ...
