"""May this WebSocket be opened? It is asked for with a ticket, which a page of ours got a moment before.

The checks, in their order; the browser is told none of them apart:

- WS1 the page that asks is our own: a foreign page's socket carries the cookie, too (RFC 6455 section 10.2);
- WS2 somebody is signed in;
- WS3 the ticket is known, and its time is not over;
- WS4 it was given to this very sign-in;
- WS5 there is room, for the person and in all;
- WS6 the ticket was not spent: that is the last, and spends it (`controller.web.hall.tickets`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from protocol import limits
from protocol.decision import Granted, Refused
from protocol.joining import JoinMode
from protocol.names import Login, NodeId, SessionId, UserName

TicketKind = Literal["terminal", "upload", "download"]
PATH_MAX = 4096


@dataclass(frozen=True, slots=True)
class Order:
    """What a ticket is good for.

    Attributes:
        session: the session to be joined, with `mode`; None for one of its own.
        path: the file on the node that goes up or down; empty for a terminal.
    """

    kind: TicketKind
    node: NodeId
    login: Login
    session: SessionId | None = None
    mode: JoinMode = "observer"
    path: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One ticket. `sign_in` is a hash of the token of the sign-in that it was given to."""

    user: UserName
    sign_in: str
    order: Order


def parse_kind(text: str) -> TicketKind:
    """Return a kind of ticket. Raises `ValueError`."""
    for kind in get_args(TicketKind):
        if text == kind:
            return kind  # type: ignore[no-any-return]  # one of the literal's own
    raise ValueError("neither terminal, upload nor download")


def parse_path(text: str) -> str:
    """Return the path of a file on a node, as the person wrote it. Raises `ValueError`."""
    if not text.strip() or len(text.encode("utf-8", "replace")) > PATH_MAX or "\0" in text:
        raise ValueError(f"a path has 1 to {PATH_MAX} bytes")
    return text


def decide_source(origin: str | None, host: str) -> Granted[str] | Refused:
    """WS1: decide whether the page at `origin` may open a socket to `host`, as the request names it."""
    if origin != f"https://{host}":
        return Refused(f"asked for by a page of {(origin or 'nowhere')[:200]}", "WS1")
    return Granted(origin)


def decide_ticket(ticket: Ticket | None, sign_in: str | None) -> Granted[Ticket] | Refused:
    """WS2-WS4: decide whether whoever is signed in as `sign_in` may use `ticket`."""
    if sign_in is None:
        return Refused("nobody is signed in", "WS2")
    if ticket is None:
        return Refused("a ticket that is not known, or whose time is over", "WS3")
    if ticket.sign_in != sign_in:
        return Refused(f'a ticket that was given to another sign-in, of user "{ticket.user}"', "WS4")
    return Granted(ticket)


def decide_room(of_user: int, in_all: int) -> Granted[None] | Refused:
    """WS5: decide whether one more socket may be opened where so many are open."""
    if of_user >= limits.TERMINALS_PER_USER:
        return Refused(f"{limits.TERMINALS_PER_USER} terminals of this user are open already", "WS5")
    if in_all >= limits.TERMINALS_PER_WORKER:
        return Refused(f"{limits.TERMINALS_PER_WORKER} terminals are open already", "WS5")
    return Granted(None)
