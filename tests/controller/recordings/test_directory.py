"""The directory that keeps recordings, and what a crash at any moment leaves of it."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from types import FrameType

import pytest

from controller.recordings.directory import DirectoryStorage
from controller.recordings.storage import Facts
from controller.store.durable import LockTimeoutError, locked
from protocol.names import SessionId

ROOT = Path(__file__).parents[3]
DAY = date(2026, 11, 22)
FACTS: Facts = {"session": "s", "number": 1}


def fresh() -> SessionId:
    return SessionId(str(uuid.uuid4()))


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def storage(tmp_path: Path) -> DirectoryStorage:
    return DirectoryStorage(tmp_path / "recordings")


def line(session: SessionId, **said: int) -> Facts:
    return {"session": session, **said}


def keep(storage: DirectoryStorage, session: SessionId, data: bytes = b"data", day: date = DAY) -> None:
    with storage.turn(session):
        storage.begin(session, FACTS)
        storage.append(session, 0, data)
        storage.finish(session, day, FACTS, line(session))


def test_what_was_appended_and_noted_is_there(storage: DirectoryStorage) -> None:
    session = fresh()
    with storage.turn(session):
        storage.begin(session, FACTS)
        storage.append(session, 0, b"hello ")
        storage.append(session, 6, b"world")
        storage.note(session, {"number": 2})
    assert storage.arrival(session) == {"number": 2}
    assert storage.arrivals() == [session]
    assert storage.arrived(session) == 11
    assert storage.read(session, 3, 5) == b"lo wo"
    assert storage.kept(session) is None


def test_appending_earlier_cuts_what_was_there(storage: DirectoryStorage) -> None:
    session = fresh()
    with storage.turn(session):
        storage.begin(session, FACTS)
        storage.append(session, 0, b"hello world")
        storage.append(session, 5, b"!")
        assert storage.read(session, 0, 100) == b"hello!"
        storage.append(session, 2, b"")
    assert storage.read(session, 0, 100) == b"he"


def test_what_is_finished_lies_under_its_day_and_nowhere_else(storage: DirectoryStorage, tmp_path: Path) -> None:
    session = fresh()
    keep(storage, session)
    assert tree(tmp_path / "recordings") == [
        f"2026/11/22/{session}.json",
        f"2026/11/22/{session}.skr",
        "2026/11/22/index.jsonl",
    ]
    assert (storage.arrival(session), storage.kept(session)) == (None, FACTS)
    assert storage.read(session, 1, 2) == b"at"
    assert storage.days() == [DAY]
    assert storage.index(DAY) == {session: line(session)}


def test_nobody_but_the_owner_can_read_anything(storage: DirectoryStorage, tmp_path: Path) -> None:
    session, arriving = fresh(), fresh()
    keep(storage, session)
    with storage.turn(arriving):
        storage.begin(arriving, FACTS)
    for path in [tmp_path / "recordings", *(tmp_path / "recordings").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_removed_is_gone_and_leaves_nothing(storage: DirectoryStorage, tmp_path: Path, kept: bool) -> None:
    session = fresh()
    if kept:
        keep(storage, session)
    with storage.turn(session):
        if not kept:
            storage.begin(session, FACTS)
        storage.remove(session)
        storage.remove(session)
    assert tree(tmp_path / "recordings") == (["2026/11/22/index.jsonl"] if kept else [])
    assert (storage.arrival(session), storage.kept(session)) == (None, None)
    with pytest.raises(FileNotFoundError):
        storage.read(session, 0, 1)


def test_an_empty_directory_holds_nothing(storage: DirectoryStorage) -> None:
    session = fresh()
    assert (storage.arrivals(), storage.days(), storage.index(DAY)) == ([], [], {})
    assert (storage.arrival(session), storage.kept(session), storage.arrived(session)) == (None, None, 0)
    assert storage.free() > 0
    storage.remove(session)


def test_days_come_newest_first_and_strange_names_are_passed_over(storage: DirectoryStorage, tmp_path: Path) -> None:
    days = [date(2026, 1, 31), date(2026, 11, 2), date(2025, 12, 31), date(2026, 11, 22)]
    for day in days:
        keep(storage, fresh(), day=day)
    root = tmp_path / "recordings"
    for name in ("lost+found", "2026/13/01", "2026/02/30", "2026/11/x", "20260/11/11"):
        (root / name).mkdir(parents=True)
    (root / "2024").write_text("no folder")
    assert storage.days() == sorted(days, reverse=True)


def test_one_damaged_note_does_not_hide_the_others(storage: DirectoryStorage, tmp_path: Path) -> None:
    good, *damaged = (fresh() for _ in range(4))
    for session in (good, *damaged):
        keep(storage, session)
    folder = tmp_path / "recordings" / "2026" / "11" / "22"
    (folder / f"{damaged[0]}.json").write_text("{")
    (folder / f"{damaged[1]}.json").write_text("[]")
    (folder / f"{damaged[2]}.json").unlink()
    assert {session for session, found in storage.index(DAY).items() if found} == {good, *damaged}
    with pytest.raises(OSError, match="damaged"):
        storage.kept(damaged[0])


def test_two_do_not_have_one_recording_s_turn_at_once(storage: DirectoryStorage, tmp_path: Path) -> None:
    session, other = fresh(), fresh()
    with storage.turn(session):
        storage.begin(session, FACTS)
        lock = tmp_path / "recordings" / "arriving" / f"{session}.lock"
        with pytest.raises(LockTimeoutError), locked(lock, timeout=(date.resolution * 0)):
            pass
        with storage.turn(other):
            pass
    with locked(lock, timeout=(date.resolution * 0)):
        pass
    assert not (tmp_path / "recordings" / "arriving" / f"{other}.lock").exists()


def _after_facts(root: Path, session: SessionId) -> None:
    """The facts lie under the day, and the bytes have not been moved."""
    (root / "2026/11/22" / f"{session}.skr").rename(root / "arriving" / f"{session}.skr")


def _after_bytes(root: Path, session: SessionId) -> None:
    """The bytes have been moved, and the arrival is still noted."""


@pytest.mark.parametrize("crash", [_after_facts, _after_bytes])
def test_finishing_again_after_a_crash_completes_it(
    storage: DirectoryStorage, tmp_path: Path, crash: Callable[[Path, SessionId], None]
) -> None:
    session, root = fresh(), tmp_path / "recordings"
    keep(storage, session, b"all of it")
    (root / "arriving" / f"{session}.json").write_text("{}")
    crash(root, session)
    assert storage.read(session, 0, 100) == b"all of it"
    with storage.turn(session):
        storage.finish(session, DAY, FACTS, line(session))
    assert tree(root) == [f"2026/11/22/{session}.json", f"2026/11/22/{session}.skr", "2026/11/22/index.jsonl"]
    assert storage.read(session, 0, 100) == b"all of it"


def test_a_recording_whose_bytes_have_not_been_moved_is_not_kept_yet(storage: DirectoryStorage, tmp_path: Path) -> None:
    session = fresh()
    keep(storage, session)
    _after_facts(tmp_path / "recordings", session)
    assert storage.kept(session) is None
    assert storage.index(DAY) == {}


def test_what_an_earlier_arrival_left_is_not_in_a_new_one(storage: DirectoryStorage, tmp_path: Path) -> None:
    session = fresh()
    with storage.turn(session):
        storage.begin(session, FACTS)
        storage.append(session, 0, b"old")
        (tmp_path / "recordings" / "arriving" / f"{session}.json").unlink()
        storage.begin(session, FACTS)
    assert storage.read(session, 0, 100) == b""


def test_a_place_that_was_remembered_and_is_gone_is_looked_for_again(storage: DirectoryStorage, tmp_path: Path) -> None:
    session = fresh()
    keep(storage, session)
    assert storage.kept(session) == FACTS
    other = DirectoryStorage(tmp_path / "recordings")
    with other.turn(session):
        other.remove(session)
    assert storage.kept(session) is None
    keep(other, session, day=date(2026, 11, 23))
    assert storage.kept(session) == FACTS


FULL_DISK = """
import errno, resource, signal, sys
from pathlib import Path
from controller.recordings.directory import DirectoryStorage

