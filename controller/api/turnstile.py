"""So many requests of each node at a time: one that has much to send leaves threads for the others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from protocol.names import NodeId


class Turnstile:
    """Counts the requests of each node that are being answered."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._inside: Counter[NodeId] = Counter()

    @contextmanager
    def enter(self, node: NodeId) -> Iterator[bool]:
        """Tell whether one more of `node` may be answered now; it is counted until the block ends."""
        with self._lock:
            is_in = self._inside[node] < self._most
            self._inside[node] += is_in
        try:
            yield is_in
        finally:
            with self._lock:
                self._inside[node] -= is_in
                if not self._inside[node]:
                    del self._inside[node]
