"""The sessions that are going on here, by their ids, whichever way people came."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_agent.meeting import Meeting
from edge_agent.policy.company import Companion
from protocol.names import SessionId


class Register:
    """Knows them, and says when something of them changes. One for a node."""

    def __init__(self) -> None:
        self._meetings: dict[SessionId, Meeting] = {}
        self._listeners: list[Callable[[], None]] = []

    def __iter__(self) -> Iterator[Meeting]:
        """Return all of them, the oldest first."""
        return iter(tuple(self._meetings.values()))

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, on the loop, after every change: of sessions, who takes part, and sizes."""
        self._listeners.append(listener)

    def find(self, session: SessionId) -> Meeting | None:
        """Return one of them; None where it is not there."""
        return self._meetings.get(session)

    def note(self, meeting: Meeting) -> None:
        """Hear that something of a session is not as it was, be it that it is new or over."""
        if meeting.is_over:
            self._meetings.pop(meeting.plan.session, None)
        else:
            self._meetings[meeting.plan.session] = meeting
        for listener in self._listeners:
            listener()

    def people(self) -> dict[str, str]:
        """Return the ids of the sessions, and who is at each."""
        found: dict[str, str] = {}
        for meeting in self:
            users = dict.fromkeys(seat.user for seat in meeting.seats)
            found[meeting.plan.session] = f"{', '.join(users)} as {meeting.plan.login}"
        return found

    def others(self, user: str) -> list[Companion]:
        """Return who else than `user` is on this node."""
        return [
            Companion(seat.user, meeting.plan.login, seat.since)
            for meeting in self
            for seat in meeting.seats
            if seat.user != user
        ]
