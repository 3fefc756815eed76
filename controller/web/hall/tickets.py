"""Tickets: each opens one WebSocket, once, for the sign-in that asked, and soon. Only a hash of one is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, cast

from controller.policy.ticket import Order, Ticket
from controller.store.interface import AlreadyExistsError, Store, Value
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.secret import Secret


class Tickets:
    """All tickets, of every worker."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._tickets = store.collection("tickets")
        self._spent = store.collection("spent_tickets")
        self._clock = clock

    def give(self, ticket: Ticket) -> Secret[str]:
        """Return the text of a new ticket."""
        text, now = secrets.token_urlsafe(32), self._clock()
        self._tickets.create(digest(text), _to_value(ticket), now=now, expires=now + limits.TICKET_TTL)
        return Secret(text)

    def find(self, text: str) -> Ticket | None:
        """Return what a ticket is good for; None where it is not known or its time is over."""
        record = self._tickets.get(digest(text), now=self._clock())
        return None if record is None else _from_value(record.value)

    def spend(self, text: str) -> Granted[None] | Refused:
        """WS6: use a ticket up, which exactly one of any number of callers can, in whatever process."""
        now = self._clock()
        try:
            # Remembered for longer than the ticket itself can still be found.
            self._spent.create(digest(text), {}, now=now, expires=now + limits.TICKET_TTL + limits.CLOCK_LEEWAY)
        except AlreadyExistsError:
            return Refused("the ticket was used before", "WS6")
        return Granted(None)


def digest(text: str) -> str:
    """Return the hash under which a ticket, or the sign-in that it belongs to, is kept."""
    return hashlib.sha256(b"skerry ticket " + text.encode("utf-8", "replace")).hexdigest()


def _to_value(ticket: Ticket) -> Value:
    return {"user": ticket.user, "sign_in": ticket.sign_in, "order": asdict(ticket.order)}


def _from_value(value: Value) -> Ticket:
    fields = cast("Mapping[str, Any]", value)
    return Ticket(fields["user"], fields["sign_in"], Order(**fields["order"]))
