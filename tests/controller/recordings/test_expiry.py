from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from controller.audit import AuditError
from controller.enrolment.nodes import NodeRecord
from controller.policy.retention import Retention
from controller.policy.upload import Piece
from controller.recordings import Recordings
from controller.recordings.directory import DirectoryStorage
from controller.recordings.expiry import expire
from controller.store.tiny import TinyStore
from protocol import limits
from protocol.decision import Granted
from protocol.names import SessionId
from tests.controller.harbour import CLUSTER, STATIC, Device, HandClock, Harbour
from tests.harness.tape import Tape, short_tape

ADDRESS = "192.0.2.9:4000"


class Yard:
    """A cluster with a clock, one node in it, and recordings in a real directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "recordings"
        self.harbour = Harbour(TinyStore(folder / "store"), folder, HandClock())
        self.clock = self.harbour.clock
        self.device = Device("gw-1")
        joined = self.harbour.join(self.device.request(STATIC))
        assert isinstance(joined, Granted)
        node = self.harbour.enrolment.nodes.get(joined.value.node_id)
        assert node is not None
        self.node: NodeRecord = node
        self.recordings = Recordings(
            storage=DirectoryStorage(self.folder),
            audit=self.harbour.audit,
            cluster=CLUSTER,
            clock=self.clock,
            open_key=self.harbour.authority.open_recording,
            nodes=self.harbour.enrolment.nodes,
        )

    def take(self, content: bytes, session: SessionId) -> SessionId:
        begun = self.recordings.begin(self.node, session, None, ADDRESS)
        assert isinstance(begun, Granted), begun
        taken = self.recordings.append(self.node, session, Piece(begun.value.offset, content), ADDRESS)
        assert isinstance(taken, Granted), taken
        return session

    def tape(self) -> Tape:
        return short_tape(
            signing=self.device.key,
            node=self.node.node_id,
            node_name=self.node.name,
            cluster=CLUSTER,
            started=int(self.clock().timestamp() * 1000),
            recipient=self.harbour.authority.recording_key(),
        )

    def whole(self) -> SessionId:
        tape = self.tape()
        return self.take(tape.content, tape.session)

    def half(self) -> tuple[SessionId, bytes]:
        """Take the first four records of a recording; return the bytes that are still to come."""
        tape = self.tape()
        first = b"".join(tape.records[:4])
        return self.take(first, tape.session), tape.content[len(first) :]

    def expire(self, age: timedelta | None = None, size: int | None = None) -> int:
        return expire(self.recordings, self.harbour.audit, Retention(age, size), self.clock())

    def left(self) -> set[SessionId]:
        return {stored.entry.session for stored in self.recordings.entries()}

    def told(self) -> list[tuple[str, str]]:
        return [(entry["sid"], entry["reason"]) for entry in self.harbour.entries("session.recording.delete")]

    def files(self) -> set[str]:
        return {path.stem for path in self.folder.rglob("*.skr")}


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def test_without_a_rule_nothing_is_looked_at_and_nothing_goes(yard: Yard) -> None:
    session = yard.whole()
    yard.clock.move(days=10_000)
    assert yard.expire() == 0
    assert yard.left() == {session}


def test_a_recording_past_its_age_goes_from_the_disk_and_the_audit_log_says_why(yard: Yard) -> None:
    old = yard.whole()
    yard.clock.move(days=20)
    young = yard.whole()
    size = next(stored.entry.size for stored in yard.recordings.entries() if stored.entry.session == old)
    yard.clock.move(days=10)
    assert yard.expire(age=timedelta(days=30)) == 1
    assert yard.left() == {young}
    assert yard.files() == {young}
    assert yard.told() == [(old, "age")]
    (entry,) = yard.harbour.entries("session.recording.delete")
    assert (entry["size"], entry["server_id"], entry["server_hostname"]) == (size, yard.node.node_id, "gw-1")
    assert yard.expire(age=timedelta(days=30)) == 0


def test_the_oldest_go_until_the_rest_fits(yard: Yard) -> None:
    sessions = []
    for _ in range(4):
        sessions.append(yard.whole())
        yard.clock.move(hours=2)
    size = sum(stored.entry.size for stored in yard.recordings.entries() if stored.entry.session in sessions[2:])
    assert yard.expire(size=size) == 2
    assert yard.left() == set(sessions[2:])
    assert yard.told() == [(sessions[0], "size"), (sessions[1], "size")]


def test_what_is_still_arriving_is_left_alone_and_can_be_gone_on_with(yard: Yard) -> None:
    session, rest = yard.half()
    yard.clock.move(days=6)
    assert yard.expire(age=timedelta(days=1), size=1) == 0
    yard.take(rest, session)
    stored = yard.recordings.find(session)
    assert stored is not None
    assert stored.entry.state == "complete"


def test_an_upload_that_was_given_up_can_be_begun_anew(yard: Yard) -> None:
    tape = yard.tape()
    yard.take(b"".join(tape.records[:4]), tape.session)
    yard.clock.now += limits.RECORDING_ARRIVAL_MAX
    assert yard.expire(age=timedelta(days=1)) == 1
    assert yard.left() == set()
    yard.take(tape.content, tape.session)
    assert yard.left() == {tape.session}


def test_what_cannot_be_audited_is_not_removed(yard: Yard) -> None:
    session = yard.whole()
    yard.clock.move(days=2)
    with yard.harbour.unwritable_log(), pytest.raises(AuditError):
        yard.expire(age=timedelta(days=1))
    assert yard.left() == {session}
    assert yard.expire(age=timedelta(days=1)) == 1


def test_the_node_s_word_on_the_time_does_not_shorten_the_life_of_a_recording(yard: Yard) -> None:
    tape = short_tape(signing=yard.device.key, node=yard.node.node_id, node_name=yard.node.name, started=1_000)
    yard.take(tape.content, tape.session)
    yard.clock.move(days=29)
    assert yard.expire(age=timedelta(days=30)) == 0
    yard.clock.move(days=1)
    assert yard.expire(age=timedelta(days=30)) == 1
