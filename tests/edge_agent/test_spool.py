from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.spool import Kept
from edge_agent.recovery import Hand, Recovered
from edge_agent.spool import Spool
from protocol.decision import Granted, Refused
from protocol.names import SessionId
from protocol.recording.reader import Reader
from tests.harness.tape import Tape, short_tape

MIB = 1024 * 1024
PAGE = 4096
SOME = "4aa169d6-157c-4c46-8642-dd8767254127"
NIGHT = (1_795_348_900_000, 1_795_348_905_000)
SIGNING = Ed25519PrivateKey.generate()
SIGNER = SIGNING.public_key().public_bytes_raw()
SAMPLE = short_tape(signing=SIGNING)


def new_id() -> SessionId:
    return SessionId(str(uuid.uuid4()))


def hand(signing: Ed25519PrivateKey = SIGNING) -> Hand:
    return Hand(signing.sign, signing.public_key().public_bytes_raw(), lambda: NIGHT, threading.Event())


def open_spool(directory: Path, *, quota: int = 100 * MIB, min_free: int = 0) -> Spool:
    spool = Spool(directory / "spool", quota=quota, min_free=min_free)
    spool.open()
    return spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return open_spool(tmp_path)


def put(spool: Spool, data: bytes, session: SessionId | None = None) -> SessionId:
    session = session or new_id()
    file = spool.create(session)
    os.write(file, data)
    os.close(file)
    spool.grew(len(data))
    spool.ended(session)
    return session


def recover(spool: Spool) -> list[Recovered]:
    """Do what an agent does that has started again; return what was done to those that were not whole."""
    spool.open()
    return [found for found in spool.recover(hand()) if found.outcome != "whole"]


# --- files ----------------------------------------------------------------------------------------------------------


