"""The recordings on this device: files in one directory, and nothing else.

`<session>.skr` is a recording that is being made or waits to be uploaded; `<session>.skr.refused` is one that the
controller will not have. Both kinds count. What was left behind by an agent that did not get to end its sessions is
put in order by `recover`, and is not uploaded before.

What waits is kept in memory, and read from the directory when the spool is opened and by `rescan`: what a person put
there or took away by hand is seen then.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.directory import sync_directory
from edge_agent.policy.spool import BEGIN_NEED, Kept, Room, give_way, judge_room
from edge_agent.recovery import Hand, Recovered, recover_file
from protocol import names
from protocol.decision import Granted, Refused
from protocol.names import SessionId

_log = logging.getLogger("skerry.agent")
SUFFIX = ".skr"
REFUSED = ".skr.refused"
# In so much at a time disks hand out their space, and in so many bytes the system counts it (stat(2)).
_PAGE = 4096
_BLOCK = 512
_PROBLEMS = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota on the device is used up",
    errno.EROFS: "the device's disk is read-only",
    errno.EIO: "the device's disk reports an error",
}


class CannotRecordError(Exception):
    """Something cannot be recorded; `problem` says why."""

    def __init__(self, problem: Refused) -> None:
        super().__init__(problem.reason)
        self.problem = problem


def disk_problem(err: OSError) -> Refused:
    """Return what the disk said, in words for a person."""
    return Refused(_PROBLEMS.get(err.errno or 0) or (err.strerror or str(err)).lower(), "D5")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A recording that can be uploaded.

    Attributes:
        directory: where it is.
        size: bytes that are safely on the disk; of a live recording, no others may be read: they may still change.
        modified: when it grew last, seconds since 1970 by the device's clock; of a live recording, when it began.
        is_live: whether more is to come.
        held: bytes that it takes up on the disk.
    """

    session: SessionId
    directory: Path
    size: int
    modified: float
    is_live: bool
    held: int = 0

    @property
    def path(self) -> Path:
        """Its file."""
        return self.directory / f"{self.session}{SUFFIX}"


