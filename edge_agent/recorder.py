"""Recording a session: a tap that gathers in memory what the session says, and hands it to a thread in pieces.

Nothing in here waits for the disk. What it is told to write is written, locked and synced by `edge_agent.tape` in one
thread for all sessions; a session that says more than the disk can take is held, as by a client that cannot keep up.
What becomes of a session that cannot be recorded is decided by `edge_agent.policy.spool`: it ends; or it goes on, and
is recorded again as soon as that is possible.

File transfers by SFTP are not recorded: their bytes are no text to play back, and the audit log tells of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from edge_agent.child import Ended, TerminalSize
from edge_agent.gathering import Gathering
from edge_agent.policy.spool import decide_failure, explain, may_pass, stalled
from edge_agent.session import Session, Stream
from edge_agent.spool import CannotRecordError, disk_problem
from protocol import limits
from protocol.decision import Refused
from protocol.names import SessionId
from protocol.recordings import Mode

if TYPE_CHECKING:
    from edge_agent.tape import Progress, Tape
    from protocol.recording.cast import Code

T = TypeVar("T")
_log = logging.getLogger("skerry.agent")
_GATHER = limits.RECORDING_GATHER.total_seconds()
_GATHER_MAX = limits.RECORDING_GATHER_MAX
_PENDING_MAX = limits.RECORDING_PENDING_MAX
_LOSS_MAX = limits.RECORDING_LOSS_MAX.total_seconds()
_AGAIN = limits.RECORDING_RETRY.total_seconds()


@dataclass(frozen=True, slots=True)
class Subject:
    """A session that is about to begin.

    Attributes:
        command: the command line; empty for a shell.
        size: the terminal's columns and rows; None where there is no terminal.
        term: the terminal's type.
        shell: the login's shell.
    """

    session: SessionId
    user: str
    login: str
    command: str
    size: tuple[int, int] | None
    term: str
    shell: str


class Desk(Protocol):
    """What recorders need of who began them, see `edge_agent.studio`."""

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have the one thread do `work`."""

    def busy_for(self) -> float:
        """Return for how many seconds the thread has been at what it is doing."""

    def changed(self) -> None:
        """Hear that a recording grew."""

    def closed(self, recorder: Recorder) -> None:
        """Hear that a recording has its last seal."""

    def put_off(self, recorder: Recorder) -> None:
        """Hear that a recording could not be ended yet: nobody need wait for it."""

    def tell_gap(self, subject: Subject, reason: str, lost: int = 0) -> None:
        """Hear that something of a session is not on record: why, and how many bytes as far as is known."""


