"""Which nodes hold a tunnel, and since when: written by the proxy, read by everyone.

The proxy knows its tunnels; the other processes read what it last stored. It writes changes in batches,
one atomic write for all of a second, so that a thousand agents that come back at once cost a few writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, cast

from controller.store.cached import Cached
from controller.store.interface import Record, Store, Value
from protocol.events import Json
from protocol.instants import format_instant, parse_instant
from protocol.names import NodeId

TunnelState = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The state of one node's tunnel, since `since`."""

    state: TunnelState
    since: datetime

    def to_value(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"state": self.state, "since": format_instant(self.since)}

    @classmethod
    def from_value(cls, value: Value) -> Tunnel:
        """Read the JSON object."""
        fields = cast("Mapping[str, Any]", value)
        return _known(fields["state"], fields["since"])


@lru_cache(maxsize=20_000)  # one changes, and all are read again
def _known(state: TunnelState, since: str) -> Tunnel:
    return Tunnel(state, parse_instant(since))


def _read(records: Sequence[Record]) -> Mapping[NodeId, Tunnel]:
    return {NodeId(record.key): Tunnel.from_value(record.value) for record in records}


class Presence:
    """The stored view of all tunnels. What was read is kept for as long as the store says nothing was written."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._tunnels = store.collection("tunnels")
        self._clock = clock
        self._kept = Cached(self._tunnels, _read, clock)

    def read(self) -> Mapping[NodeId, Tunnel]:
        """Return the last stored state of every node that ever held a tunnel: the same object while none changed."""
        return self._kept.read()

    def write(self, changes: Mapping[NodeId, Tunnel]) -> None:
        """Store changed states, in one write. Raises `StoreError`."""
        self._tunnels.put_many({key: tunnel.to_value() for key, tunnel in changes.items()}, now=self._clock())

    def forget(self, node_id: NodeId) -> None:
        """Drop what is stored of a node that is no more. Raises `StoreError`."""
        self._tunnels.delete(node_id, now=self._clock())

    def all_down(self) -> dict[NodeId, Tunnel]:
        """Store that no node holds a tunnel: for a proxy that begins or ends. Return the whole view."""
        now = self._clock()
        view = self.read()
        changed = {key: Tunnel("down", now) for key, tunnel in view.items() if tunnel.state == "up"}
        if changed:
            self.write(changed)
        return {**view, **changed}
