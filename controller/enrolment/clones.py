"""Two devices with one identity: nothing tells the copy from the original, so both are locked, and a person decides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

from controller.audit import AuditLog
from controller.enrolment.nodes import Nodes
from controller.locks import LockError, Locks
from controller.origin import Origin
from controller.store.interface import AlreadyExistsError, Store, StoreError
from protocol import events, limits
from protocol.events import Json
from protocol.names import NodeId

COLLECTION = "clones"
MESSAGE = "two devices have this node's identity"
_log = logging.getLogger("ENROLMENT")


class Clones:
    """Locks a node of which there are two, and says so: once, however many doors see them."""

    def __init__(
        self, store: Store, locks: Locks, nodes: Nodes, audit: AuditLog, clock: Callable[[], datetime]
    ) -> None:
        self._seen = store.collection(COLLECTION)
        # Locks that are on, and of which the audit log could not be told why.
        self._untold: dict[NodeId, str] = {}
        self._locks = locks
        self._nodes = nodes
        self._audit = audit
        self._clock = clock

    def report(
        self,
        node_id: NodeId,
        reason: str,
        origin: Origin,
        more: Mapping[str, Json] | None = None,
        *,
        is_proven: bool = True,
    ) -> bool:
        """Lock the node, and say so; tell whether this call did. Raises `AuditError`, `StoreError`.

        Where it raises, nothing is taken for done: the same call makes it good. A lock that somebody removes comes back
        with the next sign of a clone.

        Args:
            node_id: of which there are two.
            reason: how that shows.
            origin: of what shows it.
            more: what else the audit log is to know.
            is_proven: whether nobody can have made that up; where somebody can, it is told, and nobody locked.
        """
        with self._seen.alone():
            node = self._nodes.get(node_id)
            if node is None or self._is_done(node_id, is_proven=is_proven):
                return False
            fields: dict[str, Json] = {"server_id": node_id, "server_hostname": node.name, "reason": reason}
            fields |= {"via": origin.via} | ({"addr.remote": origin.address} if origin.address else {})
            fields |= self._lock(node_id) if is_proven else {}
            self._audit.write(events.CERT_GENERATION_MISMATCH, fields | dict(more or {}))
            self._remember(node_id, is_proven=is_proven)
        outcome = "is locked" if "lock" in fields else "is NOT locked"
        _log.warning("node %s (%s) %s: %s: see docs/clones.md", node.name, node_id, outcome, reason)
        return True

    def _is_done(self, node_id: NodeId, *, is_proven: bool) -> bool:
        lock = self._locks.find(node=node_id)
        if lock is not None and lock.lock_id != self._untold.get(node_id):
            return True
        return self._seen.get(_mark(node_id, is_proven=is_proven), now=self._clock()) is not None

    def _remember(self, node_id: NodeId, *, is_proven: bool) -> None:
        self._untold.pop(node_id, None)
        now, memory = self._clock(), limits.CLONE_MEMORY if is_proven else limits.CLONE_ALARM_AGAIN
        # All is done: that it is not remembered makes at worst a second event of it.
        with suppress(AlreadyExistsError, StoreError):
            self._seen.create(_mark(node_id, is_proven=is_proven), {}, now=now, expires=now + memory)

    def _lock(self, node_id: NodeId) -> dict[str, Json]:
        lock = self._locks.find(node=node_id)  # one that is on is ours, and untold: see `_is_done`
        origin = Origin(via="start", actor="controller")
        try:
            lock = lock or self._locks.add("node", node_id, MESSAGE, None, origin, is_own=True)
        except LockError as err:
            _log.error("node %s has been copied and cannot be locked: %s", node_id, err)
            return {}
        self._untold[node_id] = lock.lock_id
        return {"lock": lock.lock_id}


def _mark(node_id: NodeId, *, is_proven: bool) -> str:
    """Return the name under which it is remembered that it was told."""
    return node_id if is_proven else f"{node_id}.told"
