"""Nodes that sent more than they may: the broker keeps them out for a while, as its access list is made of these."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial

from controller.lookout.ledger import Ledger
from controller.policy.moment import Moment
from controller.store.interface import AlreadyExistsError, Collection, StoreError
from protocol import limits
from protocol.instants import format_instant
from protocol.names import NodeId


class Mutes:
    """Puts them down, and strikes them out when their time is over. How long that is, the steady clock tells."""

    def __init__(self, muted: Collection, ledger: Ledger) -> None:
        self._muted = muted
        self._ledger = ledger
        self._until: dict[NodeId, datetime] = {}

    def recall(self, at: Moment) -> dict[NodeId, datetime]:
        """Return who was muted by an earlier run, and until when; blocks. What cannot be read, mutes nobody."""
        with suppress(StoreError):
            for record in self._muted.list(now=at.now):
                if record.expires is not None:
                    self._until[NodeId(record.key)] = at.steady + min(record.expires - at.now, limits.MUTE)
        return dict(self._until)

    def put(self, node_id: NodeId, at: Moment) -> None:
        """Have a node kept out from now on."""
        self._until[node_id] = at.steady + limits.MUTE
        self._ledger.do(partial(self._write, node_id, at.now))

    def lift(self, at: Moment) -> None:
        """Let in again whose time is over, even where the clock was set back meanwhile, and the record would stay."""
        for node_id in [node_id for node_id, until in self._until.items() if at.steady >= until]:
            del self._until[node_id]
            self._ledger.do(partial(self._muted.delete, node_id, now=at.now))

    def _write(self, node_id: NodeId, now: datetime) -> None:
        with suppress(AlreadyExistsError):
            self._muted.create(node_id, {"since": format_instant(now)}, now=now, expires=now + limits.MUTE)
