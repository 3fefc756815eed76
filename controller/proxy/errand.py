"""What the proxy must have done elsewhere: audit events, in order, off the event loop."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controller.audit import AuditError, AuditLog
from controller.policy.rate import Rate
from controller.throttle import Throttle
from protocol import events
from protocol.addresses import split_address
from protocol.decision import Refused
from protocol.events import BadEventError, EventKind, Json

LOG = logging.getLogger("PROXY")
# How many deeds may wait before no new ones are done; the rest of the room is for those that are under way.
_BRIM = 9_000
_DEEDS_MAX = 10_000
# Refusals are others' doing: however many there are, they take little of the disk's time.
_REFUSALS_MAX = 200
_RETRY_SECONDS = 2.0
_FINISH_SECONDS = 2.0
# How many connections of strangers are audited: of one network, and of all together.
_FAILURES = Rate(per_minute=6, burst=20)
_FAILURES_IN_ALL = Rate(per_minute=120, burst=240)
_COUNT_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Event:
    """An event that is to be written, when it happened, and its UUID: however often it is tried, it is one event."""

    kind: EventKind
    fields: Mapping[str, Json]
    time: datetime
    uid: str
    is_refusal: bool

    def __str__(self) -> str:
        return f"{self.kind.name} at {self.time}: {self.fields}"


class Errands:
    """A queue of audit events and the one task that writes them; writing syncs to disk, which blocks.

    An event that cannot be written is kept, and tried again until it can. Meanwhile nothing that must be
    audited is to be begun: whoever would, asks `is_keeping`.
    """

    def __init__(self, audit: AuditLog, clock: Callable[[], datetime]) -> None:
        self._audit = audit
        self._clock = clock
        self._waiting: deque[_Event] = deque()
        self._refusals = 0  # of those that wait
        self._arrived, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._is_writable = True
        self._failures, self._failures_in_all = Throttle(_FAILURES), Throttle(_FAILURES_IN_ALL)
        self._left_out = 0
        self._counted = datetime.min.replace(tzinfo=UTC)

    @property
    def is_keeping(self) -> bool:
        """Whether what is done now will be in the audit log: the last write went well, and there is room."""
        return self._is_writable and len(self._waiting) - self._refusals < _BRIM

    def audit(self, kind: EventKind, fields: Mapping[str, Json], *, is_refusal: bool = False) -> None:
        """Have an event written soon. A refusal for which there is no room is only counted; a deed is logged."""
        event = _Event(kind, fields, self._clock(), str(uuid.uuid4()), is_refusal)
        if is_refusal and self._refusals >= _REFUSALS_MAX:
            self._leave_out()
        elif len(self._waiting) - self._refusals >= _DEEDS_MAX:
            LOG.error("audit event not written: the disk is too slow: %s", event)
        else:
            self._waiting.append(event)
            self._refusals += is_refusal
            self._idle.clear()
            self._arrived.set()

    def auth_failed(self, door: str, address: str, user: str, refused: Refused) -> None:
        """Have a refused certificate written, where the peer's network has not had many written already."""
        host, now = split_address(address)[0], self._clock()
        if self._failures.admit(host, now) or self._failures_in_all.admit("", now):
            self._leave_out()
            return
        fields: dict[str, Json] = {
            "success": False,
            "error": refused.reason,
            "check": refused.check,
            "door": door,
            "user": user,
            "addr.remote": address,
            "via": "ssh",
        }
        self.audit(events.AUTH_FAILED, fields, is_refusal=True)

    async def run(self) -> None:
        """Write events as they come, until cancelled."""
        while True:
            await self._arrived.wait()
            while self._waiting:
                await self._write(self._waiting[0])
                self._refusals -= self._waiting.popleft().is_refusal
            self._arrived.clear()
            self._idle.set()

    async def finish(self) -> None:
        """Wait a little until everything is written; what is not goes to the log."""
        try:
            async with asyncio.timeout(_FINISH_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            for event in self._waiting:
                LOG.error("audit event not written: the controller stops: %s", event)  # noqa: TRY400 - one line

    async def _write(self, event: _Event) -> None:
        while (problem := await asyncio.to_thread(self._try, event)) is not None:
            if self._is_writable:
                LOG.error("no new session is opened until the audit log can be kept again: %s", problem)
            self._is_writable = False
            await asyncio.sleep(_RETRY_SECONDS)
        if not self._is_writable:
            LOG.warning("the audit log is kept again; %d events have waited for it", len(self._waiting))
        self._is_writable = True

    def _try(self, event: _Event) -> AuditError | None:
        try:
            self._audit.write(event.kind, event.fields, time=event.time, uid=event.uid)
        except BadEventError as err:  # it would never do: a mistake of ours
            LOG.error("audit event not written: %s: %s", err, event)  # noqa: TRY400 - one line is enough
        except AuditError as err:
            return err
        return None

    def _leave_out(self) -> None:
        self._left_out += 1
        now = self._clock()
        if abs(now - self._counted) >= _COUNT_EVERY:
            LOG.warning("too many refusals: %d were not written to the audit log", self._left_out)
            self._left_out, self._counted = 0, now
