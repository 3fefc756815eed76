"""Recordings on their way from the spool to the controller.

Decides nothing: `edge_agent.policy.turn` and `edge_agent.policy.answer` do; the sending itself is done by a process of
its own, `edge_agent.upload_worker`. What is known here is forgotten when the agent ends: the files and the controller
know how far each upload is.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from edge_agent.child import Children
from edge_agent.clock import Span
from edge_agent.courier import Address
from edge_agent.fault import UnreachableError
from edge_agent.policy.agenda import Agenda
from edge_agent.policy.answer import Answer, Finding, Verdict, advance, decide_rest, judge
from edge_agent.policy.turn import (
    Begin,
    Check,
    Look,
    Nothing,
    Progress,
    Refuse,
    Remove,
    Send,
    Upload,
    Wait,
    decide_next,
    decide_step,
)
from edge_agent.policy.upload import RecordingSettings, decide_piece, first_piece, smaller_piece
from edge_agent.spool import Spool, Waiting
from edge_agent.worker import Worker
from protocol import events, limits
from protocol.events import EventKind, Json
from protocol.instants import to_milliseconds
from protocol.names import SessionId
from protocol.sizes import format_size

_log = logging.getLogger("skerry.agent")
# The worker's own bounds: on its start, on a connection, and on a request over one that turns out to be dead.
_PATIENCE = 10 * limits.HTTP_TIMEOUT.total_seconds()
# Seconds for the rest of what has just ended when the agent stops.
LAST_WORD = 5.0
_LARGE = 10 * 1024 * 1024
# While something waits, what a person did to the spool by hand is looked for so often.
_RESCAN = 60.0
_ORDERS = {Begin: "begin", Look: "look", Send: "send"}


class Uploader:
    """Sends what waits in the spool, for as long as it runs."""

    def __init__(  # noqa: PLR0913 - each is something else that it needs
        self,
        spool: Spool,
        address: Callable[[], Address],
        children: Children,
        settings: RecordingSettings,
        *,
        times: Callable[[], tuple[int, int]],
        span: Span,
        report: Callable[[EventKind, Mapping[str, Json]], None],
    ) -> None:
        """Prepare.

        Args:
            spool: where the recordings are.
            address: says where they go at the moment.
            children: who waits for the end of the worker.
            settings: what the device's owner says about recordings.
            times: the time by the device's clock, and by the controller's as far as it is known; ms since 1970.
            span: says between which instants the time surely is.
            report: takes an audit event, but for what names the node.
        """
        self._spool = spool
        self._address = address
        self._worker = Worker("edge_agent.upload_worker", children)
        self._settings = settings
        self._times = times
        self._span = span
        self._report = report
        self._changed = asyncio.Event()
        self._is_stopped = False
        self._agenda: Agenda[Waiting] = Agenda(settings)
        self._seen_live: set[SessionId] = set()
        self._announced: set[SessionId] = set()
        self._piece = first_piece(settings.upload_rate)
        self._turn = 0
        # How often in a row the controller was unavailable, and until when it is left alone for that.
        self._failures = 0
        self._rest_until = 0.0
        self._is_asked_off = False
        self._is_closed = False
        self._rescan_at = time.monotonic() + _RESCAN
        spool.on_change = self.wake
        self._note_all()

    def wake(self) -> None:
        """Take note of what has changed in the spool."""
        self._changed.set()

    def hurry(self) -> None:
        """Try again at once, unless the controller asked to be left alone: the link is known to be back."""
        if not self._is_asked_off:
            self._rest_until = 0.0
        self._agenda.hasten(time.monotonic())
        self.wake()

    def stop(self) -> None:
        """Have `run` end soon."""
        if len(self._agenda) and not self._is_stopped:
            waits = _how_many_wait(len(self._agenda))
            _log.info("%s: what is under way is sent for a few seconds more, the rest after the next start", waits)
        self._is_stopped = True
        self._changed.set()

    async def run(self) -> None:
        """Send until `stop`, and then for a moment more what has just ended."""
        try:
            while not self._is_stopped:
                await self._carry_on()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORD):
                    await self._finish()
        finally:
            self._worker.close()

    async def _carry_on(self) -> None:
        """Do the next thing there is to do, or wait for one."""
        self._note_changes()
        if len(self._agenda) and time.monotonic() >= self._rescan_at:
            await self._rescan()
        match self._next():
            case Upload(session):
                await self._see_to(session)
            case Wait(seconds):
                await self._pause(seconds)
            case Nothing():
                await self._pause(_RESCAN if len(self._agenda) else None)

    async def _finish(self) -> None:
        while True:
            self._note_changes()
            ended = [one for session in self._seen_live if (one := self._agenda.find(session))]
            progress = {one.session: self._agenda.progress(one.session) for one in ended}
            now = time.monotonic()
            found = decide_next(ended, progress, self._settings, now=now, local=self._local())
            if not isinstance(found, Upload) or self._rest_until > now:
                return
            await self._see_to(found.session)

    def _next(self) -> Upload | Wait | Nothing:
        now = time.monotonic()
        found = self._agenda.choose(now=now, local=self._local())
        is_closed = isinstance(found, Wait) and found.is_closed
        if is_closed and not self._is_closed:
            _log.info("%s for the upload window %s", _how_many_wait(len(self._agenda)), self._settings.upload_window)
        self._is_closed = is_closed
        if isinstance(found, Upload) and self._rest_until > now:
            return Wait(self._rest_until - now)
        return found

    def _local(self) -> datetime:
        """Return the time of day at the device's place. Its own clock may never have been set."""
        return datetime.fromtimestamp(self._times()[1] / 1000).astimezone()

    async def _pause(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    # --- the spool ----------------------------------------------------------------------------------------------------

    def _note_all(self) -> None:
        for one in self._spool.waiting():
            self._note(one.session, one)

    def _note_changes(self) -> None:
        self._changed.clear()
        for session, one in self._spool.changes().items():
            self._note(session, one)

    def _note(self, session: SessionId, one: Waiting | None) -> None:
        if one is None:
            self._agenda.drop(session)
            self._seen_live.discard(session)
            self._announced.discard(session)
            return
        if one.is_live:
            self._seen_live.add(session)
        self._agenda.put(one)

    async def _rescan(self) -> None:
        self._rescan_at = time.monotonic() + _RESCAN
        try:
            await _in_thread(self._spool.rescan)
        except OSError as err:
            _log.warning("the recordings cannot be listed: %s", err.strerror or err)
        self._note_changes()

    # --- one step with one recording --------------------------------------------------------------------------------

    async def _see_to(self, session: SessionId) -> None:
        one = self._agenda.find(session)
        if one is None:
            return
        self._turn += 1
        known = replace(self._agenda.progress(session), turn=self._turn)
        self._agenda.advance(session, known)
        match decide_step(one, known, self._piece):
            case Begin() | Look() | Send() as step:
                await self._ask(one, known, step)
            case Check(mark):
                await self._check(one, known, mark)
            case Remove():
                await self._remove(one)
            case Refuse(reason):
                await self._set_aside(one, reason)
            case None:
                """It was due a moment ago, and is not any more."""

    async def _ask(self, one: Waiting, known: Progress, step: Begin | Look | Send) -> None:
        self._announce(one, step)
        reply = await self._order({"do": _ORDERS[type(step)], "offset": 0, "size": 0, "length": None}, one, step)
        if "broken" in reply:
            finding = Finding(Verdict.NONSENSE, None, f"its file cannot be read: {reply['broken']}")
        else:
            answer = Answer(reply["status"], reply["text"], reply.get("headers", {}))
            finding = judge(step, answer, one.size, is_live=one.is_live)
            self._mind_link(finding, answer)
            self._mind_pace(step, finding, reply)
        self._say(one, known, finding)
        chance = random.random()  # noqa: S311 - spreads devices, hides nothing
        self._advance(one, advance(known, step, finding, now=time.monotonic(), chance=chance))

    def _advance(self, one: Waiting, known: Progress) -> None:
        if self._agenda.find(one.session):
            self._agenda.advance(one.session, known)

    async def _order(
        self, order: dict[str, Any], one: Waiting, step: Begin | Look | Send | None = None
    ) -> dict[str, Any]:
        order |= {"there": _there(self._address(), self._settings), "session": one.session, "path": str(one.path)}
        order["span"] = [to_milliseconds(instant) for instant in self._span()]
        patience = _PATIENCE
        if isinstance(step, Send):
            order |= {"offset": step.offset, "size": step.size, "length": step.length}
            patience += 4 * step.size / (self._settings.upload_rate or step.size or 1)
        try:
            return await self._worker.carry_out(order, patience)
        except UnreachableError as err:
            return {"status": 0, "text": str(err)}

    def _mind_link(self, finding: Finding, answer: Answer) -> None:
        """Leave the controller alone for a while where it is unavailable."""
        if finding.verdict is not Verdict.UNAVAILABLE:
            if self._failures:
                _log.info("recordings are uploaded again")
            self._failures = 0
            self._is_asked_off = False
            return
        level = logging.DEBUG if self._failures else logging.WARNING
        waits = _how_many_wait(len(self._agenda))
        _log.log(level, "recordings cannot be uploaded now (%s): %s", waits, finding.reason)
        chance = random.random()  # noqa: S311 - spreads devices, hides nothing
        self._rest_until = time.monotonic() + decide_rest(self._failures, answer, chance)
        self._is_asked_off = answer.retry_after is not None
        self._failures += 1

    def _mind_pace(self, step: Begin | Look | Send, finding: Finding, reply: dict[str, Any]) -> None:
        """Choose how much the next request is to carry."""
        if not isinstance(step, Send):
            return
        if finding.verdict is Verdict.DONE:
            has_live = self._agenda.has_live
            self._piece = decide_piece(self._piece, step.size, reply["seconds"], is_live=has_live)
        else:
            self._piece = smaller_piece(step.size)

    async def _check(self, one: Waiting, known: Progress, mark: str) -> None:
        reply = await self._order({"do": "check", "mark": mark}, one)
        if "digest" in reply:
            self._advance(one, replace(known, mark=reply["mark"], digest=reply["digest"]))
        elif "broken" in reply:
            await self._set_aside(one, f"it has arrived whole, but the file here cannot be read: {reply['broken']}")
        else:
            self._put_off(one, reply["text"])

    # --- the end ----------------------------------------------------------------------------------------------------

    async def _remove(self, one: Waiting) -> None:
        try:
            await _in_thread(self._spool.remove, one.session)
        except OSError as err:
            self._put_off(one, f"it has arrived, but its file cannot be removed: {err.strerror or err}")
            return
        if one.session in self._announced:
            _log.info("recording %s has been uploaded (%s)", one.session, format_size(one.size))
        self._note_changes()

    async def _set_aside(self, one: Waiting, reason: str) -> None:
        try:
            await _in_thread(self._spool.refuse, one.session)
        except OSError as err:
            self._put_off(one, f"it was refused ({reason}), but cannot be put aside: {err.strerror or err}")
            return
        _log.error("recording %s was refused and stays on this device (%s.refused): %s", one.session, one.path, reason)
        self._report(events.RECORDING_SET_ASIDE, {"sid": one.session, "reason": reason, "bytes": one.size})
        self._note_changes()

    def _put_off(self, one: Waiting, reason: str) -> None:
        """Leave one recording alone for a while."""
        known, finding = self._agenda.progress(one.session), Finding(Verdict.NONSENSE, None, reason)
        self._say(one, known, finding)
        chance = random.random()  # noqa: S311 - spreads devices, hides nothing
        after = advance(known, Look(), finding, now=time.monotonic(), chance=chance)
        self._advance(one, replace(after, standing=known.standing))

    # --- the log ----------------------------------------------------------------------------------------------------

    def _announce(self, one: Waiting, step: Begin | Look | Send) -> None:
        if isinstance(step, Send) and one.session not in self._announced and one.size - step.offset > _LARGE:
            self._announced.add(one.session)
            _log.info("uploading recording %s: %s to go", one.session, format_size(one.size - step.offset))

    def _say(self, one: Waiting, known: Progress, finding: Finding) -> None:
        if finding.verdict in {Verdict.NONSENSE, Verdict.FORBIDDEN}:
            level = logging.DEBUG if known.failures else logging.WARNING
            _log.log(level, "recording %s cannot be uploaded yet: %s", one.session, finding.reason)


def _how_many_wait(count: int) -> str:
    return "1 recording waits" if count == 1 else f"{count} recordings wait"


async def _in_thread(work: Callable[..., None], *arguments: SessionId) -> None:
    """Do `work` off the loop. Raises `OSError`, also where the system has no thread to give."""
    try:
        await asyncio.to_thread(work, *arguments)
    except RuntimeError as err:
        raise OSError(errno.EAGAIN, str(err)) from None


def _there(address: Address, settings: RecordingSettings) -> dict[str, Any]:
    return {
        "host": address.host,
        "port": address.port,
        "name": address.name,
        "anchors": list(address.anchors),
        "client": list(address.client),
        "rate": settings.upload_rate,
    }