storage, session = DirectoryStorage(Path(sys.argv[1])), sys.argv[2]
with storage.turn(session):
    storage.begin(session, {})
    storage.append(session, 0, b"x" * 5000)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
    try:
        storage.append(session, 5000, b"y" * 5000)
    except OSError as err:
        sys.exit(0 if err.errno == errno.EFBIG else 1)
sys.exit(2)
"""


def test_a_disk_that_fills_up_in_the_middle_of_a_piece_leaves_what_was_there(tmp_path: Path) -> None:
    """In another process: the kernel refuses what makes a file larger than allowed, as a full disk does."""
    session, root = fresh(), tmp_path / "recordings"
    command = [sys.executable, "-c", FULL_DISK, str(root), session]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0
    assert DirectoryStorage(root).read(session, 0, 20_000) == b"x" * 5000


# --- what crashes leave -----------------------------------------------------------------------------------------------


def test_what_is_left_of_recordings_that_are_not_there_is_swept_and_nothing_else(
    storage: DirectoryStorage, tmp_path: Path
) -> None:
    root = tmp_path / "recordings"
    good, cut, arriving, aside = fresh(), fresh(), fresh(), fresh()
    keep(storage, good)
    keep(storage, cut, day=date(2025, 1, 2))
    with storage.turn(arriving):
        storage.begin(arriving, FACTS)
    with storage.turn(aside):
        storage.begin(aside, FACTS)
        storage.put_aside(aside)
    before = tree(root)
    (root / "2025/01/02" / f"{cut}.skr").unlink()
    stray = [fresh() for _ in range(4)]
    (root / "arriving" / f"{stray[0]}.skr").write_bytes(b"bytes before their facts")
    (root / "arriving" / f"{stray[1]}.lock").touch()
    (root / "arriving" / f"{stray[2]}.json.tmp").write_text("{")
    (root / "2026/11/22" / f"{stray[3]}.json.tmp").write_text("{")
    assert storage.sweep() == 5
    assert tree(root) == [name for name in before if not name.startswith("2025/")]
    assert not (root / "2025").exists()
    assert storage.sweep() == 0


def test_a_recording_that_is_about_to_be_kept_is_not_swept(storage: DirectoryStorage, tmp_path: Path) -> None:
    session = fresh()
    keep(storage, session, b"all of it")
    (tmp_path / "recordings" / "arriving" / f"{session}.json").write_text("{}")
    _after_facts(tmp_path / "recordings", session)
    assert storage.sweep() == 0
    with storage.turn(session):
        storage.finish(session, DAY, FACTS, line(session))
    assert storage.read(session, 0, 100) == b"all of it"


def test_what_is_being_begun_waits_for_its_turn_and_is_not_swept(storage: DirectoryStorage) -> None:
    session, ready = fresh(), threading.Event()

    def sweep() -> int:
        ready.set()
        return storage.sweep()

    with ThreadPoolExecutor(1) as pool, storage.turn(session):
        swept = pool.submit(sweep)
        assert ready.wait(20)
        storage.begin(session, FACTS)
    assert swept.result(20) == 0
    assert storage.arrival(session) == FACTS


def test_to_forget_an_arrival_leaves_what_is_kept(storage: DirectoryStorage) -> None:
    session = fresh()
    keep(storage, session)
    with storage.turn(session):
        storage.forget_arrival(session)
    assert storage.read(session, 0, 100) == b"data"


# --- power cuts -------------------------------------------------------------------------------------------------------

STEPS = {"write", "fsync", "fdatasync", "rename", "replace", "unlink", "ftruncate"}


def steps_of(work: Callable[[], None]) -> list[str]:
    """Return what `work` asks of the kernel that changes the disk, in its order."""
    steps: list[str] = []

    def note(_frame: object, event: str, called: object) -> None:
        name = getattr(called, "__name__", "")
        if event == "c_call" and name in STEPS and getattr(called, "__module__", "") == "posix":
            steps.append(name)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return steps


REPLACED = ["unlink", "write", "fsync", "replace", "fsync"]  # a file and then its folder


def test_a_piece_is_on_the_disk_before_its_note_and_the_note_before_anybody_is_told(storage: DirectoryStorage) -> None:
    session = fresh()
    with storage.turn(session):
        storage.begin(session, FACTS)
        assert [step for step in steps_of(lambda: storage.append(session, 0, b"x")) if step != "ftruncate"] == [
            "write",
            "fdatasync",
        ]
        assert steps_of(lambda: storage.note(session, FACTS)) == REPLACED


def test_a_recording_is_kept_only_when_all_that_belongs_to_it_is_on_the_disk(storage: DirectoryStorage) -> None:
    """Facts, line and bytes are synced, both folders too, before the arrival's own facts go."""
    keep(storage, fresh())  # its day's folder is there
    session = fresh()
    with storage.turn(session):
        storage.begin(session, FACTS)
        storage.append(session, 0, b"x")
        steps = steps_of(lambda: storage.finish(session, DAY, FACTS, line(session)))
    assert steps == [*REPLACED, "write", "fdatasync", "rename", "fsync", "fsync", "unlink", "unlink", "unlink", "fsync"]


def test_the_bytes_of_a_recording_go_before_its_facts(storage: DirectoryStorage, tmp_path: Path) -> None:
    session = fresh()
    keep(storage, session)
    gone: list[str] = []

    def note(frame: FrameType, event: str, called: object) -> None:
        if event == "c_call" and getattr(called, "__name__", "") == "unlink":
            gone.append(str(frame.f_locals["self"]))

    with storage.turn(session):
        sys.setprofile(note)
        try:
            storage.remove(session)
        finally:
            sys.setprofile(None)
    folder = tmp_path / "recordings" / "2026" / "11" / "22"
    assert gone[:2] == [str(folder / f"{session}.skr"), str(folder / f"{session}.json")]
