"""How many requests wait at the same time for a device to end a session: each of them holds a thread of the door's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import SessionId, UserName

_BUSY = "too many sessions are being ended just now: try again in a moment"


class SessionEnds:
    """Those of one process. May be asked by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._going_on: dict[SessionId, UserName] = {}

    @contextmanager
    def one(self, session: SessionId, user: UserName) -> Iterator[Granted[None] | Refused]:
        """Give one its turn at ending a session, or refuse it at once (WS8)."""
        answer = self._begin(session, user)
        try:
            yield answer
        finally:
            if isinstance(answer, Granted):
                with self._lock:
                    del self._going_on[session]

    def _begin(self, session: SessionId, user: UserName) -> Granted[None] | Refused:
        with self._lock:
            if session in self._going_on:
                return Refused("it is being ended already", "WS8")
            of_user = sum(each == user for each in self._going_on.values())
            if of_user >= limits.SESSION_ENDS_PER_USER or len(self._going_on) >= limits.SESSION_ENDS_PER_WORKER:
                return Refused(_BUSY, "WS8")
            self._going_on[session] = user
        return Granted(None)