class Recorder:
    """The tap of one session.

    Attributes:
        dismiss: called with a text for the person where the session must end for want of a recording.
        changed: called when `is_recording` may have changed.
    """

    def __init__(
        self,
        desk: Desk,
        subject: Subject,
        mode: Mode,
        tape: Tape,
        *,
        with_input: bool,
        stall: float = limits.RECORDING_STALL.total_seconds(),
    ) -> None:
        self.subject = subject
        self.mode = mode
        self.dismiss: Callable[[str], None] = _log.warning
        self.changed: Callable[[], None] = lambda: None
        self._desk = desk
        self._tape = tape
        self._with_input = with_input
        self._stall = stall
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._session: Session | None = None
        self._gathering = Gathering()
        self._in_flight = 0  # bytes of memory on the way to the disk
        self._is_holding = self._is_busy = self._is_broken = False
        # Why nothing can be recorded at present, how many bytes that has cost so far, and how many were told of.
        self._problem: Refused | None = None
        self._missing = self._told = 0
        self._how: Ended | None = None
        self._unsafe_from: int | None = None  # when the oldest came that is not known to be safe
        self._slowest = _LOSS_MAX / 2
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self._arm(_GATHER)

    @property
    def is_recording(self) -> bool:
        """Whether what the session says is recorded at present."""
        return not self._is_broken and self._problem is None

    # --- what the session says ----------------------------------------------------------------------------------------

    def started(self, session: Session) -> None:
        """Keep the session, to hold it where the disk is behind."""
        self._session = session

    def output(self, data: bytes, stream: Stream) -> None:
        """Record output."""
        self._take("e" if stream == "error" else "o", data)

    def input(self, data: bytes) -> None:
        """Record input, where the cluster says so."""
        if self._with_input:
            self._take("i", data)

    def resized(self, size: TerminalSize) -> None:
        """Record the new size."""
        self._take("r", b"%dx%d" % size[:2])

    def input_ready(self) -> None:
        """Take no notice."""

    def joined(self, user: str) -> None:
        """Record that one more person takes part."""
        self._take("j", user.encode())

    def left(self, user: str) -> None:
        """Record that a person takes part no longer."""
        self._take("l", user.encode())

    def ended(self, how: Ended) -> None:
        """Record the end. Only the first call counts."""
        if self._how is None:
            self._how = how
            if not self._is_busy and not self._is_broken:
                self._finish()

    def _take(self, code: Code, data: bytes) -> None:
        if self._is_broken or not data:
            return
        gathering = self._gathering
        gathering.add(self._now(), code, data)
        if gathering.is_dropping:
            return
        if gathering.cost + self._in_flight > _PENDING_MAX and not self._is_holding:
            self._hold()
        if gathering.cost >= _GATHER_MAX:
            self._flush()
        elif len(gathering) == 1:
            self._arm(_GATHER)

    def _now(self) -> int:
        return int((self._loop.time() - self._began) * 1000)

    # --- to the disk --------------------------------------------------------------------------------------------------

    def _arm(self, seconds: float) -> None:
        """Flush in so many seconds at the latest."""
        when = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > when:
            self._disarm()
            self._timer = self._loop.call_at(when, self._flush)

    def _disarm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._disarm()
        if not self._is_busy and not self._is_broken:
            self._in_flight = self._gathering.cost
            if self._unsafe_from is None:
                self._unsafe_from = self._gathering.oldest
            self._run(partial(self._tape.write, self._gathering.take(), self._now()), self._written)

    def _run(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        self._is_busy = True
        self._watch = self._loop.call_later(self._stall, self._look)
        self._desk.submit(work).add_done_callback(partial(self._done, then))

    def _done(self, then: Callable[[T], None], future: asyncio.Future[T]) -> None:
        self._is_busy = False
        self._in_flight = 0
        if self._watch:
            self._watch.cancel()
        if future.cancelled():
            return
        if err := future.exception():
            self._fail(as_problem(err))
        else:
            then(future.result())

    def _written(self, progress: Progress) -> None:
        self._desk.changed()
        if self._go_on():
            if progress.is_synced:
                self._tell_slowness()
            if self._gathering.cost <= _PENDING_MAX // 2:
                self._release()
            if self._gathering.cost >= _GATHER_MAX:
                self._flush()
            else:
                self._arm_for(progress)

    def _go_on(self) -> bool:
        """Do what is more urgent than more of the same; return whether nothing is."""
        if self._is_broken:
            self._break_off()
        elif self._how:
            self._finish()
        elif self._gathering.is_dropping:  # what was late is done
            self._resume()
        else:
            return True
        return False

    def _arm_for(self, progress: Progress) -> None:
        oldest = self._gathering.oldest
        if oldest is not None:
            self._arm(max(_GATHER - (self._now() - oldest) / 1000, 0.0))
        if progress.due is not None:
            self._arm(progress.due)

    def _tell_slowness(self) -> None:
        since, self._unsafe_from = self._unsafe_from, None
        seconds = (self._now() - since) / 1000 if since is not None else 0.0
        if seconds > 2 * self._slowest:
            self._slowest = seconds
            _log.warning(
                "the disk is slow: it took %.1f s until what session %s said was safe there",
                seconds,
                self.subject.session,
            )

    def _finish(self) -> None:
        self._disarm()
        gathering, self._missing = self._gathering, self._count_missing()
        dropped = gathering.take_dropped() if gathering.is_dropping else None
        pieces = gathering.take() if dropped is None else gathering.kept
        work = partial(self._tape.finish, pieces, _outcome(self._how), self._now(), dropped=dropped)
        self._run(work, self._finished)

    def _finished(self, _: None) -> None:
        self._tell_rest()
        self._end()

    def _end(self) -> None:
        if self._again:
            self._again.cancel()
        self._desk.closed(self)

    # --- where it goes wrong ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """See whether the thread is at one thing for too long; while it only has much to do, wait."""
        rest = self._stall - self._desk.busy_for()
        if rest > 0:
            self._watch = self._loop.call_later(rest, self._look)
        elif self._how or self._is_broken:
            self._desk.put_off(self)
        else:
            self._fail(stalled())

    def _fail(self, problem: Refused) -> None:
        if self._is_broken:  # not even that: the same again, later
            self._desk.put_off(self)
            self._try_again(self._break_off)
        elif self._how is None and may_pass(self.mode, problem):
            self._fall_silent(problem)
        else:
            self._break(problem)

    def _fall_silent(self, problem: Refused) -> None:
        """Record nothing for a while."""
        self._disarm()
        self._gathering.drop()
        self._release()
        self._try_again(self._resume)
        if self._problem is None:
            self._problem = problem
            self._told = self._missing = self._count_missing()
            self._desk.tell_gap(self.subject, problem.reason, self._told)
            self.changed()
            if not self._is_busy:
                self._run(partial(self._tape.keep, self._now()), self._kept)

    def _count_missing(self) -> int:
        return self._tape.lost + self._gathering.dropped

    def _try_again(self, call: Callable[[], None]) -> None:
        if self._again:
            self._again.cancel()
        self._again = self._loop.call_later(_AGAIN, call)

    def _kept(self, _: None) -> None:
        self._desk.changed()
        if self._is_broken or self._how:
            self._go_on()

    def _resume(self) -> None:
        """Try to record again."""
        gathering = self._gathering
        if self._is_busy:
            self._try_again(self._resume)
        elif gathering.is_dropping and not self._is_broken:
            self._missing = self._count_missing()
            gathering.is_dropping = False
            kept, dropped = gathering.kept, gathering.take_dropped()
            self._run(partial(self._tape.resume, kept, dropped, self._now()), partial(self._resumed, len(kept)))

    def _resumed(self, kept: int, _: None) -> None:
        self._gathering.forget_kept(kept)
        self._tell_rest()
        self.changed()
        self._desk.changed()
        if self._go_on():
            self._flush()

    def _tell_rest(self) -> None:
        """Tell what was lost after the problem had been told."""
        if self._problem and self._missing > self._told:
            reason = f"{self._problem.reason}; so it was for a while"
            self._desk.tell_gap(self.subject, reason, self._missing - self._told)
        self._problem, self._told = None, 0

    def _break(self, problem: Refused) -> None:
        """Record no more; end the session, or let it go on, as the cluster wants it."""
        self._is_broken = True
        self._disarm()
        self._gathering.drop()
        self._release()
        self._desk.tell_gap(self.subject, problem.reason, max(self._count_missing() - self._told, 0))
        if isinstance(decide_failure(self.mode, problem), Refused) and self._how is None:
            self.dismiss(explain(problem))
        self.changed()
        if self._is_busy:
            self._desk.put_off(self)  # what is under way says when it is done
        else:
            self._break_off()

    def _break_off(self) -> None:
        self._run(self._tape.break_off, lambda _: self._end())

    def _hold(self) -> None:
        self._is_holding = True
        if self._session:
            self._session.hold(self)
            self._session.hold_input(self)

    def _release(self) -> None:
        if self._is_holding:
            self._is_holding = False
            if self._session:
                self._session.release(self)
                self._session.release_input(self)


def as_problem(err: BaseException) -> Refused:
    """Return what went wrong, in words for a person. What nobody has thought of goes to the log whole."""
    if isinstance(err, CannotRecordError):
        return err.problem
    if isinstance(err, OSError):
        return disk_problem(err)
    _log.error("the recorder failed", exc_info=err)
    return Refused("the recorder failed", "D7")


def _outcome(how: Ended | None) -> str:
    if how is None or how.is_left:
        return ""
    return f"SIG{how.signal}" if how.signal is not None else str(how.code)
