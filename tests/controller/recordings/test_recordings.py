"""Recordings as the doors and commands ask for them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from controller.authority import AuthorityError
from controller.recordings import Recordings, RecordingsError
from controller.recordings.directory import DirectoryStorage
from controller.recordings.storage import Facts
from protocol.instants import from_milliseconds
from protocol.names import SessionId
from tests.controller.harbour import CLUSTER, Harbour
from tests.controller.recordings.lab import Gateway, kept

NOBODY = SessionId(str(uuid.uuid4()))


class CountingStorage(DirectoryStorage):
    """A directory that knows how many days, and how many notes, were read of it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.read_days = 0
        self.read_notes = 0

    def index(self, day: date) -> Mapping[SessionId, Facts | None]:
        self.read_days += 1
        return super().index(day)

    def kept(self, session: SessionId, day: date | None = None) -> Facts | None:
        self.read_notes += 1
        return super().kept(session, day)

    def arrival(self, session: SessionId) -> Facts | None:
        self.read_notes += 1
        return super().arrival(session)


def counted(harbour: Harbour) -> CountingStorage:
    """Let the cluster read its recordings anew, and count what it reads."""
    storage = CountingStorage(harbour.folder / "recordings")
    harbour.recordings = Recordings(
        storage=storage,
        audit=harbour.audit,
        cluster=CLUSTER,
        clock=harbour.clock,
        open_key=harbour.authority.open_recording,
        nodes=harbour.enrolment.nodes,
    )
    return storage


def at(harbour: Harbour, days: float) -> int:
    return int((harbour.clock() - timedelta(days=days)).timestamp() * 1000)


@pytest.fixture
def shelf(gateway: Gateway) -> list[SessionId]:
    """Return six sessions of as many days and two hours, the newest first; the second and the last are arriving."""
    harbour = gateway.harbour
    harbour.clock.move(days=40)
    harbour.clock.now = harbour.clock.now.replace(hour=12)  # or two hours ago may be another day
    tapes = [gateway.tape(started=at(harbour, days)) for days in (0.1, 0.2, 1, 2, 9, 30)]
    for number, tape in enumerate(tapes):
        if number in {1, 5}:
            gateway.upload_bytes(tape.session, tape.content[:-80])
        else:
            gateway.upload(tape)
    return [tape.session for tape in tapes]


def listed(harbour: Harbour, **asked: object) -> list[SessionId]:
    return [stored.entry.session for stored in harbour.recordings.entries(**asked)]  # type: ignore[arg-type]  # as named


def test_the_newest_come_first_whether_they_have_arrived_or_not(harbour: Harbour, shelf: list[SessionId]) -> None:
    assert listed(harbour) == shelf
    states = [stored.entry.state for stored in harbour.recordings.entries()]
    assert states == ["complete", "arriving", "complete", "complete", "complete", "arriving"]


def test_since_until_and_limit_choose(harbour: Harbour, shelf: list[SessionId]) -> None:
    now = harbour.clock()
    assert listed(harbour, since=now - timedelta(days=1.5)) == [*shelf[:3], shelf[5]]
    assert listed(harbour, until=now - timedelta(days=1.5)) == shelf[3:]
    assert listed(harbour, since=now - timedelta(days=2), until=now - timedelta(days=0.2)) == [*shelf[2:4], shelf[5]]
    assert listed(harbour, limit=2) == shelf[:2]
    assert listed(harbour, limit=0) == []
    assert listed(harbour, since=now) == [shelf[1], shelf[5]]  # what still arrives may be going on
    assert listed(harbour, since=datetime(1, 1, 1, tzinfo=UTC)) == shelf
    assert listed(harbour, until=datetime(1, 1, 1, tzinfo=UTC)) == []


def test_a_session_that_was_going_on_within_the_time_is_listed(gateway: Gateway) -> None:
    harbour = gateway.harbour
    harbour.clock.move(days=40)
    tape = gateway.tape(started=at(harbour, 3))
    gateway.upload(tape)
    ended = from_milliseconds(tape.started + 2000)
    assert listed(harbour, since=ended) == [tape.session]
    assert listed(harbour, since=ended + timedelta(milliseconds=1)) == []


def test_a_listing_reads_only_the_days_it_needs(harbour: Harbour, shelf: list[SessionId]) -> None:
    storage = counted(harbour)
    begun = [harbour.clock() - timedelta(days=days) for days in (0.1, 1, 2, 9)]  # of those that are kept
    assert storage.days() == sorted({moment.date() for moment in begun}, reverse=True)
    assert listed(harbour, limit=1) == shelf[:1]
    assert storage.read_days == 1
    storage.read_days = 0
    assert listed(harbour, since=harbour.clock() - timedelta(days=1.5)) == [*shelf[:3], shelf[5]]
    assert storage.read_days == len({moment.date() for moment in begun[:3]})  # 2 days ago, it might be going on still


