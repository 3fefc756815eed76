"""The index of a day: it saves reading the notes, and nothing that happens to it loses or makes up a recording."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest

from controller.recordings import Recordings
from controller.recordings.directory import DirectoryStorage
from controller.recordings.storage import Facts
from protocol.names import SessionId
from tests.controller.harbour import CLUSTER, Harbour
from tests.controller.recordings.lab import Gateway
from tests.controller.recordings.test_recordings import counted, listed


@pytest.fixture
def kept(gateway: Gateway) -> list[SessionId]:
    """Return three recordings of one day, the newest first."""
    start = int(gateway.harbour.clock().replace(hour=0, minute=0).timestamp() * 1000)
    gateway.harbour.clock.now = gateway.harbour.clock.now.replace(hour=12)
    tapes = [gateway.tape(started=start + number * 1000) for number in range(3)]
    for tape in tapes:
        gateway.upload(tape)
    return [tape.session for tape in tapes][::-1]


def index_of(harbour: Harbour) -> Path:
    (found,) = (harbour.folder / "recordings").rglob("index.jsonl")
    return found


def _gone(path: Path) -> None:
    path.unlink()


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _noise(path: Path) -> None:
    path.write_bytes(b"\xff\x00{]\n" * 100 + path.read_bytes()[:400] + b'\n[]\n{"session": []}\n7\n{"session":"x"}\n')


def _other_fields(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text().split("\n") if line]
    path.write_text("".join(json.dumps({**line, "started": "noon"}) + "\n" for line in lines))


def _fields_missing(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text().split("\n") if line]
    del lines[1]["size"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("harm", [_gone, _torn, _zeroed, _noise, _other_fields, _fields_missing])
def test_an_index_that_is_damaged_or_missing_is_made_whole_by_who_reads_it(
    harbour: Harbour, kept: list[SessionId], harm: Callable[[Path], None]
) -> None:
    before = harbour.recordings.entries()
    harm(index_of(harbour))
    storage = counted(harbour)
    assert harbour.recordings.entries() == before
    assert [one.entry.session for one in before] == kept
    assert storage.read_notes >= 1
    storage.read_notes = 0
    assert harbour.recordings.entries() == before
    assert storage.read_notes == 0


def test_a_line_that_was_cut_off_does_not_take_the_next_one_with_it(gateway: Gateway, kept: list[SessionId]) -> None:
    harbour = gateway.harbour
    with index_of(harbour).open("ab") as file:
        file.write(b'{"session":"')
    tape = gateway.tape()
    gateway.upload(tape)
    storage = counted(harbour)
    assert set(listed(harbour)) == {tape.session, *kept}
    assert storage.read_notes == 0


def test_what_is_removed_is_not_listed_though_its_line_is_there(harbour: Harbour, kept: list[SessionId]) -> None:
    harbour.recordings.remove(kept[1])
    assert kept[1] in index_of(harbour).read_text()
    assert listed(harbour) == [kept[0], kept[2]]
    assert [held.session for held in harbour.recordings.held()] == [kept[0], kept[2]]


def test_what_was_removed_and_came_again_is_listed_as_it_is_now(gateway: Gateway) -> None:
    harbour, tape = gateway.harbour, gateway.tape()
    gateway.upload(tape)
    harbour.recordings.remove(tape.session)
    harbour.clock.move(seconds=1)
    gateway.upload(tape)
    (found,) = harbour.recordings.entries()
    assert found.grown == harbour.clock()
    assert index_of(harbour).read_text().count(tape.session) == 2


def test_a_refused_recording_is_listed_with_its_reason(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session)
    gateway.send(tape.session, 0, tape.content[:-1] + b"?")
    for _ in range(2):
        (found,) = gateway.harbour.recordings.entries()
        assert found.entry.state == "refused"
        assert found.refused
        assert (found.refused.check, found.refused.reason[:7]) == ("U14", "record ")
        counted(gateway.harbour)


def test_an_index_that_cannot_be_written_costs_time_and_nothing_else(
    harbour: Harbour, kept: list[SessionId], caplog: pytest.LogCaptureFixture
) -> None:
    class Full(DirectoryStorage):
        def put_in_index(self, day: date, lines: Sequence[Facts]) -> None:
            raise OSError(errno.ENOSPC, f"no space left for {len(lines)} lines of {day}")

    index_of(harbour).unlink()
    harbour.recordings = recordings_on(harbour, Full(harbour.folder / "recordings"))
    assert listed(harbour) == kept
    assert "cannot be mended" in caplog.text


def recordings_on(harbour: Harbour, storage: DirectoryStorage) -> Recordings:
    return Recordings(
        storage=storage,
        audit=harbour.audit,
        cluster=CLUSTER,
        clock=harbour.clock,
        open_key=harbour.authority.open_recording,
        nodes=harbour.enrolment.nodes,
    )


def test_who_lists_while_others_upload_misses_nothing_that_was_there(gateway: Gateway) -> None:
    harbour = gateway.harbour
    tapes = [gateway.tape() for _ in range(40)]
    done: list[SessionId] = []

    def upload() -> None:
        for tape in tapes:
            gateway.upload(tape)
            done.append(tape.session)

    uploader = threading.Thread(target=upload)
    uploader.start()
    looks = 0
    while uploader.is_alive() or not looks:
        before = set(done)
        assert before <= set(listed(harbour))
        looks += 1
    uploader.join()
    assert set(listed(harbour)) == set(done)
    assert len(listed(harbour)) == 40


def test_only_what_the_person_took_part_in_is_looked_for(gateway: Gateway) -> None:
    for user in ("alice", "bob", "alice"):
        gateway.upload(gateway.tape(user=user))
    alice, bob = (
        [one.entry.participants for one in gateway.harbour.recordings.browse(participant=name)]
        for name in ("alice", "bob")
    )
    assert (alice, bob) == ([("alice",)] * 2, [("bob",)])


def test_a_question_that_would_look_at_too_many_is_cut_and_says_so(gateway: Gateway) -> None:
    harbour = gateway.harbour
    harbour.clock.move(days=10)
    for days in range(5):
        started = int((harbour.clock() - timedelta(days=days)).timestamp() * 1000)
        gateway.upload(gateway.tape(user="bob", started=started))
    for most, looked_at, is_cut in ((None, 5, False), (5, 5, False), (2, 2, True)):
        found = harbour.recordings.browse(most=most)
        assert (len(list(found)), found.is_cut) == (looked_at, is_cut)
    found = harbour.recordings.browse(participant="alice", most=2)
    assert (list(found), found.is_cut) == ([], True)
