"""How often one node may have events written to the audit log: a batch waits for the disk, and the log is for all."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime

from controller.policy.rate import Bucket, Rate, TooSoon, draw, full_bucket
from protocol.decision import Granted
from protocol.names import NodeId

# Of a node in good standing, which has been away for long, everything that it kept is taken at once.
_USUAL = Rate(per_minute=60, burst=60)
# What a locked node has to say is evidence; it may take its time.
_LOCKED = Rate(per_minute=6, burst=3)
_NODES_MAX = 20_000


class Ration:
    """Counts the batches of each node. Past `_NODES_MAX` the node that has not sent any for longest is forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: OrderedDict[tuple[NodeId, bool], Bucket] = OrderedDict()

    def admit(self, node_id: NodeId, now: datetime, *, is_locked: bool) -> TooSoon | None:
        """Count one batch; return how long the node must wait, or None where it is taken."""
        rate, key = _LOCKED if is_locked else _USUAL, (node_id, is_locked)
        with self._lock:
            answer = draw(self._buckets.get(key) or full_bucket(rate, now), rate, now)
            if isinstance(answer, Granted):
                self._buckets[key] = answer.value
                self._buckets.move_to_end(key)
                if len(self._buckets) > _NODES_MAX:
                    self._buckets.popitem(last=False)
        return None if isinstance(answer, Granted) else answer
