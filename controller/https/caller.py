"""One connection of a door, and what it is waiting for."""

from __future__ import annotations

import ssl
import time
from enum import Enum
from typing import Any

from controller.https.answer import Answer
from controller.https.intake import Intake


class Phase(Enum):
    """What a connection is waiting for."""

    HANDSHAKE = "the TLS handshake"
    REQUEST = "the rest of a request"
    SERVING = "a thread, or what it makes of the answer"
    WRITING = "the peer to read its answer"
    IDLE = "the next request"
    PARTING = "the peer's own end, so that it can read the answer before the connection is gone"
    KEPT = "nothing here: the application has it"
    GONE = "nothing more"


READING = frozenset({Phase.REQUEST, Phase.IDLE})


class Caller:
    """One connection."""

    def __init__(self, sock: ssl.SSLSocket, client: Any, server: Any, body_max: int) -> None:  # noqa: ANN401 - a socket address
        self.sock = sock
        self.client = client
        self.server = server
        self.address = str(client[0]) if client else ""
        self.phase = Phase.HANDSHAKE
        self.since = self.deadline = time.monotonic()
        self.earned = self.deadline  # the deadline that holds again when a thread is done
        self.intake = Intake(body_max)
        self.held = 0  # bytes of the request, as the worker counts them
        self.parser: Any = None
        self.early = b""  # what the peer sent behind the request that is being served
        self.answer: Answer | None = None

    @property
    def unread(self) -> int:
        """How many bytes of its answer are made and not written."""
        return self.answer.size if self.answer else 0

    def bound(self, end: float) -> None:
        """Begin a thread's turn, until `end` at most: what the peer has earned by reading is none of the thread's."""
        self.earned, self.deadline = self.deadline, min(self.deadline, end)

    def enter(self, phase: Phase, seconds: float) -> None:
        """Begin `phase`, which may last so many seconds."""
        self.phase = phase
        self.since = time.monotonic()
        self.deadline = self.since + seconds
