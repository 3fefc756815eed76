"""Recordings in a directory: ``arriving/SESSION.skr``, and ``YYYY/MM/DD/SESSION.skr`` once they are kept.

Beside each lies SESSION.json with its facts. An arrival begins and ends with its facts; a recording is kept as soon as
its bytes have their place under the day, which one rename gives them when its facts and its line in the day's index
are there already.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from controller.recordings import day_index
from controller.recordings.folder import (
    begun_in,
    below,
    dump_facts,
    load_facts,
    make_folder,
    read_bytes,
    remove_empty_day,
    sessions_in,
)
from controller.recordings.storage import Facts
from controller.store.durable import (
    locked,
    open_private,
    replace_file,
    sync_directory,
    temporary_name,
    write_all,
)
from protocol.names import SessionId

_YEAR = re.compile(r"\d{4}", re.ASCII)
_TWO = re.compile(r"\d{2}", re.ASCII)
_PLACES_REMEMBERED = 4096


class DirectoryStorage:
    """`controller.recordings.storage.Storage` in one directory, made when the first recording comes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._arriving = directory / "arriving"
        self._places: dict[SessionId, Path] = {}

    @contextmanager
    def turn(self, session: SessionId) -> Iterator[None]:
        """See `Storage.turn`."""
        make_folder(self._directory)
        make_folder(self._arriving)
        lock = self._arriving / f"{session}.lock"
        with locked(lock):
            try:
                yield
            finally:
                if not self._note_of(self._arriving, session).exists():
                    lock.unlink(missing_ok=True)

    # --- arriving -------------------------------------------------------------------------------------------

    def begin(self, session: SessionId, facts: Facts) -> None:
        """See `Storage.begin`."""
        os.close(open_private(self._bytes_of(self._arriving, session), os.O_RDWR | os.O_CREAT | os.O_TRUNC))
        self.note(session, facts)

    def arrival(self, session: SessionId) -> Facts | None:
        """See `Storage.arrival`."""
        return load_facts(self._note_of(self._arriving, session))

    def arrivals(self) -> Sequence[SessionId]:
        """See `Storage.arrivals`."""
        return sessions_in(self._arriving, ".json")

    def stamp(self, session: SessionId) -> object:
        """See `Storage.stamp`. Facts are replaced, never changed in their place."""
        try:
            found = self._note_of(self._arriving, session).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

    def arrived(self, session: SessionId) -> int:
        """See `Storage.arrived`."""
        try:
            return self._bytes_of(self._arriving, session).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, session: SessionId, offset: int, data: bytes) -> None:
        """See `Storage.append`."""
        fd = open_private(self._bytes_of(self._arriving, session), os.O_RDWR | os.O_CREAT)
        try:
            os.ftruncate(fd, offset)
            try:
                os.lseek(fd, offset, os.SEEK_SET)
                write_all(fd, data)
                os.fdatasync(fd)
            except OSError:
                with contextlib.suppress(OSError):  # if even that fails, the next piece is put there all the same
                    os.ftruncate(fd, offset)
                raise
        finally:
            os.close(fd)

    def note(self, session: SessionId, facts: Facts) -> None:
        """See `Storage.note`."""
        os.close(replace_file(self._note_of(self._arriving, session), dump_facts(facts)))

    def finish(self, session: SessionId, day: date, facts: Facts, line: Facts) -> None:
        """See `Storage.finish`."""
        folder = self._open_day(day)
        os.close(replace_file(self._note_of(folder, session), dump_facts(facts)))
        day_index.add_lines(folder, [line])
        with contextlib.suppress(FileNotFoundError):  # a crash came right after this, and the rest was left to do
            self._bytes_of(self._arriving, session).rename(self._bytes_of(folder, session))
        sync_directory(folder)
        sync_directory(self._arriving)
        self._forget(self._arriving, session)

    def forget_arrival(self, session: SessionId) -> None:
        """See `Storage.forget_arrival`."""
        if self._arriving.is_dir():
            self._forget(self._arriving, session)

    def put_aside(self, session: SessionId) -> None:
        """See `Storage.put_aside`: both files stay in their folder, under another name."""
        for path in (self._bytes_of(self._arriving, session), self._note_of(self._arriving, session)):
            with contextlib.suppress(FileNotFoundError):
                path.replace(path.with_name(f"{path.name}.damaged"))
        sync_directory(self._arriving)

    def _open_day(self, day: date) -> Path:
        folder = self._directory
        for part in (f"{day:%Y}", f"{day:%m}", f"{day:%d}"):
            folder = folder / part
            make_folder(folder)
        return folder

    # --- kept -----------------------------------------------------------------------------------------------

    def kept(self, session: SessionId, day: date | None = None) -> Facts | None:
        """See `Storage.kept`."""
        folder = self._folder(day) if day else self._place(session)
        return None if folder is None else load_facts(self._note_of(folder, session))

    def days(self) -> Sequence[date]:
        """See `Storage.days`."""
        return [day for day, _ in self._folders()]

    def index(self, day: date) -> Mapping[SessionId, Facts | None]:
        """See `Storage.index`."""
        folder = self._folder(day)
        sessions = sessions_in(folder, ".skr")  # first: what is kept by now has its line by then
        lines = day_index.read_lines(folder)
        return {session: lines.get(session) for session in sessions}

    def put_in_index(self, day: date, lines: Sequence[Facts]) -> None:
        """See `Storage.put_in_index`."""
        day_index.add_lines(self._folder(day), lines)

    def _folder(self, day: date) -> Path:
        return self._directory / f"{day:%Y}" / f"{day:%m}" / f"{day:%d}"

    def _folders(self) -> Iterator[tuple[date, Path]]:
        """Yield the days with their folders, the newest first, looking only as far back as the caller goes."""
        for year in below(self._directory, _YEAR):
            for month in below(year, _TWO):
                for folder in below(month, _TWO):
                    with contextlib.suppress(ValueError):  # a name that no day gives is not ours
                        yield date(int(year.name), int(month.name), int(folder.name)), folder

    def _place(self, session: SessionId) -> Path | None:
        """Return the folder in which a recording is kept: without an index, by looking, the newest day first."""
        known = self._places.get(session)
        if known is not None and self._bytes_of(known, session).exists():
            return known
        for _, folder in self._folders():
            if self._bytes_of(folder, session).exists():
                if len(self._places) >= _PLACES_REMEMBERED:
                    self._places.clear()
                self._places[session] = folder
                return folder
        return None

    # --- either ---------------------------------------------------------------------------------------------

    def read(self, session: SessionId, offset: int, size: int) -> bytes:
        """See `Storage.read`."""
        for _ in range(2):  # it may move from here to there while we look
            with contextlib.suppress(FileNotFoundError):
                return read_bytes(self._bytes_of(self._arriving, session), offset, size)
            folder = self._place(session)
            if folder is not None:
                return read_bytes(self._bytes_of(folder, session), offset, size)
        raise FileNotFoundError(f"no recording of session {session}")

    def remove(self, session: SessionId) -> None:
        """See `Storage.remove`."""
        folder = self._place(session)
        if folder is not None:
            self._bytes_of(folder, session).unlink(missing_ok=True)  # first: it is kept as long as they are there
            self._forget(folder, session)
            self._places.pop(session, None)
        self.forget_arrival(session)

    def _forget(self, folder: Path, session: SessionId) -> None:
        """Remove a recording's facts, and then whatever else there is of it in `folder`."""
        note = self._note_of(folder, session)
        for path in (note, temporary_name(note), self._bytes_of(folder, session)):
            path.unlink(missing_ok=True)
        sync_directory(folder)

    def sweep(self) -> int:
        """See `Storage.sweep`. Days that nothing is kept under any more go as well."""
        swept = sum(self._sweep_arrival(session) for session in begun_in(self._arriving))
        for _, folder in list(self._folders()):
            swept += sum(self._sweep_kept(folder, session) for session in begun_in(folder))
            remove_empty_day(folder)
        return swept

    def _sweep_arrival(self, session: SessionId) -> bool:
        if self._note_of(self._arriving, session).exists():
            return False
        with self.turn(session):  # with it goes the lock of somebody who was killed
            if self._note_of(self._arriving, session).exists():
                return False
            self.forget_arrival(session)
        return True

    def _sweep_kept(self, folder: Path, session: SessionId) -> bool:
        if self._bytes_of(folder, session).exists():
            return False
        with self.turn(session):
            if self._bytes_of(folder, session).exists() or self._note_of(self._arriving, session).exists():
                return False  # it is kept, or about to be
            self._forget(folder, session)
        return True

    def free(self) -> int:
        """See `Storage.free`."""
        folder = self._directory if self._directory.is_dir() else self._directory.parent
        return shutil.disk_usage(folder).free

    @staticmethod
    def _bytes_of(folder: Path, session: SessionId) -> Path:
        return folder / f"{session}.skr"

    @staticmethod
    def _note_of(folder: Path, session: SessionId) -> Path:
        return folder / f"{session}.json"
