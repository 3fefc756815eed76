"""Recordings as nodes upload them, and everything that must not be taken."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controller.audit import AuditError
from controller.policy.upload import Checksum, Piece, Quota
from controller.recordings import Recordings
from controller.recordings.directory import DirectoryStorage
from protocol import limits
from protocol.decision import Granted
from protocol.names import SessionId
from protocol.recording.cast import Event
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, Reader
from protocol.recording.signer import fingerprint
from tests.controller.harbour import CLUSTER, Harbour
from tests.controller.recordings import full_disk
from tests.controller.recordings.lab import ADDRESS, Gateway, check_of, files, grow, kept
from tests.harness.tape import NOON

ROOT = Path(__file__).parents[3]


def with_quota(harbour: Harbour, quota: Quota) -> None:
    harbour.recordings = Recordings(
        storage=DirectoryStorage(harbour.folder / "recordings"),
        audit=harbour.audit,
        cluster=CLUSTER,
        clock=harbour.clock,
        open_key=harbour.authority.open_recording,
        nodes=harbour.enrolment.nodes,
        quota=quota,
    )


# --- what is taken ----------------------------------------------------------------------------------------------


def test_a_recording_in_pieces_is_kept_byte_for_byte_and_told_to_the_audit_log(gateway: Gateway) -> None:
    tape = gateway.tape(user="alice", login="pi", command="uname -a")
    done = gateway.upload(tape, 5, 100, 2100)
    assert (done.state, done.offset, done.hash) == ("complete", len(tape.content), tape.chain)
    assert kept(gateway.harbour, tape.session) == tape.content
    (event,) = gateway.audited()
    assert (event["code"], event["sid"], event["state"]) == ("T2005I", tape.session, "complete")
    assert (event["user"], event["size"], event["addr.remote"]) == ("alice", len(tape.content), ADDRESS)
    assert (event["hash"], event["signer"]) == (tape.chain.hex(), fingerprint(tape.signer))


def test_the_listing_tells_what_the_content_and_the_enrolment_say(gateway: Gateway) -> None:
    tape = gateway.tape(user="alice", login="pi", command="uname -a")
    gateway.upload(tape)
    (stored,) = gateway.harbour.recordings.entries()
    entry = stored.entry
    assert (entry.session, entry.node, entry.hostname, entry.kind) == (tape.session, tape.node, "gw-1", "ssh")
    assert (entry.participants, entry.login, entry.command, entry.interactive) == (("alice",), "pi", "uname -a", False)
    assert (entry.started, entry.duration, entry.size, entry.state) == (
        tape.started,
        2000,
        len(tape.content),
        "complete",
    )
    found = gateway.harbour.recordings.find(tape.session)
    assert found
    assert (found.entry, found.grown) == (entry, stored.grown)
    assert (found.signer, found.hash) == (tape.signer, tape.chain)


def test_any_cut_at_all_leaves_the_same_recording(gateway: Gateway) -> None:
    chance = random.Random(7)  # noqa: S311 - where to cut, no secret
    for _ in range(4):
        tape = gateway.tape()
        cuts = sorted(chance.sample(range(1, len(tape.content)), 12))
        assert gateway.upload(tape, *cuts).hash == tape.chain
        assert kept(gateway.harbour, tape.session) == tape.content


def test_pieces_of_one_byte_are_taken_too(gateway: Gateway) -> None:
    tape = gateway.blank().seal("final", 0)
    header = len(tape.records[0])
    cuts = [*range(1, 30), *range(header - 2, header + 22), *range(len(tape.content) - 5, len(tape.content))]
    assert gateway.upload(tape, *cuts).state == "complete"
    assert kept(gateway.harbour, tape.session) == tape.content


def test_pieces_may_come_to_different_processes(gateway: Gateway) -> None:
    tape, harbour = gateway.tape(), gateway.harbour
    gateway.begin(tape.session)
    for offset in range(0, len(tape.content), 200):
        with_quota(harbour, Quota())  # another process knows nothing but the files
        answer = gateway.send(tape.session, offset, tape.content[offset : offset + 200])
        assert isinstance(answer, Granted)
    assert kept(harbour, tape.session) == tape.content


def test_an_interrupted_recording_is_kept_as_such_and_audited_as_such(gateway: Gateway) -> None:
    tape = gateway.tape("interrupted")
    assert gateway.upload(tape).state == "interrupted"
    assert [event["code"] for event in gateway.audited()] == ["SK030W", "T2005I"]


def test_a_recording_that_stopped_for_want_of_room_is_listed_as_such_and_is_no_interruption(gateway: Gateway) -> None:
    tape = gateway.tape("stopped")
    assert gateway.upload(tape).state == "stopped"
    (stored,) = gateway.harbour.recordings.entries()
    assert stored.entry.state == "stopped"
    (told,) = gateway.audited()
    assert (told["code"], told["state"]) == ("T2005I", "stopped")


def test_a_recording_that_is_not_encrypted_is_taken(gateway: Gateway) -> None:
    tape = gateway.tape(recipient=None)
    assert gateway.upload(tape).state == "complete"
    assert gateway.harbour.recordings.key(tape.session).key is None


def test_who_joins_later_is_a_participant_too(gateway: Gateway) -> None:
    tape = gateway.blank(user="alice").head().events(Event(10, "j", "alice"), Event(20, "j", "bob"))
    tape.events(Event(30, "o", '[0.1,"j","mallory"]\r\n')).events(Event(40, "j", "not a name")).seal("final", 50)
    gateway.upload(tape, sum(map(len, tape.records[:2])) + 20)
    (stored,) = gateway.harbour.recordings.entries()
    assert stored.entry.participants == ("alice", "bob")


def test_while_it_arrives_it_is_listed_and_readable_to_its_last_whole_record(gateway: Gateway) -> None:
    tape = gateway.blank().head().output(500, "first\r\n")
    whole = len(tape.content)
    tape.output(1500, "second\r\n").seal("final", 1600)
    gateway.begin(tape.session)
    assert gateway.harbour.recordings.find(tape.session) is None
    gateway.send(tape.session, 0, tape.content[: whole + 20])
    stored = gateway.harbour.recordings.find(tape.session)
    assert stored
    assert (stored.entry.state, stored.entry.size, stored.entry.duration) == ("arriving", whole, 500)
    assert stored.hash is None
    assert kept(gateway.harbour, tape.session) == tape.content[:whole]
    gateway.send(tape.session, whole + 20, tape.content[whole + 20 :])
    assert kept(gateway.harbour, tape.session) == tape.content


def test_the_key_that_is_handed_out_opens_the_content(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.upload(tape)
    key = gateway.harbour.recordings.key(tape.session)
    reader = Reader(key.signer)
    data = [record for record in reader.feed(kept(gateway.harbour, tape.session)) if isinstance(record, DataRecord)]
    assert reader.header
    assert "grüß" in Opener(reader.header, key.key).content(data[1]).decode()


def test_an_upload_that_is_repeated_finds_itself_complete_and_nothing_is_told_twice(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.upload(tape)
    again = gateway.begin(tape.session, len(tape.content))
    assert isinstance(again, Granted)
    assert (again.value.state, again.value.offset, again.value.hash) == ("complete", len(tape.content), tape.chain)
    assert check_of(gateway.send(tape.session, len(tape.content), b"")) == "granted"
    assert check_of(gateway.send(tape.session, 0, tape.content)) == "U9"
    assert len(gateway.audited()) == 1


def test_a_session_that_began_in_1970_by_its_node_s_word_began_when_it_arrived(gateway: Gateway) -> None:
    for said in (5_000, NOON * 4):
        tape = gateway.tape(started=said)
        gateway.upload(tape)
        stored = gateway.harbour.recordings.find(tape.session)
        assert stored
        assert stored.entry.started == int(gateway.harbour.clock().timestamp() * 1000)


def test_a_length_that_is_declared_with_a_later_piece_is_kept_to(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session)
    first = gateway.send(tape.session, 0, tape.content[:500], len(tape.content))
    assert isinstance(first, Granted)
    assert first.value.length == len(tape.content)
    last = gateway.send(tape.session, 500, tape.content[500:], len(tape.content))
    assert isinstance(last, Granted)
    assert last.value.state == "complete"


# --- what is not, and may be tried again --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../x", "", "x" * 5000, "6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f/..", "\0"])
def test_a_session_id_that_is_none_touches_no_file_and_is_audited(gateway: Gateway, name: str) -> None:
    assert check_of(gateway.begin(name)) == "U1"
    assert files(gateway.harbour) == []
    (event,) = gateway.audited()
    assert (event["check"], event["server_id"], event["success"]) == ("U1", gateway.node.node_id, False)


def test_another_node_s_upload_can_be_neither_begun_nor_asked_for_nor_sent_to(gateway: Gateway) -> None:
    tape, other = gateway.tape(), Gateway(gateway.harbour, "gw-2")
    gateway.begin(tape.session)
    gateway.send(tape.session, 0, tape.content[:300])
    answers = [other.begin(tape.session), other.ask(tape.session), other.send(tape.session, 300, tape.content[300:])]
    assert [check_of(answer) for answer in answers] == ["U17", "U3", "U3"]
    assert [event["check"] for event in other.audited("SK033W")] == ["U17", "U3", "U3"]
    gateway.send(tape.session, 300, tape.content[300:])
    assert check_of(other.ask(tape.session)) == "U3"
    assert check_of(other.begin(tape.session)) == "U17"
    assert kept(gateway.harbour, tape.session) == tape.content


def test_a_session_is_refused_to_whoever_did_not_mint_it_before_its_own_node_has_begun_it(gateway: Gateway) -> None:
    tape, other = gateway.tape(), Gateway(gateway.harbour, "gw-2")
    for session in (tape.session, str(uuid.uuid4())):
        assert check_of(other.begin(session)) == "U17"
    assert files(gateway.harbour) == []
    first, second = gateway.audited()
    assert (first["check"], first["server_id"], first["sid"]) == ("U17", other.node.node_id, tape.session)
    assert (second["check"], second["server_hostname"], second["success"]) == ("U17", "gw-2", False)
    assert gateway.upload(tape).state == "complete"


def test_an_upload_that_was_not_begun_is_not_there(gateway: Gateway) -> None:
    nobody = SessionId(str(uuid.uuid4()))
    assert [check_of(gateway.ask(nobody)), check_of(gateway.send(nobody, 0, b"x"))] == ["U2", "U2"]
    assert files(gateway.harbour) == []


def test_gaps_and_overlaps_change_nothing(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session)
    gateway.send(tape.session, 0, tape.content[:400])
    for offset in (0, 399, 401, 2**60):
        assert check_of(gateway.send(tape.session, offset, tape.content[400:500])) == "U9"
    assert check_of(gateway.send(tape.session, 400, tape.content[400:])) == "granted"
    assert kept(gateway.harbour, tape.session) == tape.content
    assert len(gateway.audited()) == 1


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
def test_a_piece_with_a_wrong_checksum_changes_nothing(gateway: Gateway, algorithm: str) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session)
    digest = hashlib.new(algorithm, tape.content).digest()
    other = bytes([digest[0] ^ 1]) + digest[1:]
    for sum_, check in ((other, "U10"), (digest, "granted")):
        checksum = Checksum(algorithm, sum_)  # type: ignore[arg-type]  # one of the literal's own
        answer = gateway.harbour.recordings.append(
            gateway.node, tape.session, Piece(0, tape.content, None, checksum), ADDRESS
        )
        assert check_of(answer) == check


def test_a_piece_larger_than_one_may_be_is_not_taken(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session)
    assert check_of(gateway.send(tape.session, 0, bytes(limits.RECORDING_PIECE_MAX + 1))) == "U7"
    assert check_of(gateway.send(tape.session, 0, tape.content)) == "granted"


def test_a_declared_length_beyond_the_limit_or_unlike_the_first_is_not_taken(gateway: Gateway) -> None:
    session = gateway.new_session()
    assert check_of(gateway.begin(session, limits.RECORDING_MAX + 1)) == "U4"
    assert files(gateway.harbour) == []
    assert check_of(gateway.begin(session)) == "granted"
    assert check_of(gateway.begin(session, 5000)) == "granted"
    assert check_of(gateway.begin(session, 5001)) == "U5"
    assert check_of(gateway.send(session, 0, b"SKE", 5001)) == "U5"
    assert check_of(gateway.send(session, 0, b"SKE", 5000)) == "granted"


def test_two_that_upload_one_session_at_once_make_one_recording(gateway: Gateway) -> None:
    tape = gateway.blank().head()
    for number in range(40):
        tape.output(number * 100, f"line {number}\r\n")
    tape.seal("final", 5000)
    barrier = threading.Barrier(2)

    def agent(size: int) -> str:
        barrier.wait(20)
        gateway.begin(tape.session)
        while True:
            at = gateway.ask(tape.session)
            assert isinstance(at, Granted)
            if at.value.state != "arriving":
                return at.value.state
            offset = at.value.offset
            answer = gateway.send(tape.session, offset, tape.content[offset : offset + size])
            assert check_of(answer) in {"granted", "U9", "U8"}

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(agent, (170, 230))) == ["complete"] * 2
    assert kept(gateway.harbour, tape.session) == tape.content
    assert len(gateway.audited()) == 1


# --- room -----------------------------------------------------------------------------------------------------------


def test_a_node_has_so_many_uploads_under_way_and_no_more(gateway: Gateway) -> None:
    with_quota(gateway.harbour, Quota(uploads=3))
    sessions = [gateway.new_session() for _ in range(4)]
    assert [check_of(gateway.begin(session)) for session in sessions] == ["granted"] * 3 + ["U6"]
    assert check_of(gateway.begin(sessions[0])) == "granted"
    other = Gateway(gateway.harbour, "gw-2")
    assert check_of(other.begin(other.new_session())) == "granted"
    with_quota(gateway.harbour, Quota(uploads=4))
    assert gateway.upload(gateway.tape()).state == "complete"


def test_refusals_that_left_nothing_do_not_use_a_node_s_share_up(gateway: Gateway) -> None:
    with_quota(gateway.harbour, Quota(uploads=4))
    for _ in range(10):
        tape = gateway.tape(cluster="elsewhere")
        gateway.begin(tape.session)
        assert check_of(gateway.send(tape.session, 0, tape.content)) == "U12"
    assert gateway.upload(gateway.tape()).state == "complete"
    assert len([name for name in files(gateway.harbour) if name.startswith("arriving/")]) <= 8


def test_uploads_that_were_begun_and_never_came_are_forgotten_after_a_while(gateway: Gateway) -> None:
    with_quota(gateway.harbour, Quota(uploads=4))
    for _ in range(4):
        assert check_of(gateway.begin(gateway.new_session())) == "granted"
    gateway.harbour.clock.move(days=limits.RECORDING_ARRIVAL_MAX.days)
    assert check_of(gateway.begin(gateway.new_session())) == "U6"
    gateway.harbour.clock.move(seconds=1)
    assert check_of(gateway.begin(gateway.new_session())) == "granted"


def test_what_has_ended_and_could_not_be_audited_yet_is_never_forgotten_and_counts(gateway: Gateway) -> None:
    with_quota(gateway.harbour, Quota(uploads=2))
    tapes = [gateway.tape() for _ in range(2)]
    with gateway.harbour.unwritable_log():
        for tape in tapes:
            gateway.begin(tape.session)
            with pytest.raises(AuditError):
                gateway.send(tape.session, 0, tape.content)
        gateway.harbour.clock.move(days=30)
        assert check_of(gateway.begin(gateway.new_session())) == "U6"
    for tape in tapes:
        assert check_of(gateway.ask(tape.session)) == "granted"
        assert kept(gateway.harbour, tape.session) == tape.content
    assert check_of(gateway.begin(gateway.new_session())) == "granted"


def test_one_damaged_note_stops_no_other_upload(gateway: Gateway, tmp_path: Path) -> None:
    session = gateway.new_session()
    gateway.begin(session)
    (tmp_path / "recordings" / "arriving" / f"{session}.json").write_text('{"session": 7}')
    with_quota(gateway.harbour, Quota())
    assert gateway.upload(gateway.tape()).state == "complete"
    assert gateway.harbour.recordings.entries()[0].entry.state == "complete"


def test_a_node_s_bytes_under_way_are_bounded(gateway: Gateway) -> None:
    quarter = 16 * 2**20
    with_quota(gateway.harbour, Quota(size=4 * quarter))
    tapes = [gateway.blank().head() for _ in range(2)]
    for tape in tapes:
        gateway.upload(tape)
        grow(gateway, tape, 2 * quarter - 5)
    assert check_of(gateway.send(tapes[0].session, 2 * quarter - 5, b"D")) == "granted"
    assert check_of(gateway.send(tapes[0].session, 2 * quarter - 4, b"\0" * 20)) == "U6"
    assert check_of(gateway.begin(gateway.new_session())) == "granted"
    grow(gateway, tapes[1], 2 * quarter + 5)
    assert check_of(gateway.begin(gateway.new_session())) == "U6"


def test_the_disk_s_last_bytes_are_never_taken(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session)
    with_quota(gateway.harbour, Quota(min_free=2**62))
    assert check_of(gateway.send(tape.session, 0, tape.content)) == "U6"
    assert check_of(gateway.begin(gateway.new_session())) == "U6"
    with_quota(gateway.harbour, Quota())
    assert check_of(gateway.send(tape.session, 0, tape.content)) == "granted"


# --- where the log or the disk fails ----------------------------------------------------------------------------------


def test_an_end_that_cannot_be_audited_is_not_confirmed_and_is_told_once_when_it_can(gateway: Gateway) -> None:
    tape = gateway.tape("interrupted")
    gateway.begin(tape.session)
    with gateway.harbour.unwritable_log():
        for _ in range(2):
            with pytest.raises(AuditError):
                gateway.send(tape.session, 0, tape.content)
        with pytest.raises(AuditError):
            gateway.ask(tape.session)
    at = gateway.ask(tape.session)
    assert isinstance(at, Granted)
    assert (at.value.state, at.value.hash) == ("interrupted", tape.chain)
    assert [event["code"] for event in gateway.audited()] == ["SK030W", "T2005I"]
    assert not any(name.startswith("arriving/") for name in files(gateway.harbour))


def test_a_crash_between_the_audit_log_and_the_keeping_is_told_once(gateway: Gateway, tmp_path: Path) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session)
    in_the_way = tmp_path / "recordings" / f"{gateway.harbour.clock():%Y}"
    in_the_way.write_text("no folder")
    with pytest.raises(Exception, match="cannot be stored"):
        gateway.send(tape.session, 0, tape.content)
    assert len(gateway.audited()) == 1
    in_the_way.unlink()
    at = gateway.ask(tape.session)
    assert isinstance(at, Granted)
    assert (at.value.state, at.value.hash) == ("complete", tape.chain)
    assert len(gateway.audited()) == 1
    assert kept(gateway.harbour, tape.session) == tape.content


def test_bytes_that_vanished_from_the_disk_are_asked_for_again(gateway: Gateway, tmp_path: Path) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session)
    gateway.send(tape.session, 0, tape.content[:900])
    os.truncate(tmp_path / "recordings" / "arriving" / f"{tape.session}.skr", 100)
    assert check_of(gateway.send(tape.session, 900, tape.content[900:])) == "U9"
    at = gateway.ask(tape.session)
    assert isinstance(at, Granted)
    assert at.value.offset == 0
    assert gateway.upload(tape).hash == tape.chain


def test_bytes_that_nobody_was_told_of_are_overwritten(gateway: Gateway, tmp_path: Path) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session)
    gateway.send(tape.session, 0, tape.content[:900])
    with (tmp_path / "recordings" / "arriving" / f"{tape.session}.skr").open("ab") as file:
        file.write(b"left by a crash, and longer than what comes" * 500)
    gateway.send(tape.session, 900, tape.content[900:1000])
    gateway.send(tape.session, 1000, tape.content[1000:])
    assert kept(gateway.harbour, tape.session) == tape.content


@pytest.mark.timeout(120)
def test_a_full_disk_stops_uploads_and_nothing_else_and_room_lets_them_go_on(tmp_path: Path) -> None:
    """On a file system of 400 kB, in a mount namespace of its own: `full_disk` tells what happens there."""
    script = f"mount -t tmpfs -o size=400k none {tmp_path} && exec {sys.executable} -m {full_disk.__name__} {tmp_path}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["refusals"] == ["NoRoomError", "NoRoomError", "NoRoomError"]
    assert said["offset after them"] == said["offset before them"]
    assert (said["state"], said["is whole"]) == ("complete", True)
    assert said["left"] == [".json", ".jsonl", ".skr"]
