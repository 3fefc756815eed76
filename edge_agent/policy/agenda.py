"""What waits to be uploaded, kept so that the next one is found without looking at all of them.

A device that was away for long has thousands of recordings. Those that are live are few, and are all looked at; of
those that have ended only two can come next: the first of those that may be tried now, and the first of those that
wait by themselves. `edge_agent.policy.turn` chooses between them as it would between all.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from heapq import heappop, heappush
from typing import Generic, TypeVar

from edge_agent.policy.answer import hasten
from edge_agent.policy.turn import FRESH, Nothing, Progress, Upload, Wait, Waiting, decide_next, decide_step, rank
from edge_agent.policy.upload import PIECE_MIN, RecordingSettings
from protocol.names import SessionId

W = TypeVar("W", bound=Waiting)


class Agenda(Generic[W]):
    """The recordings that wait, and how far each is. Does no input or output."""

    def __init__(self, settings: RecordingSettings) -> None:
        self._settings = settings
        self._waiting: dict[SessionId, W] = {}
        self._live: set[SessionId] = set()
        self._progress: dict[SessionId, Progress] = {}
        # Of the ended: those that may be tried, in order, and those that wait until a time. What has changed since
        # is found out when its turn comes. `_queued` are those in `_order`.
        self._order: list[tuple[float, SessionId]] = []
        self._queued: set[SessionId] = set()
        self._later: list[tuple[float, SessionId]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_live(self) -> bool:
        """Whether any of them is live."""
        return bool(self._live)

    def find(self, session: SessionId) -> W | None:
        """Return a recording; None where it does not wait."""
        return self._waiting.get(session)

    def put(self, one: W) -> None:
        """Take note of a recording, or of how it stands now."""
        self._waiting[one.session] = one
        if one.is_live:
            self._live.add(one.session)
        else:
            self._live.discard(one.session)
            self._queue(one.session)

    def drop(self, session: SessionId) -> None:
        """Forget a recording that does not wait any more."""
        self._waiting.pop(session, None)
        self._progress.pop(session, None)
        self._live.discard(session)

    def progress(self, session: SessionId) -> Progress:
        """Return how far a recording is."""
        return self._progress.get(session, FRESH)

    def advance(self, session: SessionId, known: Progress) -> None:
        """Take note of how far a recording is now."""
        self._progress[session] = known
        if session not in self._live:
            self._queue(session)

    def hasten(self, now: float) -> None:
        """Have those try again that wait for no more than the link."""
        for session, known in list(self._progress.items()):
            if (sooner := hasten(known, now)) is not known:
                self.advance(session, sooner)

    def choose(self, *, now: float, local: datetime) -> Upload | Wait | Nothing:
        """Return what `decide_next` would choose of all that waits."""
        self._settle_order(now)
        found = [self._waiting[session] for session in self._candidates()]
        return decide_next(found, self._progress, self._settings, now=now, local=local)

    def _candidates(self) -> Iterator[SessionId]:
        yield from self._live
        for heap in (self._order, self._later):
            if heap:
                yield heap[0][1]

    def _settle_order(self, now: float) -> None:
        """Have at the head of each of the two only what belongs there."""
        while self._later and (self._later[0][0] <= now or not self._waits_until(*self._later[0])):
            self._queue(heappop(self._later)[1])
        while self._order and not self._is_free(self._order[0][1], now):
            session = heappop(self._order)[1]
            self._queued.discard(session)
            if self._is_due(session):
                heappush(self._later, (self.progress(session).not_before, session))

    def _queue(self, session: SessionId) -> None:
        if self._is_due(session) and session not in self._queued:
            self._queued.add(session)
            heappush(self._order, (rank(self._waiting[session], self._settings.upload_order), session))

    def _is_due(self, session: SessionId) -> bool:
        """Tell whether there is something to be done with a recording that has ended, at some time."""
        one = self._waiting.get(session)
        return one is not None and not one.is_live and decide_step(one, self.progress(session), PIECE_MIN) is not None

    def _is_free(self, session: SessionId, now: float) -> bool:
        return self._is_due(session) and self.progress(session).not_before <= now

    def _waits_until(self, moment: float, session: SessionId) -> bool:
        return self._is_due(session) and self.progress(session).not_before == moment
