"""One connection in the hall, with the sign-in that it stands on, and what ends it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from protocol.names import UserName

Kind = Literal["stream", "terminal"]

# Close codes of a WebSocket (RFC 6455 section 7.4.1; those from 4000 on are an application's own).
NORMAL = 1000
GOING_AWAY = 1001
BAD_MESSAGE = 1008
FAILED = 1011
RESTARTING = 1012
SIGNED_OUT = 4001
LOCKED = 4003


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the hall ends a connection: the code of a WebSocket's close, and words for the person."""

    code: int
    text: str


@dataclass(eq=False, slots=True)
class Guest:
    """One connection.

    Attributes:
        token: of the sign-in that it stands on; it is asked again and again whether that is in force.
        is_used: whether the person has done something with it since it was last asked.
        ending: done when the hall ends the connection.
    """

    kind: Kind
    user: UserName
    token: str
    is_used: bool = False
    ending: asyncio.Future[Ending] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def end(self, ending: Ending) -> None:
        """End the connection; the first reason counts."""
        if not self.ending.done():
            self.ending.set_result(ending)