def test_directory_and_files_are_the_agents_alone(spool: Spool) -> None:
    session = put(spool, b"x")
    assert stat.S_IMODE(spool.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(spool.path(session).stat().st_mode) == 0o600


def test_a_recording_is_never_written_over(spool: Spool) -> None:
    session = put(spool, b"before")
    with pytest.raises(FileExistsError):
        spool.create(session)
    assert spool.path(session).read_bytes() == b"before"


def test_a_link_in_the_recording_s_place_is_not_followed(spool: Spool, tmp_path: Path) -> None:
    session = new_id()
    spool.path(session).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        spool.create(session)
    assert not (tmp_path / "elsewhere").exists()
    assert spool.waiting() == []


def test_of_a_live_recording_only_what_is_safe_waits_and_of_an_ended_one_all(spool: Spool) -> None:
    session = new_id()
    file = spool.create(session)
    os.write(file, b"x" * 100)
    assert [(one.size, one.is_live) for one in spool.waiting()] == [(0, True)]
    spool.synced(session, 60)
    assert [(one.size, one.is_live) for one in spool.waiting()] == [(60, True)]
    os.close(file)
    spool.ended(session)
    found = spool.waiting()
    assert [(one.session, one.size, one.is_live) for one in found] == [(session, 100, False)]
    assert found[0].path.read_bytes() == b"x" * 100
    assert found[0].modified == found[0].path.stat().st_mtime


def test_what_was_uploaded_goes_and_may_be_gone_already(spool: Spool) -> None:
    session = put(spool, b"x")
    spool.remove(session)
    spool.remove(session)
    assert list(spool.directory.iterdir()) == []


def test_what_the_controller_refuses_is_kept_and_waits_no_more(spool: Spool) -> None:
    session = put(spool, b"x")
    spool.refuse(session)
    spool.refuse(session)
    assert spool.waiting() == []
    assert [path.name for path in spool.directory.iterdir()] == [f"{session}.skr.refused"]
    assert spool.usage() == PAGE


@pytest.mark.parametrize("name", ["notes.txt", "x.skr", f"{SOME}.skr.new", f"{SOME}.skr.bak"])
def test_what_is_no_recording_by_its_name_is_left_alone(spool: Spool, name: str) -> None:
    (spool.directory / name).write_bytes(b"x")
    assert spool.waiting() == []
    assert recover(spool) == []
    assert spool.usage() == 0
    assert (spool.directory / name).exists()


def test_a_spool_without_its_directory_is_empty_and_makes_it_anew(spool: Spool) -> None:
    spool.directory.rmdir()
    assert spool.waiting() == []
    put(spool, b"x")
    assert len(spool.waiting()) == 1


# --- what waits, kept in memory ---------------------------------------------------------------------------------------


def changed(spool: Spool) -> dict[SessionId, tuple[int, bool] | None]:
    return {session: (one.size, one.is_live) if one else None for session, one in spool.changes().items()}


def test_each_change_is_told_once_as_things_stand_when_it_is_asked_for(spool: Spool) -> None:
    session = new_id()
    file = spool.create(session)
    assert changed(spool) == {session: (0, True)}
    assert changed(spool) == {}
    os.write(file, b"x" * 100)
    spool.synced(session, 60)
    spool.synced(session, 100)
    assert changed(spool) == {session: (100, True)}
    os.close(file)
    spool.ended(session)
    assert changed(spool) == {session: (100, False)}
    spool.remove(session)
    assert changed(spool) == {session: None}
    spool.refuse(put(spool, b"x"))
    assert list(changed(spool).values()) == [None]


def test_what_a_person_did_by_hand_is_seen_when_the_directory_is_read_again(spool: Spool) -> None:
    gone, grown, live, came = put(spool, b"x"), put(spool, b"x"), new_id(), new_id()
    file = spool.create(live)
    changed(spool)
    spool.path(gone).unlink()
    spool.path(grown).write_bytes(b"xx")
    spool.path(came).write_bytes(b"xxx")
    assert changed(spool) == {}
    spool.rescan()
    assert changed(spool) == {gone: None, grown: (2, False), came: (3, False)}
    assert spool.usage() == 2 * PAGE
    assert changed(spool) == {}
    os.close(file)


def test_what_happens_while_the_directory_is_read_is_not_overlooked(spool: Spool) -> None:
    over = threading.Event()

    def read_again() -> None:
        while not over.is_set():
            spool.rescan()

    reader = threading.Thread(target=read_again)
    reader.start()
    kept = [put(spool, b"x") for _ in range(30)]
    for number in range(300):
        session = put(spool, b"x")
        kept.append(session)
        one = kept.pop(number % len(kept))
        (spool.remove if number % 2 else spool.refuse)(one)
        assert {waiting.session for waiting in spool.waiting()} == set(kept)
    over.set()
    reader.join()
    assert spool.usage() == (30 + 150) * PAGE


# --- room -----------------------------------------------------------------------------------------------------------


def test_there_is_room_up_to_the_quota_and_again_when_something_went(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, quota=10 * PAGE)
    session = put(spool, bytes(6 * PAGE))
    assert isinstance(spool.room(4 * PAGE), Granted)
    assert isinstance(answer := spool.room(4 * PAGE + 1), Refused)
    assert answer.check == "D2"
    spool.remove(session)
    assert isinstance(spool.room(10 * PAGE), Granted)


def test_small_recordings_count_for_what_they_take_up_on_the_disk(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, quota=10 * PAGE)
    sessions = [put(spool, b"x" * 100) for _ in range(10)]
    assert isinstance(spool.room(1), Refused)
    assert spool.usage() == 10 * PAGE
    spool.remove(sessions[0])
    assert isinstance(spool.room(PAGE), Granted)
    assert isinstance(spool.room(PAGE + 1), Refused)


def test_what_a_person_removed_by_hand_makes_room(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, quota=10 * PAGE)
    session = put(spool, bytes(9 * PAGE))
    assert isinstance(spool.room(5 * PAGE), Refused)
    spool.path(session).unlink()
    assert isinstance(spool.room(5 * PAGE), Granted)


def test_what_was_written_since_the_last_count_is_counted(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, quota=10 * PAGE)
    assert isinstance(spool.room(6 * PAGE), Granted)
    put(spool, bytes(6 * PAGE))
    assert isinstance(spool.room(6 * PAGE), Refused)


def test_the_disk_must_keep_some_space(tmp_path: Path) -> None:
    assert isinstance(answer := open_spool(tmp_path, min_free=2**60).room(1), Refused)
    assert answer.check == "D3"


def test_what_the_controller_refused_gives_way_and_what_waits_does_not(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, quota=10 * PAGE)
    refused, waits = put(spool, b"r" * 5 * PAGE), put(spool, b"w" * 5 * PAGE)
    spool.refuse(refused)
    assert isinstance(spool.room(4 * PAGE), Granted)
    assert [one.session for one in spool.waiting()] == [waits]
    assert spool.usage() == 5 * PAGE
    assert [one.session for one in spool.gone()] == [refused]
    assert spool.gone() == []
    assert isinstance(spool.room(6 * PAGE), Refused)


def test_a_spool_whose_disk_cannot_be_asked_has_no_room(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"in the way")
    spool = Spool(tmp_path / "spool", quota=MIB, min_free=0)
    with pytest.raises(FileExistsError):
        spool.open()
    assert isinstance(answer := spool.room(1), Refused)
    assert answer.check == "D5"


# --- after a crash --------------------------------------------------------------------------------------------------


def tape(reason: str = "final") -> Tape:
    return short_tape(reason, signing=SIGNING)  # type: ignore[arg-type]  # one of a seal's reasons


@pytest.fixture(scope="module")
def sample() -> Tape:
    return tape()


def test_what_is_left_behind_is_not_uploaded_before_it_is_in_order(tmp_path: Path, sample: Tape) -> None:
    put(open_spool(tmp_path), sample.content[:-20], sample.session)
    spool = open_spool(tmp_path)
    assert (spool.left_behind, spool.waiting()) == (1, [])
    assert len(list(spool.recover(hand()))) == 1
    assert spool.left_behind == 0
    assert [one.session for one in spool.waiting()] == [sample.session]


def test_each_recording_can_be_uploaded_as_soon_as_it_is_in_order_the_newest_first(tmp_path: Path) -> None:
    made = [tape() for _ in range(3)]
    before = open_spool(tmp_path)
    for age, one in enumerate(made):
        put(before, one.content[:-20], one.session)
        os.utime(before.path(one.session), (1000 - age, 1000 - age))
    spool = open_spool(tmp_path)
    recovering = spool.recover(hand())
    for number, one in enumerate(made, 1):
        assert next(recovering).session == one.session
        assert {waiting.session for waiting in spool.waiting()} == {done.session for done in made[:number]}
        assert one.session in spool.changes()
    assert next(recovering, None) is None


def test_what_nobody_thought_of_leaves_one_recording_behind_and_not_the_others(spool: Spool) -> None:
    made = [tape() for _ in range(3)]
    for age, one in enumerate(made):
        put(spool, one.content[:-20], one.session)
        os.utime(spool.path(one.session), (1000 - age, 1000 - age))
    usual, calls = hand(), iter([ValueError("insecure key of a test"), None, None])

    def sign(data: bytes) -> bytes:
        if fault := next(calls):
            raise fault
        return usual.sign(data)

    spool.open()
    found = list(spool.recover(Hand(sign, usual.signer, usual.times, usual.stop)))
    assert [one.outcome for one in found] == ["failed", "sealed", "sealed"]
    assert "insecure key of a test" in found[0].reason
    assert spool.left_behind == 1
    assert [one.outcome for one in spool.recover(hand())] == ["sealed"]


def test_a_recording_that_had_ended_is_left_as_it_is(spool: Spool) -> None:
    for made in (tape(), tape("interrupted")):
        put(spool, made.content, made.session)
        before = spool.path(made.session).stat()
        assert recover(spool) == []
        assert spool.path(made.session).read_bytes() == made.content
        assert spool.path(made.session).stat().st_mtime_ns == before.st_mtime_ns


def test_cut_anywhere_a_recording_verifies_as_interrupted_or_was_never_begun(tmp_path: Path, sample: Tape) -> None:
    spool = open_spool(tmp_path)
    header_end = len(sample.records[0])
    for size in range(len(sample.content)):
        put(spool, sample.content[:size], sample.session)
        (found,) = recover(spool)
        if size < header_end:
            assert (found.outcome, found.lost) == ("removed", size)
            assert not spool.path(sample.session).exists()
            continue
        assert found.outcome == "sealed"
        data = spool.path(sample.session).read_bytes()
        assert_interrupted(data, kept=size - found.lost, of=sample.content)
        assert recover(spool) == []
        spool.remove(sample.session)


def assert_interrupted(data: bytes, *, kept: int, of: bytes) -> None:
    reader = Reader(SIGNER)
    for _ in reader.feed(data):
        pass
    reader.finish()
    assert reader.seal
    assert (reader.seal.reason, reader.seal.device, reader.seal.corrected) == ("interrupted", *NIGHT)
    assert data[:kept] == of[:kept]


def test_the_seal_says_up_to_when_something_is_on_record(spool: Spool, sample: Tape) -> None:
    put(spool, b"".join(sample.records[:4]), sample.session)  # the running seal at 600 is the last
    recover(spool)
    assert last_seal(spool, sample.session) == 600
    spool.remove(sample.session)
    put(spool, b"".join(sample.records[:5]), sample.session)  # output at 1500 came after it
    recover(spool)
    assert last_seal(spool, sample.session) == 1500


def last_seal(spool: Spool, session: SessionId) -> int:
    reader = Reader(SIGNER)
    assert list(reader.feed(spool.path(session).read_bytes()))
    assert reader.seal
    return reader.seal.at


def test_a_tail_of_zeros_is_a_torn_tail(spool: Spool, sample: Tape) -> None:
    put(spool, b"".join(sample.records[:5]) + bytes(5000), sample.session)
    (recovered,) = recover(spool)
    assert recovered == Recovered(sample.session, "sealed", 5000)
    assert recovered.describe() == (
        "it goes as far as it had reached the disk, and is sealed as interrupted (5000 bytes at its end were cut off)"
    )
    assert_interrupted(spool.path(sample.session).read_bytes(), kept=100, of=sample.content)


@given(st.data(), st.integers(2, len(SAMPLE.records)))
def test_damage_anywhere_is_cut_out_with_all_that_follows(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, count: int
) -> None:
    ends = [sum(map(len, SAMPLE.records[:number])) for number in range(count + 1)]
    place = data.draw(st.integers(0, ends[-1] - 1))
    content = bytearray(SAMPLE.content[: ends[-1]])
    content[place] ^= data.draw(st.integers(1, 255))
    spool = open_spool(tmp_path_factory.mktemp("damaged"))
    put(spool, bytes(content), SAMPLE.session)
    (found,) = recover(spool)
    if found.outcome in ("removed", "strange"):
        assert place < ends[1]
        assert found.reason
        return
    kept = max(end for end in ends if end <= place)
    assert len(content) - found.lost == kept >= ends[1]
    assert_interrupted(spool.path(SAMPLE.session).read_bytes(), kept=kept, of=SAMPLE.content)


@given(st.binary(min_size=1, max_size=200), st.integers(2, 6))
def test_a_torn_tail_of_noise_costs_no_record_that_was_whole(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, whole: int
) -> None:
    kept = b"".join(SAMPLE.records[:whole])
    if SAMPLE.content.startswith(kept + noise):
        return
    spool = open_spool(tmp_path_factory.mktemp("torn"))
    put(spool, kept + noise, SAMPLE.session)
    (found,) = recover(spool)
    assert (found.outcome in ("sealed", "damaged"), found.lost) == (True, len(noise))
    assert_interrupted(spool.path(SAMPLE.session).read_bytes(), kept=len(kept), of=SAMPLE.content)


def test_a_last_record_whose_end_never_reached_the_disk_is_not_sealed(spool: Spool) -> None:
    made = Tape(signing=SIGNING).head()
    before = len(made.content)
    content = made.output(500, random.Random(1).randbytes(8000).hex()).content  # noqa: S311 - hides nothing
    put(spool, content[:-4096] + bytes(4096), made.session)
    (found,) = recover(spool)
    assert (found.outcome, found.lost) == ("damaged", len(content) - before)
    assert_interrupted(spool.path(made.session).read_bytes(), kept=before, of=content)


def test_putting_recordings_in_order_loads_no_compressor_and_no_cipher(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    session = put(spool, b"".join(SAMPLE.records[:5]), SAMPLE.session)
    program = """
import sys, threading
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from edge_agent.recovery import Hand, recover_file
key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(sys.argv[3]))
hand = Hand(key.sign, key.public_key().public_bytes_raw(), lambda: (1, 1), threading.Event())
print(recover_file(Path(sys.argv[1]), sys.argv[2], hand).outcome)
print([name for name in sys.modules if "zstandard" in name or name.endswith((".hpke", ".mlkem", "recording.writer"))])
"""
    argv = [sys.executable, "-c", program, str(spool.path(session)), session, SIGNING.private_bytes_raw().hex()]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("sealed\n[]\n", "")


def test_bytes_after_the_last_seal_are_cut_off_and_told(spool: Spool, sample: Tape) -> None:
    put(spool, sample.content + b"more", sample.session)
    (found,) = recover(spool)
    assert (found.outcome, found.lost) == ("damaged", 4)
    assert spool.path(sample.session).read_bytes() == sample.content


@pytest.mark.parametrize(
    "content", [b"", b"SKERRYR1", SAMPLE.records[0][:-1], bytes(4096)], ids=["nothing", "a mark", "torn", "blank"]
)
def test_what_has_no_whole_header_is_removed_and_told(spool: Spool, content: bytes) -> None:
    session = put(spool, content)
    (found,) = recover(spool)
    assert (found.session, found.outcome, found.lost) == (session, "removed", len(content))
    assert found.reason
    assert spool.usage() == 0


def test_what_is_no_recording_by_its_content_is_set_aside(spool: Spool) -> None:
    session = put(spool, b"no recording at all" * 100)
    (found,) = recover(spool)
    assert (found.outcome, found.reason[:9]) == ("strange", "record 0:")
    assert [path.name for path in spool.directory.iterdir()] == [f"{session}.skr.refused"]


@pytest.mark.parametrize(
    "make",
    [lambda: (short_tape("running"), None), lambda: (short_tape("running", signing=SIGNING), new_id())],
    ids=["another node's", "another session's"],
)
def test_what_is_not_this_node_s_or_not_that_session_s_is_set_aside(
    spool: Spool, make: Callable[[], tuple[Tape, SessionId | None]]
) -> None:
    made, name = make()
    session = put(spool, made.content, name or made.session)
    (found,) = recover(spool)
    assert (found.session, found.outcome) == (session, "strange")
    assert spool.waiting() == []
    assert (spool.directory / f"{session}.skr.refused").read_bytes() == made.content


def test_a_session_that_is_being_recorded_is_none_that_was_left_behind(spool: Spool) -> None:
    session = new_id()
    file = spool.create(session)
    os.write(file, b"SKERRY")
    assert recover(spool) == []
    assert spool.path(session).exists()
    os.close(file)


def test_who_is_told_to_stop_leaves_the_rest_for_another_time(spool: Spool, sample: Tape) -> None:
    put(spool, sample.content[:-5], sample.session)
    spool.open()
    stopping = hand()
    stopping.stop.set()
    assert list(spool.recover(stopping)) == []
    assert spool.left_behind == 1
    assert spool.path(sample.session).read_bytes() == sample.content[:-5]


def test_what_has_gone_meanwhile_is_no_longer_left_behind(spool: Spool, sample: Tape) -> None:
    put(spool, sample.content[:-5], sample.session)
    spool.open()
    spool.path(sample.session).unlink()
    assert [found.outcome for found in spool.recover(hand())] == ["whole"]
    assert spool.left_behind == 0


def test_a_big_recording_is_put_in_order_in_little_memory(spool: Spool) -> None:
    import tracemalloc

    made = Tape(signing=SIGNING).head()
    session = put(spool, made.content, made.session)
    with spool.path(session).open("ab") as file:
        for number in range(400):
            made.output(number, os.urandom(40_000).hex())
            file.write(made.records.pop())
        size = file.tell()
    assert size > 15 * MIB
    spool.open()
    tracemalloc.start()
    (found,) = spool.recover(hand())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.outcome, found.lost) == ("sealed", 0)
    assert peak < 4 * MIB


def test_what_gave_way_is_named_with_its_size(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, quota=10 * PAGE)
    session = put(spool, b"r" * 700)
    spool.refuse(session)
    assert isinstance(spool.room(10 * PAGE), Granted)
    assert [(type(one), one.session, one.size) for one in spool.gone()] == [(Kept, session, PAGE)]