class Spool:
    """The spool. May be used from any thread.

    Attributes:
        on_change: called in the event loop's thread whenever a recording appeared, grew or ended.
    """

    def __init__(self, directory: Path, *, quota: int, min_free: int) -> None:
        self.directory = directory
        self.on_change: Callable[[], None] = _nothing
        self._quota = quota
        self._min_free = min_free
        self._lock = threading.Lock()
        # Those that can be uploaded as far as they are.
        self._waiting: dict[SessionId, Waiting] = {}
        self._changed: set[SessionId] = set()
        self._left_behind: set[SessionId] = set()
        self._gone: list[Kept] = []
        # Bytes on the disk; and how many were ever written, for what is written while the directory is read.
        self._used = self._written = 0
        self._is_counted = False
        self._scan_turn = threading.Lock()
        # What was dealt with while the directory was read: what was found out about it there may be of before.
        self._touched: set[SessionId] = set()

    def open(self) -> None:
        """Make the directory where it is missing, and note what lies there from before. Raises `OSError`."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = {session for session, _ in self._files(SUFFIX)}
        with self._lock:
            self._left_behind = found - {one.session for one in self._waiting.values() if one.is_live}
            self._waiting = {session: one for session, one in self._waiting.items() if one.is_live}
            self._changed |= found
        self.rescan()

    def rescan(self) -> None:
        """Read the directory, as a person may have put something there or taken it away by hand. Raises `OSError`."""
        with self._scan_turn:
            with self._lock:
                self._touched.clear()
                before = self._written
            found = {one.session: one for one in self._scan()}
            used = sum(one.held for one in found.values()) + sum(kept.size for kept in self._refused())
            with self._lock:
                self._used, self._is_counted = used + self._written - before, True
                self._take_over(found)

    def _scan(self) -> Iterator[Waiting]:
        for session, path in self._files(SUFFIX):
            with suppress(FileNotFoundError):
                yield self._measured(session, path.stat())

    def _measured(self, session: SessionId, state: os.stat_result) -> Waiting:
        return Waiting(session, self.directory, state.st_size, state.st_mtime, is_live=False, held=_held(state))

    def _take_over(self, found: Mapping[SessionId, Waiting]) -> None:
        spared = self._touched | self._left_behind | {one.session for one in self._waiting.values() if one.is_live}
        for session in self._waiting.keys() - found.keys() - spared:
            self._drop(session)
        for session in found.keys() - spared:
            if self._waiting.get(session) != found[session]:
                self._put(found[session])

    def _put(self, one: Waiting) -> None:
        """Note how a recording stands. The lock must be held, here and in `_drop`."""
        self._waiting[one.session] = one
        self._changed.add(one.session)
        self._touched.add(one.session)

    def _drop(self, session: SessionId) -> Waiting | None:
        self._changed.add(session)
        self._touched.add(session)
        return self._waiting.pop(session, None)

    # --- room -------------------------------------------------------------------------------------------------------

    def usage(self) -> int:
        """Count anew, and return the bytes that all files of the spool take up on the disk. Raises `OSError`."""
        self.rescan()
        return self._used

    def room(self, need: int = BEGIN_NEED, size: int = 0) -> Granted[int] | Refused:
        """Say whether `need` more bytes may be written to a recording that has `size`.

        Where there is no room otherwise, recordings that the controller refused give way: see `gone`.
        """
        try:
            used = self._used if self._is_counted else self.usage()
            found = judge_room(self._room(used), need, size)
            if isinstance(found, Refused):
                found = judge_room(self._room(self.usage()), need, size)
            if isinstance(found, Refused) and self._make_room(need):
                found = judge_room(self._room(self.usage()), need, size)
        except OSError as err:
            return disk_problem(err)
        return found

    def _room(self, used: int) -> Room:
        disk = os.statvfs(self.directory)
        return Room(used, self._quota, disk.f_bavail * disk.f_frsize, self._min_free)

    def _make_room(self, need: int) -> bool:
        chosen = give_way(self._refused(), self._room(self._used), need)
        for kept in chosen:
            (self.directory / f"{kept.session}{REFUSED}").unlink(missing_ok=True)
        with self._lock:
            self._gone += chosen
        return bool(chosen)

    def gone(self) -> list[Kept]:
        """Return what gave way since the last call."""
        with self._lock:
            found, self._gone = self._gone, []
            return found

    def _refused(self) -> Iterator[Kept]:
        for session, path in self._files(REFUSED):
            with suppress(FileNotFoundError):
                state = path.stat()
                yield Kept(session, _held(state), state.st_mtime)

    # --- recordings that are being made ---------------------------------------------------------------------------

    def create(self, session: SessionId) -> int:
        """Return a new file for a recording, open for writing. Raises `OSError`."""
        with self._lock:
            self._put(Waiting(session, self.directory, 0, time.time(), is_live=True))
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                return os.open(self.path(session), flags, 0o600)
            except FileNotFoundError:  # the directory has gone, or could not be made before
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                return os.open(self.path(session), flags, 0o600)
        except OSError:
            with self._lock:
                self._drop(session)
            raise

    def path(self, session: SessionId) -> Path:
        """Return where a recording is."""
        return self.directory / f"{session}{SUFFIX}"

    def grew(self, count: int) -> None:
        """Count bytes that were written."""
        with self._lock:
            self._used += count
            self._written += count

    def synced(self, session: SessionId, size: int) -> None:
        """Note how much of a recording that is being made is safely on the disk."""
        with self._lock:
            one = self._waiting.get(session)
            if one and one.is_live:
                self._put(replace(one, size=size, held=-(-size // _PAGE) * _PAGE))

    def ended(self, session: SessionId) -> None:
        """Note that nothing more is written to a recording."""
        try:
            found = self._measured(session, self.path(session).stat())
        except FileNotFoundError:
            found = None
        except OSError:  # what is known of it is what was synced
            one = self._waiting.get(session)
            found = replace(one, is_live=False) if one else None
        with self._lock:
            if found is None:
                self._drop(session)
                return
            self._used += max(0, found.held - found.size)  # what was counted so far is what was written
            self._put(found)

    def sync_directory(self) -> None:
        """Have the disk keep the names of the files. Raises `OSError`."""
        sync_directory(self.directory)

    # --- recordings that wait -----------------------------------------------------------------------------------------

    def waiting(self) -> list[Waiting]:
        """Return the recordings that can be uploaded as far as they are, in no order."""
        with self._lock:
            return list(self._waiting.values())

    @property
    def backlog(self) -> tuple[int, int]:
        """How many recordings wait for the controller, and how many bytes they come to."""
        with self._lock:
            return len(self._waiting), sum(one.size for one in self._waiting.values())

    def changes(self) -> dict[SessionId, Waiting | None]:
        """Return what appeared, grew, ended or went since the last call, as it is now; None for what is gone."""
        with self._lock:
            changed, self._changed = self._changed, set()
            return {session: self._waiting.get(session) for session in changed}

    def remove(self, session: SessionId) -> None:
        """Remove a recording that the controller holds whole. Raises `OSError`."""
        self.path(session).unlink(missing_ok=True)
        with self._lock:
            if one := self._drop(session):
                self._used = max(0, self._used - one.held)

    def refuse(self, session: SessionId) -> None:
        """Set aside a recording that the controller will not have; it is kept. Raises `OSError`."""
        with suppress(FileNotFoundError):
            self.path(session).rename(self.directory / f"{session}{REFUSED}")
        with self._lock:
            self._drop(session)

    def _files(self, suffix: str) -> list[tuple[SessionId, Path]]:
        found = []
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False):
                        with suppress(names.BadNameError):
                            session = names.parse_session_id(entry.name.removesuffix(suffix))
                            found.append((session, Path(entry.path)))
        except FileNotFoundError:
            return []
        return found

    # --- after a crash ------------------------------------------------------------------------------------------------

    @property
    def left_behind(self) -> int:
        """How many recordings lie here from before that are not in order yet."""
        with self._lock:
            return len(self._left_behind)

    def recover(self, hand: Hand) -> Iterator[Recovered]:
        """Put in order what `open` found: torn tails cut off, what had not ended sealed as interrupted. Blocks.

        Each one can be uploaded as soon as it was yielded, the newest first. What cannot be put in order stays left
        behind, for another call.

        Yields:
            what was done to each recording, also where that was nothing.
        """
        with self._lock:
            sessions = sorted(self._left_behind, key=lambda one: _modified(self.path(one)), reverse=True)
        for session in sessions:
            if hand.stop.is_set():
                return
            yield self._recover(session, hand)

    def _recover(self, session: SessionId, hand: Hand) -> Recovered:
        try:
            found = recover_file(self.path(session), session, hand)
            if found.outcome == "strange":
                self.refuse(session)
            if not hand.stop.is_set():
                self._settle(session)
        except OSError as err:
            return Recovered(session, "failed", 0, disk_problem(err).reason)
        except Exception as err:  # noqa: BLE001 - whatever it is, it is no reason to leave the others as they are
            _log.exception("recording %s cannot be put in order", session)
            return Recovered(session, "failed", 0, f"{type(err).__name__}: {err}")
        return found

    def _settle(self, session: SessionId) -> None:
        """Let a recording be uploaded that has been put in order."""
        found = None
        with suppress(FileNotFoundError):
            found = self._measured(session, self.path(session).stat())
        with self._lock:
            self._left_behind.discard(session)
            if found:
                self._put(found)


def _nothing() -> None:
    """Do nothing: nobody listens yet."""


def _held(state: os.stat_result) -> int:
    """Return the bytes that a file takes up; not less than it has, as some file systems count space late."""
    return max(state.st_size, state.st_blocks * _BLOCK)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
