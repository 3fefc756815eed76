"""How the web door puts a lock on, for every page and endpoint that does."""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.locks import LockError
from controller.policy.rights import decide_lock
from controller.web import visit
from protocol.decision import Refused
from protocol.locks import Lock, LockKind


def put_on(kind: LockKind, value: str, message: str, ttl: timedelta | None) -> Lock:
    """Put a lock on in the name of whoever asks, and return it: where the same holds as long already, that one.

    Args:
        kind: what it is aimed at.
        value: what stands in it, as `controller.lock_aims.find_aim` returns it.
        message: why, for those who are locked out; may be empty.
        ttl: for how long; None for until it is removed.

    Raises:
        LockError: it cannot be put on, or would lock out the very person who asks; the message says so.
    """
    answer = decide_lock(is_own=kind == "user" and value == visit.signed_in().user)
    if isinstance(answer, Refused):
        raise LockError(answer.reason)
    services = visit.services()
    until = None if ttl is None else services.clock() + ttl
    for lock in services.locks.list():  # a form sent twice
        if (lock.kind, lock.value, lock.message) == (kind, value, message) and _holds(lock, until):
            return lock
    return services.locks.add(kind, value, message, ttl, visit.origin())


def _holds(lock: Lock, until: datetime | None) -> bool:
    return lock.expires is None or (until is not None and lock.expires >= until)
