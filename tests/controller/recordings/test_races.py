"""What two do to one recording at the same moment: what its node was told stays true."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from controller.audit import AuditError, AuditLog
from controller.policy.retention import Retention
from controller.policy.upload import Quota
from controller.recordings import Progress, Recordings
from controller.recordings.directory import DirectoryStorage
from controller.recordings.expiry import expire
from protocol import events, limits
from protocol.decision import Granted, Refused
from protocol.events import EventKind, Json
from protocol.names import SessionId
from tests.controller.harbour import CLUSTER, Harbour
from tests.controller.recordings.lab import Gateway, check_of, files, kept
from tests.controller.recordings.test_intake import with_quota
from tests.harness.tape import Tape

# How long somebody who could go on at once is waited for: whoever is held up takes no longer for it.
GRACE = 0.5


class Watched(AuditLog):
    """An audit log that lets something happen before it writes a kind of event."""

    def __init__(self, harbour: Harbour, kind: EventKind, meanwhile: Callable[[], None]) -> None:
        super().__init__(harbour.folder / "log", CLUSTER, harbour.clock)
        self._kind = kind
        self._meanwhile = meanwhile

    def write(
        self,
        kind: EventKind,
        fields: Mapping[str, Json],
        *,
        time: datetime | None = None,
        uid: str | None = None,
    ) -> dict[str, Json]:
        if kind is self._kind:
            self._meanwhile()
        return super().write(kind, fields, time=time, uid=uid)


class Interrupted(DirectoryStorage):
    """A directory that lets something happen before a session's turn is taken, once."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.before: dict[SessionId, Callable[[], None]] = {}

    @contextmanager
    def turn(self, session: SessionId) -> Iterator[None]:
        self.before.pop(session, lambda: None)()
        with super().turn(session):
            yield


def test_the_last_piece_that_comes_while_retention_removes_is_confirmed_and_kept_or_neither(gateway: Gateway) -> None:
    harbour, tape = gateway.harbour, gateway.tape()
    gateway.upload_bytes(tape.session, tape.content[:-200])
    harbour.clock.now += limits.RECORDING_ARRIVAL_MAX
    answers: list[Granted[Progress] | Refused] = []

    def send() -> None:
        answers.append(gateway.send(tape.session, len(tape.content) - 200, tape.content[-200:]))

    sender = threading.Thread(target=send)

    def meanwhile() -> None:
        sender.start()
        sender.join(GRACE)

    log = Watched(harbour, events.RECORDING_DELETE, meanwhile)
    removed = expire(harbour.recordings, log, Retention(age=timedelta(days=1)), harbour.clock())
    sender.join(60)
    (answer,) = answers
    assert removed == 1
    assert (check_of(answer), harbour.recordings.find(tape.session)) == ("U2", None)
    assert gateway.upload(tape).hash == tape.chain  # the node still has it, and sends it anew


def test_what_has_grown_since_it_was_looked_at_is_neither_removed_nor_told_as_removed(gateway: Gateway) -> None:
    harbour, tape = gateway.harbour, gateway.tape()
    gateway.upload_bytes(tape.session, tape.content[:-200])
    (held,) = harbour.recordings.held()
    gateway.send(tape.session, len(tape.content) - 200, tape.content[-200:])
    told: list[object] = []
    assert harbour.recordings.remove(tape.session, if_unchanged=held, before=told.append) is None
    assert told == []
    assert kept(harbour, tape.session) == tape.content


def test_what_the_audit_log_does_not_take_is_not_removed(gateway: Gateway) -> None:
    harbour, tape = gateway.harbour, gateway.tape()
    gateway.upload(tape)

    def refuse(_: object) -> None:
        raise AuditError("no")

    with pytest.raises(AuditError):
        harbour.recordings.remove(tape.session, before=refuse)
    assert kept(harbour, tape.session) == tape.content


def test_an_upload_that_comes_back_while_it_is_being_given_up_is_not_forgotten(gateway: Gateway) -> None:
    harbour, storage = gateway.harbour, Interrupted(gateway.harbour.folder / "recordings")
    tapes = [gateway.tape() for _ in range(4)]
    for tape in tapes:
        gateway.begin(tape.session)
    harbour.clock.now += limits.RECORDING_ARRIVAL_MAX + timedelta(seconds=1)
    harbour.recordings = Recordings(
        storage=storage,
        audit=harbour.audit,
        cluster=CLUSTER,
        clock=harbour.clock,
        open_key=harbour.authority.open_recording,
        nodes=harbour.enrolment.nodes,
        quota=Quota(uploads=4),
    )

    def come_back(tape: Tape) -> None:
        storage.before.clear()
        gateway.upload(tape)

    for tape in tapes:
        storage.before[tape.session] = partial(come_back, tape)
    assert check_of(gateway.begin(gateway.tape().session)) == "granted"
    whole = [tape for tape in tapes if f"{tape.session}.skr" in " ".join(files(harbour))]
    (came_back,) = [tape for tape in whole if harbour.recordings.find(tape.session)]
    assert kept(harbour, came_back.session) == came_back.content


def test_a_node_cannot_turn_its_own_whole_recording_into_a_refused_one(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.upload(tape)
    size = len(tape.content)
    for length in (0, 5, size - 1, size + 1, limits.RECORDING_MAX + 1):
        assert check_of(gateway.send(tape.session, size, b"", length)) in {"U4", "U5"}
    assert check_of(gateway.send(tape.session, size, b"", size)) == "granted"
    at = gateway.ask(tape.session)
    assert isinstance(at, Granted)
    assert (at.value.state, at.value.hash, at.value.offset) == ("complete", tape.chain, size)
    assert kept(gateway.harbour, tape.session) == tape.content
    assert [event["code"] for event in gateway.audited()] == ["T2005I"]


def test_many_that_begin_at_once_share_what_is_known_of_the_others(gateway: Gateway) -> None:
    """Each begin looks at all that is arriving; a note that cannot be read just then is looked at again."""
    harbour = gateway.harbour
    with_quota(harbour, Quota(uploads=20))
    sessions = [gateway.tape().session for _ in range(19)]
    damaged = sessions[0]
    gateway.begin(damaged)
    note = harbour.folder / "recordings" / "arriving" / f"{damaged}.json"
    good = note.read_bytes()
    note.unlink()
    note.mkdir()
    gateway.begin(sessions[1])
    note.rmdir()
    note.write_bytes(good)
    threads = [threading.Thread(target=gateway.begin, args=(session,)) for session in sessions[2:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert check_of(gateway.begin(gateway.tape().session)) == "granted"
    assert check_of(gateway.begin(gateway.tape().session)) == "U6"
