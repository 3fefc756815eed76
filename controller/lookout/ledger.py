"""What the presence process has done off the event loop, in order: audit events, and a few writes to the store."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from controller.audit import AuditError, AuditLog
from controller.authority import AuthorityError
from controller.policy.moment import Moment
from controller.policy.rate import Bucket, Rate, draw, full_bucket
from controller.store.interface import StoreError
from protocol import events
from protocol.decision import Granted, Refused
from protocol.events import EventKind, Json
from protocol.names import NodeId

LOG = logging.getLogger("PRESENCE")
_WAITING_MAX = 30_000
_AT_ONCE = 50
_RETRY_SECONDS = 2.0
_FINISH_SECONDS = 3.0
# The same refusal of the same node is told again after so long, with how often it happened meanwhile.
_REFUSAL_AGAIN = timedelta(hours=1)
_REFUSALS_KEPT = 10_000
_REFUSALS = Rate(per_minute=60, burst=120)


@dataclass(slots=True)
class _Refusals:
    told: datetime
    untold: int = 0


class Ledger:
    """A queue of deeds and the task that does them: an event that cannot be written is kept, and tried again."""

    def __init__(self, audit: AuditLog, moment: Callable[[], Moment]) -> None:
        self._audit = audit
        self._moment = moment
        self._waiting: deque[Callable[[], object]] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._refusals: dict[tuple[str, str], _Refusals] = {}
        self._bucket: Bucket = full_bucket(_REFUSALS, moment().steady)
        self._is_failing = False

    def write(self, kind: EventKind, fields: Mapping[str, Json]) -> None:
        """Have an event written soon."""
        deed = partial(self._audit.write, kind, fields, time=self._moment().now, uid=str(uuid.uuid4()))
        self.do(deed)

    def do(self, deed: Callable[[], object]) -> None:
        """Have `deed` done soon, on a thread. It is tried again where it raises `AuditError` or `StoreError`."""
        if len(self._waiting) >= _WAITING_MAX:
            LOG.error("the disk is too slow: an event of presence is not written")
            return
        self._waiting.append(deed)
        self._idle.clear()
        self._arrived.set()

    def refuse(self, node_id: NodeId, name: str | None, refused: Refused) -> None:
        """Have it told that a node's message was not taken: once, and then counted."""
        now, key = self._moment().steady, (node_id, refused.check)
        known = self._refusals.get(key)
        if known is not None and now - known.told < _REFUSAL_AGAIN:
            known.untold += 1
            return
        answer = draw(self._bucket, _REFUSALS, now)
        if not isinstance(answer, Granted):
            return  # so many nodes at once: the log has been told enough
        self._bucket = answer.value
        self._keep(key, now)
        LOG.warning("node %s: refused (%s): %s", name or node_id, refused.check, refused.reason)
        fields: dict[str, Json] = {
            "server_id": node_id,
            "success": False,
            "error": refused.reason,
            "check": refused.check,
        }
        if name is not None:
            fields["server_hostname"] = name
        if known is not None and known.untold:
            fields["count"] = known.untold
        self.write(events.PRESENCE_REFUSED, fields)

    def _keep(self, key: tuple[str, str], now: datetime) -> None:
        self._refusals.pop(key, None)
        if len(self._refusals) >= _REFUSALS_KEPT:
            del self._refusals[next(iter(self._refusals))]
        self._refusals[key] = _Refusals(now)

    async def run(self) -> None:
        """Do what comes, until cancelled."""
        while True:
            await self._arrived.wait()
            while self._waiting:
                if not await asyncio.to_thread(self._do_some):
                    await asyncio.sleep(_RETRY_SECONDS)
            self._arrived.clear()
            self._idle.set()

    async def finish(self) -> None:
        """Wait a little until everything is done."""
        try:
            async with asyncio.timeout(_FINISH_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            LOG.error("%d events of presence are not written: the controller stops", len(self._waiting))  # noqa: TRY400 - one line

    def _do_some(self) -> bool:
        """Do what waits, some of it; tell whether it went well."""
        for _ in range(min(_AT_ONCE, len(self._waiting))):
            try:
                self._waiting[0]()
            except (AuditError, StoreError, AuthorityError) as err:
                if not self._is_failing:
                    LOG.error("presence is not written down now; it is tried again: %s", err)  # noqa: TRY400 - one line
                self._is_failing = True
                return False
            self._is_failing = False
            self._waiting.popleft()
        return True