def test_a_listing_reads_the_notes_of_what_arrives_once_and_no_other(harbour: Harbour, shelf: list[SessionId]) -> None:
    storage = counted(harbour)
    for _ in range(3):
        assert listed(harbour) == shelf
    assert storage.read_notes == 2
    harbour.recordings.find(shelf[0])
    assert storage.read_notes > 2


def test_what_has_grown_meanwhile_is_listed_as_it_is_now(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.upload_bytes(tape.session, tape.content[:-300])
    before = gateway.harbour.recordings.entries()[0].entry
    gateway.send(tape.session, len(tape.content) - 300, tape.content[-300:-200])
    gateway.send(tape.session, len(tape.content) - 200, tape.content[-200:-100])
    assert gateway.harbour.recordings.entries()[0].entry.size > before.size


def test_one_damaged_note_does_not_hide_the_others(harbour: Harbour, shelf: list[SessionId]) -> None:
    root = harbour.folder / "recordings"
    (root / "arriving" / f"{shelf[1]}.json").write_text("{")
    notes = [next(root.rglob(f"{session}.json")) for session in shelf[2:4]]
    for note in notes:
        note.write_text('{"session": 7}')
    assert listed(harbour) == [shelf[0], *shelf[2:]]  # the index knows of them, and what is wrong is said when asked
    (notes[1].parent / "index.jsonl").unlink()
    assert listed(harbour) == [shelf[0], shelf[2], *shelf[4:]]
    with pytest.raises(RecordingsError, match="damaged"):
        harbour.recordings.find(shelf[2])


def test_a_note_survives_being_written_and_read(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.upload(tape)
    storage = DirectoryStorage(gateway.harbour.folder / "recordings")
    facts: Facts | None = storage.kept(tape.session)
    note = gateway.harbour.recordings._shelf.find(tape.session)
    assert note
    assert note.to_facts() == facts
    assert note.header == tape.header


def test_reading_stays_within_the_recording(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.upload(tape)
    read = gateway.harbour.recordings.read
    size = len(tape.content)
    assert read(tape.session, 0, 10) == tape.content[:10]
    assert read(tape.session, size - 3, 100) == tape.content[-3:]
    assert read(tape.session, size, 100) == b""
    assert read(tape.session, size + 50, 100) == b""
    with pytest.raises(RecordingsError, match="no recording of session"):
        read(NOBODY, 0, 1)


def test_what_is_not_there_is_not_found(harbour: Harbour) -> None:
    assert harbour.recordings.find(NOBODY) is None
    assert harbour.recordings.remove(NOBODY) is None
    with pytest.raises(RecordingsError, match="tctl recordings ls"):
        harbour.recordings.key(NOBODY)


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_removed_is_returned_once_more_and_gone(gateway: Gateway, whole: bool) -> None:
    tape = gateway.tape()
    gateway.upload_bytes(tape.session, tape.content if whole else tape.content[:-90])
    removed = gateway.harbour.recordings.remove(tape.session)
    assert removed
    assert removed.entry.session == tape.session
    assert gateway.harbour.recordings.find(tape.session) is None
    assert listed(gateway.harbour) == []
    assert gateway.upload(tape).hash == tape.chain  # a node that still has it sends it anew
    assert kept(gateway.harbour, tape.session) == tape.content


def test_a_rotated_key_still_opens_what_was_recorded_before(gateway: Gateway) -> None:
    harbour = gateway.harbour
    old = gateway.tape()
    harbour.authority.rotate_recording_key(harbour.clock())
    new = gateway.tape()
    for tape in (old, new):
        gateway.upload(tape)
        found = harbour.recordings.key(tape.session).key
        assert found and tape.key  # noqa: PT018 - for the type checker
        assert found.reveal() == tape.key.reveal()


def test_a_key_that_the_cluster_lost_is_said_so(gateway: Gateway, tmp_path: Path) -> None:
    tape = gateway.tape()
    gateway.upload(tape)

    def lost(header: object) -> None:
        raise AuthorityError(f"no key for {header}")

    again = Recordings(
        storage=DirectoryStorage(tmp_path / "recordings"),
        audit=gateway.harbour.audit,
        cluster=CLUSTER,
        clock=gateway.harbour.clock,
        open_key=lost,
        nodes=gateway.harbour.enrolment.nodes,
    )
    with pytest.raises(AuthorityError):
        again.key(tape.session)


def test_storage_that_fails_is_said_so_in_words(gateway: Gateway, tmp_path: Path) -> None:
    tape = gateway.tape()
    gateway.upload(tape)
    (found,) = (tmp_path / "recordings").rglob("*.json")
    found.unlink()
    found.mkdir()
    recordings = gateway.harbour.recordings
    for ask in (lambda: recordings.find(tape.session), lambda: recordings.read(tape.session, 0, 1)):
        with pytest.raises(RecordingsError, match="cannot look for the recording of session"):
            ask()
