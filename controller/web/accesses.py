"""Which readings of recordings, or attempts at it, the audit log was told of: each once, again where it goes on long.

A recording that needs no key is read in any number of requests, and while it arrives for hours. Where one reading ends
and another begins cannot be told from the requests, so what counts is who reads what, and the time.
"""

from __future__ import annotations

import threading
from datetime import datetime

from protocol import limits
from protocol.names import SessionId, UserName

_REMEMBERED = 10_000


class Accesses:
    """Who was told of reading what, and when. May be asked by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[tuple[UserName, SessionId], datetime] = {}

    def is_known(self, user: UserName, session: SessionId, now: datetime) -> bool:
        """Tell whether the audit log was told of this reading not long ago."""
        with self._lock:
            told = self._told.get((user, session))
        return told is not None and told <= now < told + limits.RECORDING_ACCESS_AGAIN

    def note(self, user: UserName, session: SessionId, now: datetime) -> None:
        """Remember that the audit log has been told; what is forgotten for it is told again."""
        with self._lock:
            if len(self._told) >= _REMEMBERED:
                self._told.clear()
            self._told[user, session] = now
