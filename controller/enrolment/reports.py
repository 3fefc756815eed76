"""Audit events that nodes report: each taken once, in order, and only what a node may say of itself.

What they may say is `controller.policy.report`'s to judge.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from controller.audit import AuditLog
from controller.enrolment.nodes import NodeRecord
from controller.policy import report
from controller.store.interface import AlreadyExistsError, ConflictError, Record, Store
from protocol import events, limits
from protocol.decision import Refused
from protocol.events import Json
from protocol.instants import format_instant, parse_instant
from protocol.messages import EventBatch, EventReceipt, NodeEvent
from protocol.names import NodeId


class ReportError(Exception):
    """The events could not be taken now; the node keeps them and asks again."""


class SequenceError(ReportError):
    """The events' numbers cannot be; they will not be taken later either. The message is for the node."""


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far the events of one node have come.

    Attributes:
        held: the highest number that is in the audit log.
        begun: the highest whose writing was ever begun: above `held` after a crash or a full disk.
        begun_at: no event above `held` was written before that.
        refused: whether a batch was refused for its numbers since the last that was taken.
    """

    held: int
    begun: int
    begun_at: datetime
    refused: bool = False

    def to_value(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "held": self.held,
            "begun": self.begun,
            "begun_at": format_instant(self.begun_at),
            "refused": self.refused,
        }

    @classmethod
    def from_record(cls, record: Record | None, now: datetime) -> _Progress:
        """Read what is kept; nothing is kept of a node that never reported."""
        if record is None:
            return cls(0, 0, now)
        fields = cast("Mapping[str, Any]", record.value)
        return cls(fields["held"], fields["begun"], parse_instant(fields["begun_at"]), fields["refused"])


class _Turns:
    """One batch of a node at a time; batches of different nodes side by side. Remembers only who is at it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[NodeId, tuple[threading.Lock, int]] = {}

    @contextmanager
    def turn(self, node_id: NodeId) -> Iterator[None]:
        """Hold the node's turn."""
        with self._guard:
            lock, users = self._locks.get(node_id, (threading.Lock(), 0))
            self._locks[node_id] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks.pop(node_id)
                if users > 1:
                    self._locks[node_id] = (lock, users - 1)


class Reports:
    """Takes what nodes report into the audit log."""

    def __init__(self, store: Store, audit: AuditLog, clock: Callable[[], datetime]) -> None:
        self._sequences = store.collection("event_sequences")
        self._audit = audit
        self._clock = clock
        self._turns = _Turns()

    def take(self, node: NodeRecord, batch: EventBatch, address: str) -> EventReceipt:
        """Write the events of `batch` that are new, and return the highest number held.

        What is being written is noted before, and that it is written after. A note without its end tells of a
        crash or a full disk in between: what did reach the log is then found there by its uid, and not written
        twice.

        Raises:
            SequenceError: the numbers of the batch cannot be.
            ReportError, AuditError, StoreError: not all could be taken; the same batch may be sent again.
        """
        with self._turns.turn(node.node_id):
            record = self._sequences.get(node.node_id, now=self._clock())
            progress = _Progress.from_record(record, self._clock())
            answer = report.decide_fresh(progress.held, batch.events)
            if isinstance(answer, Refused):
                self._refuse_batch(node, record, progress, answer, address)
                raise SequenceError(f"{answer.reason}; number on from there")
            if not answer.value:
                return EventReceipt(progress.held)
            return self._take_fresh(node, record, progress, answer.value, address)

    def _take_fresh(
        self, node: NodeRecord, record: Record | None, before: _Progress, fresh: Sequence[NodeEvent], address: str
    ) -> EventReceipt:
        recovering = before.begun > before.held
        begun_at = before.begun_at if recovering else self._clock()
        written = self._written(node, fresh, begun_at) if recovering else frozenset()
        last = fresh[-1].sequence
        begun = max(last, before.begun)
        record = self._note(node, record, _Progress(before.held, begun, begun_at))
        self._write(node, [event for event in fresh if event.uid not in written], address)
        self._note(node, record, _Progress(last, begun, begun_at))
        return EventReceipt(last)

    def _note(self, node: NodeRecord, record: Record | None, progress: _Progress) -> Record:
        now, value = self._clock(), progress.to_value()
        try:
            if record is None:
                return self._sequences.create(node.node_id, value, now=now)
            return self._sequences.replace(record, value, now=now)
        except (AlreadyExistsError, ConflictError) as err:
            raise ReportError(f"the events of node {node.node_id} are being taken by another process") from err

    def _written(self, node: NodeRecord, fresh: Sequence[NodeEvent], begun_at: datetime) -> frozenset[str]:
        """Return the uids of those in `fresh` that the log holds. An event may bear a time from before it was sent."""
        good = [event for event in fresh if not isinstance(report.judge_event(node.target(), event), Refused)]
        since = min([begun_at, *(self._time(node, event) for event in good)])
        wanted = {event.uid for event in good}
        return frozenset(str(entry["uid"]) for entry in self._audit.entries(since=since) if entry.get("uid") in wanted)

    def _write(self, node: NodeRecord, fresh: Sequence[NodeEvent], address: str) -> None:
        refusals: list[Refused] = []
        for event in fresh:
            answer = report.judge_event(node.target(), event)
            if not isinstance(answer, Refused):
                fields = {"device_time": event.time, **event.fields}
                self._audit.write(answer.value, fields, time=self._time(node, event), uid=event.uid)
                continue
            refusals.append(answer)
            if len(refusals) <= limits.EVENT_REFUSALS_AUDITED:
                self._audit_refusal(node, answer, address)
        more = len(refusals) - limits.EVENT_REFUSALS_AUDITED
        if more > 0:
            self._audit_refusal(node, refusals[-1], address, {"count": more})

    def _time(self, node: NodeRecord, event: NodeEvent) -> datetime:
        return report.believed_time(parse_instant(event.time), joined=node.joined, now=self._clock())

    def _refuse_batch(
        self, node: NodeRecord, record: Record | None, progress: _Progress, refused: Refused, address: str
    ) -> None:
        """Tell the audit log once, however often the node tries, until one of its batches is good again."""
        if not progress.refused:
            self._audit_refusal(node, refused, address)
            self._note(node, record, _Progress(progress.held, progress.begun, progress.begun_at, refused=True))

    def _audit_refusal(
        self, node: NodeRecord, refused: Refused, address: str, more: Mapping[str, Json] | None = None
    ) -> None:
        fields: dict[str, Json] = {
            "server_id": node.node_id,
            "success": False,
            "error": f"{refused.check}: {refused.reason}",
            "addr.remote": address,
            **(more or {}),
        }
        self._audit.write(events.NODE_EVENT_REFUSED, fields)
