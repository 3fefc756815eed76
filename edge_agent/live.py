"""Tells the controller of the sessions that are going on here: over MQTT, whole, and only when something changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edge_agent.meeting import Meeting
from edge_agent.register import Register
from protocol import limits
from protocol.instants import to_milliseconds
from protocol.live_sessions import LiveParty, LiveSession, LiveSessions

_SIDE_MAX = 10_000
_GATHER = limits.LIVE_SESSIONS_GATHER.total_seconds()


class Live:
    """Gathers what changes for a moment, and then has it told.

    Attributes:
        tell: called when there is something to tell.
    """

    def __init__(self, register: Register) -> None:
        self.tell: Callable[[], None] = lambda: None
        self._register = register
        self._is_due = False
        register.on_change(self._changed)

    def _changed(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(_GATHER, self._tell)

    def _tell(self) -> None:
        self._is_due = False
        self.tell()

    def payload(self) -> bytes:
        """Return what there is to tell now."""
        return LiveSessions(tuple(describe(meeting) for meeting in self._register)).encode()


def describe(meeting: Meeting) -> LiveSession:
    """Return one session as it is told of."""
    plan = meeting.plan
    parties = tuple(
        LiveParty(seat.peer.identity.user, seat.mode, to_milliseconds(seat.since), seat.peer.remote)
        for seat in meeting.seats
    )
    return LiveSession(
        session=plan.session,
        login=plan.login,
        command=_text(plan.command[: limits.RECORDING_COMMAND_LISTED]),
        started=to_milliseconds(plan.began),
        size=_size(meeting.size),
        recorded=meeting.is_recorded,
        parties=parties,
    )


def _size(size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return a size that can be told: clients may say nothing by nothing, or more than there is."""
    return (_side(size[0]), _side(size[1])) if size else None


def _side(side: int) -> int:
    return min(max(side, 1), _SIDE_MAX)


def _text(command: str) -> str:
    """Return a command line as text: its bytes need not be any."""
    return command.encode(errors="surrogateescape").decode(errors="replace")
