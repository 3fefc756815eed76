"""Audit events on their way from this node to the controller.

Whatever happens to the disk or the link, `report` returns and nothing in the agent waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Mapping
from contextlib import suppress

from edge_agent.clock import Clock
from edge_agent.courier import Courier
from edge_agent.event_queue import EventQueue
from edge_agent.fault import RefusedError, UnreachableError, UntrustedError
from edge_agent.identity import Identity
from edge_agent.policy.link import decide_wait
from protocol import endpoints, events, limits
from protocol.events import BadEventError, EventKind, Json
from protocol.instants import format_instant, from_milliseconds, to_milliseconds
from protocol.messages import EventBatch, EventReceipt, MessageError, NodeEvent

_log = logging.getLogger("skerry.agent")
# Events gather for this long, so that a short session's travel together.
_GATHER = 0.2
# A device's clock that is off by so many milliseconds is told with each event.
_DIFFERS = 1000
# Seconds for what is left to say when the agent stops: on a slow device the HTTPS worker needs some to start.
LAST_WORD = 8.0


class Reporter:
    """Takes events, keeps them, and sends them when it can."""

    def __init__(self, identity: Identity, queue: EventQueue, courier: Courier, clock: Clock) -> None:
        self._node = {"server_id": identity.granted.node_id, "server_hostname": identity.granted.name}
        self._queue = queue
        self._courier = courier
        self._clock = clock
        self._work = asyncio.Event()
        self._stopped = asyncio.Event()
        self._fault = ""
        self._retry_after: float | None = None
        # Whether our numbers are known to fit what the controller holds: not at first, nor after a failure.
        self._in_step = False
        # Number and count of the last event that told of a loss, while it is not known to have arrived.
        self._loss: tuple[int, int] | None = None
        if len(queue) or queue.lost:
            self._work.set()

    @property
    def node(self) -> Mapping[str, Json]:
        """The fields that name this node in an event."""
        return self._node

    def report(self, kind: EventKind, fields: Mapping[str, Json]) -> None:
        """Put one event on its way. A slip in its fields is logged, and the event is not sent."""
        clipped = {name: events.clip(value) for name, value in fields.items()}
        try:
            events.check_event(kind, clipped)
        except BadEventError as err:
            _log.error("an event was not reported: %s", err)
            return
        self._enqueue(kind, clipped)
        self._work.set()

    def _enqueue(self, kind: EventKind, fields: Mapping[str, Json]) -> None:
        event = self._event(self._queue.next_sequence(), kind, fields)
        self._queue.append(event)
        if self._queue.fault != self._fault:
            self._fault = self._queue.fault
            if self._fault:
                _log.error("the event queue %s; events are kept in memory until it can be", self._fault)

    async def run(self) -> None:
        """Send events until `stop`, and end with one last try."""
        failures = 0
        while not self._stopped.is_set():
            await self._work.wait()
            await self._rest(_GATHER)
            with suppress(RuntimeError):  # no thread to be had: what is queued is sent all the same
                await asyncio.to_thread(self._queue.sync)
            if await self._send_all(quiet=failures > 0):
                failures = 0
                continue
            chance = random.random()  # noqa: S311 - spreads devices, hides nothing
            await self._rest(decide_wait(failures, self._retry_after, chance))
            failures += 1
        if len(self._queue) or self._queue.lost:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._send_all(quiet=True), LAST_WORD)

    def stop(self) -> None:
        """Have `run` end soon."""
        self._stopped.set()
        self._work.set()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)

    async def _send_all(self, *, quiet: bool) -> bool:
        """Send what waits. Returns whether the controller took it."""
        try:
            if not self._in_step:
                await self._get_in_step()
            while batch := self._next_batch():
                await self._send(batch)
        except (UnreachableError, UntrustedError, RefusedError, MessageError) as err:
            self._in_step = False
            self._retry_after = getattr(err, "retry_after", None)
            level = logging.DEBUG if quiet else logging.WARNING
            _log.log(level, "events cannot be sent yet (%d wait): %s", len(self._queue), err)
            return False
        self._work.clear()
        return True

    async def _get_in_step(self) -> bool:
        """Ask what the controller holds, by sending nothing, and number on from there; tell whether that was needed."""
        reply = await self._courier.ask(endpoints.EVENTS, EventBatch(()).to_dict())
        held = EventReceipt.from_dict(reply).sequence
        self._account(held)
        self._loss = None
        self._in_step = True
        moved = self._queue.settle(held)
        if moved:
            _log.warning("the event counter does not fit the controller's: going on from %d", held)
        return moved

    def _account(self, held: int) -> None:
        """Take note that the controller has heard of a loss, where it has."""
        if self._loss and held >= self._loss[0]:
            self._queue.forgive(self._loss[1])
            self._loss = None

    async def _send(self, batch: tuple[NodeEvent, ...]) -> None:
        try:
            reply = await self._courier.ask(endpoints.EVENTS, EventBatch(batch).to_dict())
        except RefusedError as err:
            if err.status not in (400, 413, 422):
                raise
            if not await self._get_in_step():  # the numbers are good: it is one of the events
                await self._send_singly(batch, err)
            return
        self._settle(batch, EventReceipt.from_dict(reply))

    async def _send_singly(self, batch: tuple[NodeEvent, ...], refusal: RefusedError) -> None:
        """Find the event that the controller will not have, so that the others are not held up by it."""
        if len(batch) > 1:
            for event in batch:
                await self._send((event,))
            return
        _log.error("the controller will not take event %s (%s): %s", batch[0].code, batch[0].uid, refusal)
        self._queue.drop(batch[0].sequence)
        if batch[0].code == events.NODE_EVENTS_LOST.code:
            self._queue.forgive(self._queue.lost)

    def _settle(self, batch: tuple[NodeEvent, ...], receipt: EventReceipt) -> None:
        if not batch[0].sequence <= receipt.sequence <= batch[-1].sequence:
            raise MessageError(f"a receipt for {receipt.sequence}, which was not asked for")
        self._queue.forget(receipt.sequence)
        self._account(receipt.sequence)

    def _next_batch(self) -> tuple[NodeEvent, ...]:
        """Return the oldest events; after the newest, how many were lost on the way."""
        batch = self._queue.batch()
        if not self._queue.lost or len(batch) < len(self._queue) or len(batch) == limits.EVENT_BATCH_MAX:
            return batch
        self._loss = (self._queue.next_sequence(), self._queue.lost)
        fields: dict[str, Json] = {**self._node, "count": self._queue.lost}
        return (*batch, self._event(self._loss[0], events.NODE_EVENTS_LOST, fields))

    def _event(self, sequence: int, kind: EventKind, fields: Mapping[str, Json]) -> NodeEvent:
        """Return an event of this moment, by the corrected time; where the device's own differs, by that as well."""
        device, _ = self._clock.times()
        now, said = self._clock.now(), dict(fields)
        if abs(device - to_milliseconds(now)) >= _DIFFERS:
            said["device_time"] = _format_device(device)
        return NodeEvent(sequence, str(uuid.uuid4()), kind.code, format_instant(now), said)


def _format_device(milliseconds: int) -> str:
    try:
        return format_instant(from_milliseconds(milliseconds))
    except OverflowError:
        return f"{milliseconds} ms after 1970"
