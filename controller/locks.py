"""Who and what is kept out of the cluster: the locks that the admin, or the controller itself, has put on.

What a lock does is the same at every door: `protocol.locks` judges it. Only the machine API makes exceptions: a locked
node may still bring events and recordings, which are evidence, and ask for the policy (`controller.api.peer`). Here is
where they are kept, and the one place that a door asks.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from controller.audit import AuditLog
from controller.origin import Origin
from controller.store.cached import Cached
from controller.store.interface import Record, Store
from protocol import events, limits
from protocol.events import Json
from protocol.fields import MessageError
from protocol.instants import format_instant
from protocol.locks import Lock, LockKind, find_lock, is_in_force, parse_message, parse_value
from protocol.names import BadNameError

COLLECTION = "locks"


class LockError(Exception):
    """What was asked for cannot be done; the message says why, in words for the admin."""


class UnknownLockError(LockError):
    """There is no such lock."""


class Locks:
    """All locks. What was read is kept for as long as the store says that nothing was written."""

    def __init__(self, store: Store, audit: AuditLog, clock: Callable[[], datetime]) -> None:
        self._locks = store.collection(COLLECTION)
        self._audit = audit
        self._clock = clock
        self._kept = Cached(self._locks, _read, clock)

    def add(
        self,
        kind: LockKind,
        value: str,
        message: str,
        ttl: timedelta | None,
        origin: Origin,
        *,
        is_own: bool = False,
    ) -> Lock:
        """Put a lock on: it holds at every door of the controller from now on, and on nodes as soon as they hear of it.

        Args:
            kind: what it is aimed at.
            value: the user's name, the login, or the node's id; whether there is one is the caller's to ask.
            message: why, for those who are locked out; may be empty.
            ttl: for how long; None for until it is removed.
            origin: who puts it on.
            is_own: whether the controller itself does: it has places that nobody else can take.

        Raises:
            LockError: it cannot be put on; the message says why.
            AuditError: it was not put on.
            StoreError: it was not put on, though the audit log may say that it was going to be.
        """
        lock = self._lock(kind, value, message, ttl, origin)
        with self._locks.alone():
            self._require_room((*self.list(), lock), limits.LOCKS_MAX - (0 if is_own else limits.LOCKS_RESERVED))
            # The event comes first, as it does everywhere: whatever ends us in between, nothing holds untold.
            self._audit.write(events.LOCK_CREATED, _created(lock, origin))
            self._locks.create(lock.lock_id, lock.to_dict(), now=self._clock(), expires=lock.expires)
        return lock

    def list(self) -> Sequence[Lock]:
        """Return the locks in force, the oldest first. Raises `StoreError`."""
        now = self._clock()
        return [lock for lock in self._all() if is_in_force(lock, now)]

    def remove(self, lock_id: str, origin: Origin) -> Lock:
        """Take a lock off and return what it was. Raises `LockError` where there is none of that id."""
        with self._locks.alone():
            lock = next((lock for lock in self.list() if lock.lock_id == lock_id.lower()), None)
            if lock is None:
                raise UnknownLockError(f'lock "{lock_id}" not found: `tctl locks ls` lists them')
            # The event comes first: what is gone could not be put back.
            fields: dict[str, Json] = {"user": origin.actor, "name": lock.lock_id, "target": {lock.kind: lock.value}}
            self._audit.write(events.LOCK_DELETED, fields | {"via": origin.via})
            self._locks.delete(lock.lock_id, now=self._clock())
        return lock

    def find(self, *, user: str | None = None, login: str | None = None, node: str | None = None) -> Lock | None:
        """Return a lock in force on any of these, or None. Raises `StoreError`: who cannot tell lets nobody in."""
        return find_lock(self._all(), self._clock(), user=user, login=login, node=node)

    def stamp(self) -> object:
        """Return what stays equal while no lock is put on or taken off; one that ends by itself leaves it as it is."""
        return self._locks.stamp()

    def _all(self) -> tuple[Lock, ...]:
        return self._kept.read()

    def _lock(self, kind: LockKind, value: str, message: str, ttl: timedelta | None, origin: Origin) -> Lock:
        if ttl is not None and ttl <= timedelta(0):
            raise LockError("a lock holds for some time, or for ever: leave the time out")
        now = _whole_milliseconds(self._clock())
        try:
            return Lock(
                lock_id=str(uuid.uuid4()),
                kind=kind,
                value=parse_value(kind, value),
                message=parse_message(message),
                expires=None if ttl is None else now + ttl,
                created=now,
                created_by=origin.actor,
            )
        except BadNameError as err:
            raise LockError(f"what is to be locked is {err}") from err
        except MessageError as err:
            raise LockError(f"the lock's message is {err}") from err
        except OverflowError as err:
            raise LockError("a lock that is to hold so long may as well hold for ever: leave the time out") from err

    def _require_room(self, locks: Iterable[Lock], most: int) -> None:
        """Refuse more locks than `most`, and than travel in one policy document. Raises `LockError`."""
        told = [for_nodes(lock).to_dict() for lock in locks]
        # The document is a text within a JSON object: what is escaped once is escaped again.
        size = limits.LOCKS_SIZE_MAX * most // limits.LOCKS_MAX
        if len(told) > most or len(json.dumps(json.dumps(told))) > size:
            raise LockError(
                f"there are {len(told) - 1} locks, and nodes can be told of no more: remove one (`tctl locks ls`), or "
                "say less in messages; to keep somebody out for good, `tctl users rm` or `tctl nodes rm`"
            )


def _read(records: Iterable[Record]) -> tuple[Lock, ...]:
    locks = (Lock.from_dict(record.value) for record in records)
    return tuple(sorted(locks, key=lambda lock: (lock.created, lock.lock_id)))


def for_nodes(lock: Lock) -> Lock:
    """Return a lock as nodes are told of it: who put it on is not theirs to know."""
    return Lock(lock.lock_id, lock.kind, lock.value, lock.message, lock.expires, lock.created)


def _created(lock: Lock, origin: Origin) -> dict[str, Json]:
    fields: dict[str, Json] = {"user": origin.actor, "name": lock.lock_id, "target": {lock.kind: lock.value}}
    fields |= {"message": lock.message} if lock.message else {}
    fields |= {"expires": format_instant(lock.expires)} if lock.expires else {}
    return fields | {"via": origin.via}


def _whole_milliseconds(instant: datetime) -> datetime:
    """Return `instant` as it comes back from the store and from the wire."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
