"""Where sessions are recorded: who begins recordings, keeps their one thread, and puts in order what a crash left."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from edge_agent.child import Ended
from edge_agent.identity import Identity, IdentityError
from edge_agent.policy.spool import Unrecorded, decide_begin, decide_failure, stalled
from edge_agent.recorder import Recorder, Subject, as_problem
from edge_agent.recovery import Hand, Recovered
from edge_agent.side_thread import SideThread
from edge_agent.spool import CannotRecordError, Spool, disk_problem
from edge_agent.terms import Terms
from protocol import events, limits
from protocol.decision import Refused
from protocol.events import EventKind, Json
from protocol.recordings import Mode, RecordingTerms

if TYPE_CHECKING:
    from edge_agent.tape import Signet, Tape

T = TypeVar("T")
_log = logging.getLogger("skerry.agent")
_RECOVER_AGAIN = 60.0
_STALL = limits.RECORDING_STALL.total_seconds()
_NO_TERMINAL = (80, 24)


class Studio:
    """Begins the recordings of this node. One for an event loop."""

    def __init__(
        self,
        identity: Identity,
        spool: Spool,
        terms: Terms,
        *,
        node: Mapping[str, Json],
        report: Callable[[EventKind, Mapping[str, Json]], None],
        stall: float = _STALL,
    ) -> None:
        """Begin none yet. A disk that takes longer than `stall` seconds over one thing does not answer."""
        self.spool = spool
        self._identity = identity
        self._terms = terms
        self._node = node
        self._report = report
        self._signet: Signet | None = None
        self._stall = stall
        self._thread = SideThread("recorder")
        self._recovery = SideThread("recovery")
        # Recordings that begin, and those that go on.
        self._beginning = self._jobs = 0
        self._open: set[Recorder] = set()
        # Those that could not even be sealed, and try again.
        self._put_off: set[Recorder] = set()
        self._less = asyncio.Event()
        self._stop = threading.Event()
        self._stopped = asyncio.Event()

    async def begin(self, subject: Subject) -> Recorder | Refused | None:
        """Begin to record a session; None where it goes on without, which the audit log hears of."""
        terms, mode = self._terms.current, self._terms.mode
        course = decide_begin(mode)
        if isinstance(course, Refused):
            return course
        if isinstance(course, Unrecorded) or terms is None or mode is None:
            return None
        if self.busy_for() >= self._stall:
            return self._without(subject, mode, stalled())
        self._beginning += 1
        try:
            begun = self.submit(partial(self._begin, subject, terms))
            make = partial(self._record, subject, mode, with_input=terms.record_input)
            return make(await self._in_time(begun, make))
        except Exception as err:  # noqa: BLE001 - whatever it is, the agent does not die of a recording
            return self._without(subject, mode, as_problem(err))
        finally:
            self._beginning -= 1
            self._tell_gone()
            self._rest()

    def _record(self, subject: Subject, mode: Mode, tape: Tape, *, with_input: bool) -> Recorder:
        recorder = Recorder(self, subject, mode, tape, with_input=with_input, stall=self._stall)
        self._open.add(recorder)
        return recorder

    async def _in_time(self, begun: asyncio.Future[Tape], make: Callable[[Tape], Recorder]) -> Tape:
        """Wait for the thread; not for a disk that does not answer. Raises `CannotRecordError`."""

        def put_away(late: asyncio.Future[Tape]) -> None:
            if not late.exception():
                make(late.result()).ended(Ended(None))

        try:
            while not begun.done() and (rest := self._stall - self.busy_for()) > 0:
                await asyncio.wait([begun], timeout=rest)
        finally:  # also where the session is over meanwhile
            if not begun.done():
                begun.add_done_callback(put_away)
        if not begun.done():
            raise CannotRecordError(stalled())
        return begun.result()

    def _begin(self, subject: Subject, terms: RecordingTerms) -> Tape:
        """Begin a recording, in a thread; the first one loads what recordings are made with."""
        from edge_agent.tape import Order, Signet, Tape

        room = self.spool.room()
        if isinstance(room, Refused):
            raise CannotRecordError(room)
        granted = self._identity.granted
        if self._signet is None:
            key = self._identity.signing_key()
            self._signet = Signet(key.sign, key.public_key().public_bytes_raw(), self._terms.times)
        order = Order(
            session=subject.session,
            user=subject.user,
            login=subject.login,
            command=subject.command,
            is_interactive=subject.size is not None,
            size=subject.size or _NO_TERMINAL,
            term=subject.term,
            shell=subject.shell,
            node=granted.node_id,
            node_name=granted.name,
            cluster=granted.cluster_name,
            started=self._terms.times(),
            key_id=terms.key_id,
            public_key=terms.public_key,
        )
        return Tape.begin(self.spool, order, self._signet)

    def _without(self, subject: Subject, mode: Mode, problem: Refused) -> Refused | None:
        course = decide_failure(mode, problem)
        if isinstance(course, Refused):
            _log.error("session %s was refused, as it cannot be recorded: %s", subject.session, problem.reason)
            return course
        self.tell_gap(subject, problem.reason)
        return None

    def tell_gap(self, subject: Subject, reason: str, lost: int = 0) -> None:
        """Have the audit log know of a session of which something is not on record."""
        _log.error("not all of session %s is on record: %s", subject.session, reason)
        fields: dict[str, Json] = {"sid": subject.session, "user": subject.user, "login": subject.login}
        if lost:
            fields["bytes"] = lost
        self._report(events.RECORDING_GAP, {**self._node, **fields, "reason": reason})

    def _tell_gone(self) -> None:
        for kept in self.spool.gone():
            _log.warning("recording %s, which the controller had refused, gave way to a new one", kept.session)
            reason = "refused by the controller, kept on the device, and given up there to make room"
            fields: dict[str, Json] = {"sid": kept.session, "bytes": kept.size, "reason": reason}
            self._report(events.RECORDING_GAP, {**self._node, **fields})

    # --- the thread ---------------------------------------------------------------------------------------------------

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have the one thread do `work`."""
        future = self._thread.submit(work)
        self._jobs += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, _: asyncio.Future[T]) -> None:
        self._jobs -= 1
        self._rest()

    def busy_for(self) -> float:
        """Return for how many seconds the thread has been at what it is doing."""
        return self._thread.busy_for()

    def _rest(self) -> None:
        """Where nothing is recorded, give back what recording takes: the thread, and what it holds in memory."""
        if not (self._open or self._beginning or self._jobs) and self._thread.is_running:
            self._thread.submit(_tidy)
            self._thread.close()

    def changed(self) -> None:
        """Pass on that a recording grew."""
        self._tell_gone()
        self.spool.on_change()

    def put_off(self, recorder: Recorder) -> None:
        """Note a recording that could not be ended yet: nobody need wait for it."""
        self._put_off.add(recorder)
        self._less.set()

    def closed(self, recorder: Recorder) -> None:
        """Note the end of a recording."""
        self._open.discard(recorder)
        self._put_off.discard(recorder)
        self._less.set()
        self.spool.on_change()
        self._rest()

    async def wait_until_sealed(self) -> None:
        """Return when every recording has its last seal, but for those that the disk would not take."""
        while self._open - self._put_off:
            self._less.clear()
            await self._less.wait()

    # --- what a crash left --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the spool ready, before anybody looks into it."""
        try:
            self.spool.open()
        except OSError as err:
            _log.error("cannot record sessions in %s: %s", self.spool.directory, disk_problem(err).reason)

    async def run(self) -> None:
        """Put in order what was left behind, and again where that failed, until `stop`."""
        while self.spool.left_behind and not self._stopped.is_set():
            try:
                await self._put_in_order()
            except (IdentityError, ValueError, OSError) as err:  # no key, or no thread
                _log.error("what was left behind cannot be put in order: %s", err)
            if self.spool.left_behind:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), _RECOVER_AGAIN)
        self._recovery.close()

    def stop(self) -> None:
        """Have `run` end."""
        self._stop.set()
        self._stopped.set()

    async def _put_in_order(self) -> None:
        """Put in order one recording after the other; each can be uploaded at once."""
        key = self._identity.signing_key()
        hand = Hand(key.sign, key.public_key().public_bytes_raw(), self._terms.times, self._stop)
        recovering = self.spool.recover(hand)
        while found := await self._recovery.submit(partial(next, recovering, None)):
            self._tell_recovered(found)
            self.spool.on_change()

    def _tell_recovered(self, found: Recovered) -> None:
        if found.outcome == "whole":
            return
        _log.warning("recording %s was left behind: %s", found.session, found.describe())
        if found.outcome in ("damaged", "removed", "strange"):
            fields: dict[str, Json] = {"sid": found.session, "reason": f"after a crash: {found.reason}"}
            if found.lost:
                fields["bytes"] = found.lost
            self._report(events.RECORDING_GAP, {**self._node, **fields})


def _tidy() -> None:
    from edge_agent.tape import tidy

    tidy()
