"""Telling the audit log of what nodes upload and should not: a hostile node must not flood it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from controller.audit import AuditLog
from controller.policy.upload import Complaints, decide_complaint
from protocol import events
from protocol.decision import Refused
from protocol.events import Json
from protocol.names import NodeId, NodeName, SessionId

LOG = logging.getLogger("RECORDINGS")
_NODES_REMEMBERED = 10_000


class ComplaintBook:
    """Writes refusals of uploads to the audit log: of each node so many an hour, and then how many more there were."""

    def __init__(self, audit: AuditLog, clock: Callable[[], datetime]) -> None:
        self._audit = audit
        self._clock = clock
        self._lock = threading.Lock()
        self._nodes: dict[NodeId, Complaints] = {}

    def tell(self, node: NodeId, hostname: NodeName, refused: Refused, session: SessionId | None, address: str) -> None:
        """Complain of `node`; `address` is empty where it is not at the door. Raises `AuditError`."""
        held_back = self._count(node)
        if held_back is None:
            return
        LOG.warning("upload of node %s refused (%s): %s", hostname, refused.check, refused.reason)
        fields: dict[str, Json] = {
            "server_id": node,
            "server_hostname": hostname,
            "success": False,
            "error": refused.reason,
            "check": refused.check,
        }
        if address:
            fields["addr.remote"] = address
        if session is not None:
            fields["sid"] = session
        if held_back:
            fields["count"] = held_back
        self._audit.write(events.RECORDING_REFUSED, fields)

    def _count(self, node: NodeId) -> int | None:
        with self._lock:
            if len(self._nodes) >= _NODES_REMEMBERED:
                self._nodes.clear()
            self._nodes[node], held_back = decide_complaint(self._nodes.get(node), self._clock())
        return held_back
