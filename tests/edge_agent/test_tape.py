"""The writing of one recording: what a process that is killed in the middle of it leaves, and how records are cut."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.gathering import Piece
from edge_agent.recovery import Hand
from edge_agent.spool import CannotRecordError, Spool
from edge_agent.tape import Order, Signet, Tape
from protocol import limits
from protocol.names import ClusterName, NodeId, NodeName, SessionId
from protocol.recording import cipher
from protocol.recording.binary import Summary, parse_summary
from protocol.recording.cast import Code
from protocol.recording.reader import DataRecord, Reader
from tests.harness.recording_room import MIB, Played, play
from tests.harness.road import ROOT

SESSION = SessionId("4aa169d6-157c-4c46-8642-dd8767254127")
NODE = NodeId("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f")
SEED = bytes(range(32))
SIGNING = Ed25519PrivateKey.from_private_bytes(SEED)
SIGNER = SIGNING.public_key().public_bytes_raw()
PRIVATE, PUBLIC = cipher.generate()
KILLS = 12


def order(public_key: bytes = PUBLIC, *, is_interactive: bool = True) -> Order:
    return Order(  # noqa: S604 - the login's shell, not one that is run
        session=SESSION,
        user="alice",
        login="pi",
        command="",
        is_interactive=is_interactive,
        size=(80, 24),
        term="xterm",
        shell="/bin/sh",
        node=NODE,
        node_name=NodeName("gw-1"),
        cluster=ClusterName("harbour"),
        started=(1_795_348_800_000, 1_795_348_800_000),
        key_id=str(uuid.uuid4()),
        public_key=public_key,
    )


def signet() -> Signet:
    return Signet(SIGNING.sign, SIGNER, lambda: (1_795_348_900_000, 1_795_348_900_000))


def spool(directory: Path) -> Spool:
    found = Spool(directory, quota=512 * MIB, min_free=0)
    found.open()
    return found


def read(place: Spool) -> Played:
    return play(place.path(SESSION).read_bytes(), SIGNER, PRIVATE)


def record_for_ever(directory: str, public_key: str) -> None:
    """Write numbered lines, and tell of each batch that is written: what a process does until it is killed."""
    place = spool(Path(directory))
    tape = Tape.begin(place, order(bytes.fromhex(public_key)), signet())
    number = 0
    while True:
        pieces: list[Piece] = []
        for _ in range(random.randrange(1, 400)):  # noqa: S311 - any number will do
            number += 1
            pieces.append((number, "o", b"line %d of a long night\n" % number))
        tape.write(pieces, number)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def test_a_process_that_is_killed_at_any_instant_leaves_a_recording_of_all_it_had_written(tmp_path: Path) -> None:
    program = (
        "import sys; from tests.edge_agent.test_tape import record_for_ever; record_for_ever(sys.argv[1], sys.argv[2])"
    )
    for attempt in range(KILLS):
        directory = tmp_path / str(attempt)
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(directory), PUBLIC.hex()],
            cwd=ROOT,
            env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        assert child.stdout
        said = b""
        for _ in range(random.randrange(1, 200)):  # noqa: S311 - the same
            said += child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read()
        child.stdout.close()
        child.wait()
        written = int(said[: said.rindex(b"\n")].split()[-1])
        place = spool(directory)
        recovered = place.recover(Hand(SIGNING.sign, SIGNER, lambda: (1, 1), threading.Event()))
        assert [found.outcome for found in recovered] == ["sealed"]
        played = read(place)
        assert played.seals[-1].reason == "interrupted"
        lines = played.text("o").splitlines()
        assert lines == [f"line {number} of a long night" for number in range(1, len(lines) + 1)]
        assert len(lines) >= written


def test_what_was_gathered_is_cut_into_records_that_a_reader_takes(tmp_path: Path) -> None:
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    # The worst there is: control characters, each six in the text, and streams that take turns, each an event.
    pieces: list[Piece] = [(number // 40, "oe"[number % 2], b"\x01") for number in range(60_000)]  # type: ignore[misc]  # a code of each
    pieces += [(2000 + number, "o", b"\x00" * 65536) for number in range(20)]
    pieces.append((3000, "o", b"\x1b" * 128 * 1024))
    tape.write(pieces, 3000)
    tape.finish([], "0", 3000)
    played = read(place)
    assert len(played.text("o")) == 30_000 + 20 * 65536 + 128 * 1024
    assert played.text("e") == "\x01" * 30_000
    assert played.told("x") == ["0"]


def test_as_many_events_of_control_characters_as_fit_a_record_are_taken(tmp_path: Path) -> None:
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    for size in (1, 31, 4095, 4096):
        count = 3 * limits.RECORDING_GATHER_MAX // size if size > 31 else 3 * 8192
        pieces: list[Piece] = [(10**9 + 10 * number, "o", b"\x01" * size) for number in range(count)]
        tape.write(pieces, 2 * 10**9)
    tape.finish([], "0", 2 * 10**9)
    assert set(read(place).text("o")) == {"\x01"}


def test_records_are_no_larger_than_what_is_gathered_at_once(tmp_path: Path) -> None:
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    tape.write([(number, "o", os.urandom(4096).hex().encode()) for number in range(100)], 100)
    tape.finish([], "0", 100)
    records = [record for record in Reader().feed(place.path(SESSION).read_bytes()) if isinstance(record, DataRecord)]
    assert len(records) >= 100 * 8192 // (limits.RECORDING_GATHER_MAX + 8192)


def test_a_character_in_two_pieces_is_one_whatever_lies_between(tmp_path: Path) -> None:
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    whole = "ü".encode()
    tape.write([(1, "o", whole[:1]), (2, "r", b"100x40"), (3, "e", b"other")], 3)
    tape.write([(4, "o", whole[1:])], 4)
    tape.finish([(5, "o", whole[:1])], "", 6)
    played = read(place)
    assert played.text("o") == "ü\N{REPLACEMENT CHARACTER}"
    assert played.text("e") == "other"
    assert played.told("r") == ["100x40"]


def test_without_a_terminal_what_is_no_text_is_told_by_size_and_hash_and_hardly_takes_room(tmp_path: Path) -> None:
    data = os.urandom(MIB)
    pieces: list[Piece] = [(at >> 12, "o", data[at : at + 32768]) for at in range(0, MIB, 32768)]
    pieces = [(1, "e", b"tar: begins\n"), *pieces, (300, "r", b"100x40"), (301, "e", bytes(5000))]
    place = spool(tmp_path)
    tape = Tape.begin(place, order(is_interactive=False), signet())
    tape.write(pieces, 400)
    tape.finish([(500, "o", b"done\n")], "0", 600)
    played = read(place)
    told = [parse_summary(data) for data in played.told("b")]
    assert sum(one.count for one in told if one.stream == "o") == MIB
    at = 0
    for one in told:
        if one.stream == "o":
            assert one.sha256 == sha256(data[at : at + one.count]).hexdigest()
            at += one.count
    assert [one for one in told if one.stream == "e"] == [Summary(5000, "e", sha256(bytes(5000)).hexdigest())]
    assert (played.text("o"), played.text("e"), played.told("r")) == ("done\n", "tar: begins\n", ["100x40"])
    assert place.path(SESSION).stat().st_size < 8192


def test_on_a_terminal_the_same_is_text(tmp_path: Path) -> None:
    data = os.urandom(65536)
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    tape.finish([(1, "o", data)], "0", 2)
    played = read(place)
    assert (played.text("o"), played.told("b")) == (data.decode(errors="replace"), [])


def refused(call: Callable[[], object]) -> str:
    """Return the number of the check that a call fails on."""
    with pytest.raises(CannotRecordError) as caught:
        call()
    return caught.value.problem.check


def test_for_want_of_room_no_number_is_used_and_the_recording_can_go_on(tmp_path: Path) -> None:
    place = Spool(tmp_path, quota=512 * 1024, min_free=0)
    place.open()
    tape = Tape.begin(place, order(), signet())
    tape.write([(1, "o", b"before ")], 1)
    other = tmp_path / f"{uuid.uuid4()}.skr"
    other.write_bytes(bytes(500 * 1024))
    place.open()
    assert refused(lambda: tape.write([(2, "o", os.urandom(32768).hex().encode())], 2)) == "D2"
    assert tape.lost == 65536
    tape.keep(3)
    assert place.waiting()[0].size == place.path(SESSION).stat().st_size
    assert refused(lambda: tape.resume([], 1000, 4)) == "D2"
    other.unlink()
    place.open()
    tape.resume([(5, "r", b"100x40")], 464, 6)
    tape.write([(7, "o", b"after")], 7)
    tape.finish([], "0", 8)
    played = read(place)
    assert played.text("o") == "before after"
    assert played.told("m") == ["67000 bytes not recorded"]
    assert played.told("r") == ["100x40"]
    assert [event.code for event in played.events] == ["j", "o", "r", "m", "o", "x"]
    assert [one.reason for one in played.seals] == ["running", "final"]


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Have the kernel refuse to write beyond `size` in any file, as a full disk does: after it took a part."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_record_that_the_disk_did_not_take_is_the_next_one_that_is_written(tmp_path: Path) -> None:
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    end = place.path(SESSION).stat().st_size
    with no_file_larger_than(end + 1000):
        assert refused(lambda: tape.write([(1, "o", os.urandom(8192).hex().encode())], 1)) == "D5"
        part = place.path(SESSION).read_bytes()[end:]
        assert len(part) == 1000
        assert refused(lambda: tape.write([(2, "o", b"something else")], 2)) == "D5"
    tape.resume([], 0, 3)
    tape.finish([], "0", 4)
    assert place.path(SESSION).read_bytes()[end : end + 1000] == part  # nothing else was locked under that number
    played = read(place)
    assert len(played.text("o")) == 16384
    assert played.told("m") == ["14 bytes not recorded"]


def test_what_was_missing_at_the_end_is_told_there(tmp_path: Path) -> None:
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    tape.finish([(1, "l", b"bob")], "0", 2, dropped=77)
    played = read(place)
    assert [(event.code, event.data) for event in played.events[1:]] == [
        ("l", "bob"),
        ("m", "77 bytes not recorded"),
        ("x", "0"),
    ]


def test_a_failure_that_stays_leaves_whole_records_and_a_seal_at_the_time_of_the_last(tmp_path: Path) -> None:
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    tape.write([(1, "o", b"kept")], 1)
    tape.keep(5000)
    with no_file_larger_than(place.path(SESSION).stat().st_size + 10):
        assert refused(lambda: tape.write([(5001, "o", b"lost")], 5001)) == "D5"
    tape.break_off()
    tape.break_off()  # which has nothing left to do
    played = read(place)
    assert played.text("o") == "kept"
    assert [(one.reason, one.at) for one in played.seals] == [("running", 5000), ("stopped", 5000)]


@contextlib.contextmanager
def lost_writes(tape: Tape) -> Iterator[None]:
    """Have what is written go nowhere, and the sync fail, as with a disk that breaks down."""
    kept, nowhere = os.dup(tape._file), os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, tape._file)
    try:
        yield
    finally:
        os.dup2(kept, tape._file)
        os.close(kept)
        os.close(nowhere)


def test_after_a_failed_sync_only_what_an_earlier_one_made_safe_counts(tmp_path: Path) -> None:
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    tape.write([(1, "o", b"safe")], 1)
    tape.keep(2)
    (waits,) = place.waiting()
    tape.write([(3, "o", b"perhaps")], 3)
    with lost_writes(tape):
        assert refused(lambda: tape.keep(4)) == "D9"
    assert refused(lambda: tape.write([(5, "o", b"more")], 5)) == "D9"
    assert refused(lambda: tape.resume([], 0, 6)) == "D9"
    assert place.waiting() == [dataclasses.replace(waits, modified=place.waiting()[0].modified)]
    tape.break_off()
    played = read(place)
    assert (played.text("o"), played.seals[-1].reason) == ("safe", "stopped")
    assert place.waiting()[0].size > waits.size


def test_a_last_seal_that_was_lost_is_not_believed(tmp_path: Path) -> None:
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    tape.write([(1, "o", b"safe")], 1)
    tape.keep(2)
    with lost_writes(tape):
        assert refused(lambda: tape.finish([(3, "o", b"lost")], "0", 4)) == "D9"
    tape.break_off()
    played = read(place)
    assert (played.text("o"), played.told("x"), played.seals[-1].reason) == ("safe", [], "stopped")


def test_where_nothing_was_ever_safe_nothing_is_left(tmp_path: Path) -> None:
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    with lost_writes(tape):
        assert refused(lambda: tape.keep(1)) == "D9"
    tape.break_off()
    assert place.waiting() == []
    assert list(tmp_path.iterdir()) == []


Told = tuple[Code, bytes]
SPOKEN = st.tuples(st.sampled_from(["o", "e", "i"]), st.binary(max_size=3000))
SIZED = st.tuples(
    st.just("r"), st.builds(lambda size: b"%dx%d" % size, st.tuples(st.integers(0, 65535), st.integers(0, 65535)))
)
NAMED = st.tuples(st.sampled_from(["j", "l"]), st.text(max_size=30).map(lambda name: name.encode(errors="replace")))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(SPOKEN | SIZED | NAMED, max_size=12), max_size=6), st.booleans(), st.text(max_size=50))
def test_whatever_a_tape_can_be_told_is_read_back(
    batches: list[list[Told]], is_interactive: bool, command: str
) -> None:
    with TemporaryDirectory() as directory:
        place = spool(Path(directory))
        wanted = dataclasses.replace(order(is_interactive=is_interactive), command=command)
        tape = Tape.begin(place, wanted, signet())
        for at, batch in enumerate(batches):
            tape.write([(at, code, data) for code, data in batch], at)
        tape.finish([], "0", len(batches))
        played = read(place)
    told = [one for batch in batches for one in batch]
    for code in ("r", "j", "l"):
        assert played.told(code)[code == "j" :] == [data.decode() for kind, data in told if kind == code]
    assert played.first.command == command.encode(errors="replace").decode()
    if is_interactive:
        for code in ("o", "e", "i"):
            said = b"".join(data for kind, data in told if kind == code)
            assert played.text(code) == said.decode(errors="replace")


def test_a_session_of_the_same_id_is_not_written_over(tmp_path: Path) -> None:
    place = spool(tmp_path)
    tape = Tape.begin(place, order(), signet())
    tape.finish([], "0", 1)
    before = place.path(SESSION).read_bytes()
    with pytest.raises(CannotRecordError):
        Tape.begin(place, order(), signet())
    assert place.path(SESSION).read_bytes() == before
