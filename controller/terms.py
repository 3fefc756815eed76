"""The terms under which the nodes of the cluster record, said in one place: at the join, and whenever a node asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from controller.authority import Authority
from controller.orders import Orders
from protocol.recordings import RecordingTerms


@dataclass(frozen=True, slots=True)
class Terms:
    """Makes the terms anew each time: the key may have been rotated by another process, and the time goes on."""

    authority: Authority
    clock: Callable[[], datetime]
    orders: Callable[[], Orders] = Orders

    def current(self) -> RecordingTerms:
        """Return what holds now. Raises `AuthorityError`, and `StoreError` where the store cannot be read."""
        key_id, public_key = self.authority.recording_key()
        orders = self.orders()
        return RecordingTerms(
            mode=orders.record_session,
            record_input=orders.record_input,
            key_id=key_id,
            public_key=public_key,
            time=int(self.clock().timestamp() * 1000),
        )
