"""How much of each node's uploads may be looked into: see `controller.policy.effort`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from controller.policy.effort import Effort, add_effort, decide_allowance
from protocol.names import NodeId

_NODES_REMEMBERED = 10_000


class Allowance:
    """What one piece may still take.

    Attributes:
        spent: bytes that were unpacked of it, and work that takes as long.
    """

    def __init__(self, most: int) -> None:
        self.spent = 0
        self._most = most

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.spent >= self._most

    def spend(self, work: int) -> None:
        """Take note of work that was done; the last may go beyond what was left."""
        self.spent += work


class AllowanceBook:
    """What each node's uploads took lately."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._nodes: dict[NodeId, Effort] = {}

    @contextmanager
    def piece(self, node: NodeId) -> Iterator[Allowance]:
        """Give what one piece may take, and note afterwards what it did take."""
        with self._lock:
            allowance = Allowance(decide_allowance(self._nodes.get(node), self._clock()))
        try:
            yield allowance
        finally:
            with self._lock:
                if len(self._nodes) >= _NODES_REMEMBERED:
                    self._nodes.clear()
                self._nodes[node] = add_effort(self._nodes.get(node), allowance.spent, self._clock())
