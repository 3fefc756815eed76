"""Connections that outlive their request: an application keeps one by the answer that it gives.

The request's thread goes back to its pool, and the worker leaves the connection alone: no deadline of its own holds any
more. It goes on counting it, for the address and in all, until it is told that the connection is gone.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol


class Keeper(Protocol):
    """Who takes connections over. Its methods are called in the worker's own thread, and must not block."""

    def stop(self, within: float) -> None:
        """Begin to end all that it keeps, for the worker stops; it has so many seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """One connection, handed over.

    Attributes:
        sock: non-blocking, its handshake done; whoever has it closes nothing itself but calls `gone`.
        address: the peer's.
        early: what the peer sent behind its request.
        gone: to be called once, by any thread, when the socket is no longer read or written.
    """

    sock: ssl.SSLSocket
    address: str
    early: bytes
    gone: Callable[[], None]


class HandOver:
    """An application's answer (the iterable of PEP 3333): there is none here, `take` answers on the connection."""

    def __init__(self, keeper: Keeper, take: Callable[[Kept], None]) -> None:
        self.keeper = keeper
        self.take = take

    def __iter__(self) -> Iterator[bytes]:
        """Yield nothing: a server that does not know what this is answers with an empty body."""
        return iter(())


class HandedOver(Exception):  # noqa: N818 - no error: how an answer that is none leaves gunicorn's code
    """Raised through gunicorn's handling of a request whose connection is kept."""

    def __init__(self, hand_over: HandOver) -> None:
        super().__init__("the connection is kept")
        self.hand_over = hand_over


def heeding(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Return `app`, raising `HandedOver` where it answers with a `HandOver`."""

    def call(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        answer = app(environ, start_response)
        if isinstance(answer, HandOver):
            raise HandedOver(answer)
        return answer

    return call
