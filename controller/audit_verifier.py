"""Whether the audit log is as it was written, kept up to date: only what was added since is checked.

It begins anew where something changed behind the place that it has come to, and now and then in any case: a line that
was changed in the newest file, in place, shows in nothing but its content.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from controller.audit import AuditError, AuditLog
from controller.policy.chain import GENESIS, Broken, ChainCheck, Intact
from protocol.events import EventKind, Json
from protocol.instants import format_instant

# So much is checked in one call, and for so long; the next goes on.
BYTES_A_CALL = 16 * 1024 * 1024
_SECONDS_A_CALL = 0.15
# So many lines are checked before the clock is looked at again.
_LINES_AT_ONCE = 500
ANEW = timedelta(hours=1)

State = Literal["intact", "broken", "checking", "unreadable"]
_Mark = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Verification:
    """The state of the chain.

    Attributes:
        state: whether it is intact, was broken, has not been checked to its end yet, or cannot be read.
        lines: events checked.
        days: files checked; there is one a day.
        last_hash: of the newest line checked. Noted elsewhere, it proves later that nothing before it was cut off:
            ``tctl audit verify --noted=HASH``.
        problem: what does not fit, and where; or why it cannot be read.
        at: when that was found.
        checked, total: bytes, for as long as it is being checked.
        recovered: how often a crash tore a line.
    """

    state: State
    lines: int
    days: int
    last_hash: str
    problem: str
    at: datetime
    checked: int
    total: int
    recovered: int = 0

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "state": self.state,
            "lines": self.lines,
            "days": self.days,
            "last_hash": self.last_hash,
            "problem": self.problem,
            "at": format_instant(self.at),
            "checked": self.checked,
            "total": self.total,
            "recovered": self.recovered,
        }


class AuditVerifier:
    """Checks the log, a piece a call. Any thread may ask; each process keeps its own place.

    Args:
        log: what is checked.
        clock: the time, UTC.
        opening: the kind of event that the log was begun with; see `AuditLog.verify`.
        most: bytes that are checked in one call, or a little more.
    """

    def __init__(
        self,
        log: AuditLog,
        clock: Callable[[], datetime],
        opening: EventKind | None = None,
        most: int = BYTES_A_CALL,
    ) -> None:
        self._log = log
        self._clock = clock
        self._opening = opening
        self._most = most
        self._lock = threading.Lock()
        self._round = _Round(log, clock(), opening)
        # What the round before this one found, to be shown until this one is over.
        self._former: Verification | None = None

    def look(self) -> Verification:
        """Check what was added, or as much of it as one call may, and return the state. Raises nothing."""
        with self._lock:
            try:
                return self._look(self._clock())
            except AuditError as err:
                self._begin(self._clock(), None)
                return Verification("unreadable", 0, 0, GENESIS, str(err), self._clock(), 0, 0)

    def _look(self, now: datetime) -> Verification:
        files = self._log.stats()
        if self._round.is_overtaken(files):
            self._begin(now, None)
        elif self._round.is_over and not timedelta() <= now - self._round.begun < ANEW:
            self._begin(now, self._round.found(files, now))
        self._round.go_on(files, self._most)
        found = self._round.found(files, now)
        if found.state == "checking" and self._former is not None:
            return self._former  # everything is looked at once more, and nothing shows that it should not hold
        self._former = None
        return found

    def _begin(self, now: datetime, former: Verification | None) -> None:
        self._round = _Round(self._log, now, self._opening)
        self._former = former


class _Round:
    """One check of the whole log, from its first line on.

    Attributes:
        begun: when.
        is_over: whether it has come to the end, and only goes on with what is added.
    """

    def __init__(self, log: AuditLog, begun: datetime, opening: EventKind | None) -> None:
        self.begun = begun
        self.is_over = False
        self._log = log
        self._check = ChainCheck(opening=opening)
        self._broken: Broken | None = None
        self._done: dict[Path, _Mark] = {}
        self._path: Path | None = None
        self._seen: _Mark = (0, 0, 0)
        self._offset = self._number = 0

    def is_overtaken(self, files: Mapping[Path, os.stat_result]) -> bool:
        """Tell whether what was checked is not what is there any more."""
        passed = [*self._done, *([self._path] if self._path else [])]
        if list(files)[: len(passed)] != passed or any(_mark(files[path]) != mark for path, mark in self._done.items()):
            return True
        return self._path is not None and self._is_rewritten(_mark(files[self._path]))

    def _is_rewritten(self, mark: _Mark) -> bool:
        """Tell whether the file that it stands in shows something else than that lines were added."""
        is_grown = mark[0] == self._seen[0] and mark[1] > self._seen[1]
        return not is_grown and mark != self._seen

    def go_on(self, files: Mapping[Path, os.stat_result], most: int) -> None:
        """Check on, up to some `most` bytes."""
        allowed, last = _Allowance(most), max(files, default=None)
        for path, stat in files.items():
            if path in self._done or self._broken is not None:
                continue
            if path != self._path:
                self._path, self._offset, self._number = path, 0, 0
            self._seen = _mark(stat)
            if not self._read(path, stat.st_size, allowed, is_last=path == last):
                self.is_over = False
                return
            if path != last and self._broken is None:
                self._done[path], self._path = self._seen, None
        self.is_over = True

    def _read(self, path: Path, size: int, allowed: _Allowance, *, is_last: bool) -> bool:
        """Check lines of one file; tell whether it got to the end, or to a line that is broken."""
        for line in self._log.lines(path, size, start=self._offset, number=self._number):
            if allowed.is_spent(line.number):
                return False
            if not line.whole and is_last:
                break  # it is being written, or a crash tore it: the next writer says so
            problem = self._check.take(line)
            length = len(line.data) + line.whole
            allowed.left -= length
            self._offset, self._number = self._offset + length, line.number
            if problem is not None:
                self._broken = Broken(line.file, line.number, problem)
                break
        return True

    def found(self, files: Mapping[Path, os.stat_result], now: datetime) -> Verification:
        """Return what there is to say so far."""
        end = self._broken or self._check.end()
        check, total = self._check, sum(stat.st_size for stat in files.values())
        passed = sum(files[path].st_size for path in self._done) + self._offset * (self._path is not None)
        days = len(self._done) + (self._path is not None)
        if not self.is_over:
            return Verification("checking", check.count, days, check.last_hash, "", now, passed, total, check.recovered)
        if isinstance(end, Intact):
            return Verification("intact", end.count, days, end.last_hash, "", now, total, total, end.recovered)
        place = f"{end.file}, line {end.line}: " if end.file else ""
        return Verification(
            "broken", check.count, days, check.last_hash, place + end.problem, now, passed, total, check.recovered
        )


class _Allowance:
    """What one call may do. The clock is looked at after so many lines alone: a short log is checked in one call.

    Attributes:
        left: bytes.
    """

    def __init__(self, most: int) -> None:
        self.left = most
        self._until = time.monotonic() + _SECONDS_A_CALL

    def is_spent(self, number: int) -> bool:
        """Tell whether the line of that number is for the next call."""
        return self.left <= 0 or (not number % _LINES_AT_ONCE and time.monotonic() >= self._until)


def _mark(stat: os.stat_result) -> _Mark:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
