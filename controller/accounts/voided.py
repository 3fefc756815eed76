"""Whose certificates are void though they have not ended: of people who were removed, reset or given fewer rights.

At the controller's own doors the person's record says so, or that there is none. Nodes are told by the policy document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from controller.store.cached import Cached
from controller.store.interface import AlreadyExistsError, ConflictError, Record, Store
from protocol import limits
from protocol.instants import to_milliseconds
from protocol.names import UserName, parse_user_name

COLLECTION = "voided"


class Voided:
    """From when on people's certificates are good, for as long as one from before may live."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._voided = store.collection(COLLECTION)
        self._clock = clock
        self._kept = Cached(self._voided, _newest, clock)

    def add(self, name: str, before: datetime | None = None) -> None:
        """Void what was issued to somebody before this second, or before `before`. Raises `StoreError`."""
        now = self._clock()
        # Certificates tell their times in seconds.
        wanted = to_milliseconds((before or now).replace(microsecond=0))
        expires = now + limits.USER_CERTIFICATE_MAX + limits.CLOCK_LEEWAY
        while True:
            found = self._voided.get(name, now=now)
            value = {"before": max(wanted, int(str(found.value["before"])) if found else wanted)}
            try:
                if found is None:
                    self._voided.create(name, value, now=now, expires=expires)
                else:
                    self._voided.replace(found, value, now=now, expires=expires)
            except (AlreadyExistsError, ConflictError):
                continue  # two admins at once
            return

    def current(self) -> Mapping[UserName, int]:
        """Return the instants, milliseconds since 1970, by people's names: at most so many as nodes can be told.

        Past that the oldest are left out. Raises `StoreError`.
        """
        now = self._clock()
        live = [record for record in self._kept.read() if record.expires is None or record.expires > now]
        return {parse_user_name(record.key): int(str(record.value["before"])) for record in live[: limits.LOCKS_MAX]}


def next_second(now: datetime) -> datetime:
    """Return the first whole second after `now`: what is issued up to then is from before, whatever second it bears."""
    return now.replace(microsecond=0) + timedelta(seconds=1)


def _newest(records: Sequence[Record]) -> Sequence[Record]:
    return sorted(records, key=lambda record: int(str(record.value["before"])), reverse=True)
