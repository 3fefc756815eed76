"""What controller.yaml orders for the whole fleet, as it stood when the controller was started.

Each process reads the file when it begins. Where it was edited meanwhile, one that was started again would say other
than the rest: so the supervisor writes down what holds, and all the others go by that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

from controller.store.cached import Cached
from controller.store.interface import Record, Store
from protocol.locks import LockingMode
from protocol.recordings import Mode

COLLECTION = "orders"
_KEY = "fleet"


@dataclass(frozen=True, slots=True)
class Orders:
    """What holds on every node: as `auth_service` of controller.yaml has it."""

    locking_mode: LockingMode = "best_effort"
    record_session: Mode = "best_effort"
    record_input: bool = False


class StandingOrders:
    """The orders in force: those that were given last, or `own` where none were yet. May raise `StoreError`."""

    def __init__(self, store: Store, own: Orders, clock: Callable[[], datetime]) -> None:
        self._collection = store.collection(COLLECTION)
        self._own = own
        self._clock = clock
        self._kept = Cached(self._collection, _read, clock)

    def current(self) -> Orders:
        """Return what holds now."""
        return self._kept.read() or self._own

    def give(self) -> None:
        """Let what this process was configured with hold everywhere: for the supervisor, when it starts."""
        self._collection.put_many({_KEY: asdict(self._own)}, now=self._clock())

    def stamp(self) -> object:
        """Return what stays equal while nobody gives orders."""
        return self._collection.stamp()


def _read(records: Sequence[Record]) -> Orders | None:
    for record in records:
        fields = cast("Mapping[str, Any]", record.value)
        return Orders(fields["locking_mode"], fields["record_session"], fields["record_input"])
    return None
