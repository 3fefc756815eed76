from __future__ import annotations

import base64
import hashlib
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy import upload
from controller.policy.upload import Checksum, Complaints, Load, Piece, Quota, Rightful, Standing
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import ClusterName, NodeId, NodeName, SessionId
from protocol.recording.signer import signer_line
from protocol.session_ids import mint_session_id
from tests.harness.tape import Tape

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HERE, THERE = NodeId(str(uuid.uuid4())), NodeId(str(uuid.uuid4()))


def check_of(answer: object) -> str:
    return answer.check if isinstance(answer, Refused) else "granted"


def test_every_check_is_named_in_the_module_s_list_and_used_once_or_more() -> None:
    assert upload.__doc__
    assert all(f"U{number} " in upload.__doc__ for number in range(1, 18))
    assert upload.FINAL.isdisjoint(upload.SUSPECT)


def test_an_upload_is_its_node_s_own() -> None:
    assert check_of(upload.judge_owner(HERE, HERE)) == "granted"
    refused = upload.judge_owner(HERE, THERE)
    assert check_of(refused) == "U3"
    assert isinstance(refused, Refused)
    assert THERE in refused.reason


def test_a_session_that_a_node_did_not_mint_is_never_its_own() -> None:
    minted = mint_session_id(HERE, bytes(10))
    assert check_of(upload.judge_session(minted, HERE)) == "granted"
    assert check_of(upload.judge_session(minted, THERE)) == "U17"
    assert check_of(upload.judge_session(SessionId(str(uuid.uuid4())), HERE)) == "U17"


@pytest.mark.parametrize(
    ("known", "declared", "outcome"),
    [
        (None, None, None),
        (7, None, 7),
        (None, 7, 7),
        (7, 7, 7),
        (7, 8, "U5"),
        (None, 0, 0),
        (None, limits.RECORDING_MAX, limits.RECORDING_MAX),
        (None, limits.RECORDING_MAX + 1, "U4"),
    ],
)
def test_a_declared_length_holds_once_it_is_declared(
    known: int | None, declared: int | None, outcome: int | str | None
) -> None:
    answer = upload.judge_length(known, declared)
    assert (answer.value if isinstance(answer, Granted) else answer.check) == outcome


@pytest.mark.parametrize(
    ("load", "uploads", "size", "check"),
    [
        (Load(2, 0, 100), 1, 0, "granted"),
        (Load(3, 0, 100), 1, 0, "U6"),
        (Load(3, 0, 100), 0, 0, "granted"),
        (Load(0, 990, 100), 0, 10, "granted"),
        (Load(0, 990, 100), 0, 11, "U6"),
        (Load(0, 0, 50), 0, 10, "granted"),
        (Load(0, 0, 49), 0, 10, "U6"),
    ],
)
def test_room_is_what_the_quota_leaves(load: Load, uploads: int, size: int, check: str) -> None:
    quota = Quota(uploads=3, size=1000, min_free=40)
    assert check_of(upload.judge_room(load, quota, uploads=uploads, size=size)) == check


SUM = Checksum("sha256", hashlib.sha256(b"abc").digest())


@pytest.mark.parametrize(
    ("standing", "piece", "check"),
    [
        (Standing(0, None), Piece(0, b"abc"), "granted"),
        (Standing(5, None), Piece(4, b"abc"), "U9"),
        (Standing(5, None), Piece(6, b"abc"), "U9"),
        (Standing(0, None), Piece(0, b"abc", None, SUM), "granted"),
        (Standing(0, None), Piece(0, b"abd", None, SUM), "U10"),
        (Standing(0, None), Piece(0, b"abc", None, Checksum("sha256", b"")), "U10"),
        (Standing(0, None), Piece(0, b"abc", None, Checksum("sha1", hashlib.sha1(b"abc").digest())), "granted"),  # noqa: S324 - tus has it
        (Standing(0, None), Piece(0, bytes(limits.RECORDING_PIECE_MAX)), "granted"),
        (Standing(0, None), Piece(0, bytes(limits.RECORDING_PIECE_MAX + 1)), "U7"),
        (Standing(5, 5, "ended"), Piece(5, b""), "granted"),
        (Standing(5, 5, "ended"), Piece(5, b"x"), "U8"),
        (Standing(5, 5, "ended"), Piece(5, b"", 6), "U5"),
        (Standing(5, None, "refused"), Piece(5, b""), "U8"),
        (Standing(5, None, "refused"), Piece(0, b"abc"), "U8"),
        (Standing(0, None), Piece(0, b"abc", limits.RECORDING_MAX + 1), "U4"),
        (Standing(0, 4), Piece(0, b"abc", 5), "U5"),
        (Standing(0, 3), Piece(0, b"abc"), "granted"),
        (Standing(0, 2), Piece(0, b"abc"), "U16"),
        (Standing(0, None), Piece(0, b"abc", 2), "U16"),
        (Standing(limits.RECORDING_MAX - 3, None), Piece(limits.RECORDING_MAX - 3, b"abc"), "granted"),
        (Standing(limits.RECORDING_MAX - 2, None), Piece(limits.RECORDING_MAX - 2, b"abc"), "U11"),
    ],
)
def test_a_piece_is_judged_before_it_is_read(standing: Standing, piece: Piece, check: str) -> None:
    assert check_of(upload.judge_piece(standing, piece)) == check


def test_what_is_granted_of_a_piece_is_the_length_that_is_known_then() -> None:
    answer = upload.judge_piece(Standing(0, None), Piece(0, b"abc", 9))
    assert answer == Granted(9)


@given(st.integers(0, 40), st.integers(0, 40), st.binary(max_size=8))
def test_only_a_piece_that_begins_where_the_upload_stands_is_ever_granted(at: int, offset: int, data: bytes) -> None:
    answer = upload.judge_piece(Standing(at, None), Piece(offset, data))
    assert isinstance(answer, Granted) == (at == offset)


def test_a_piece_shows_its_data_in_no_log() -> None:
    assert "secret" not in repr(Piece(0, b"secret"))


def rightful_of(tape: Tape, **changed: str) -> Rightful:
    right = Rightful(tape.session, tape.node, tape.node_name, tape.cluster, signer_line(tape.signer) + " root@gw-1")
    return replace(right, **changed)  # type: ignore[arg-type]  # names, as their parsers would give them


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({}, "granted"),
        ({"session": SessionId(str(uuid.uuid4()))}, "U12"),
        ({"node": THERE}, "U12"),
        ({"node_name": NodeName("gw-2")}, "U12"),
        ({"cluster": ClusterName("elsewhere")}, "U12"),
        ({"host_key": signer_line(bytes(32))}, "U13"),
        ({"host_key": "ssh-rsa AAAA"}, "U13"),
        ({"host_key": "ssh-ed25519 " + base64.b64encode(b"short").decode()}, "U13"),
    ],
)
def test_a_header_is_of_the_session_node_and_cluster_and_signed_by_the_host_key(
    changed: dict[str, str], check: str
) -> None:
    tape = Tape()
    assert check_of(upload.judge_header(tape.header, rightful_of(tape, **changed))) == check


@pytest.mark.parametrize(
    ("offset", "length", "has_ended", "check"),
    [
        (5, None, False, "granted"),
        (5, None, True, "granted"),
        (5, 9, False, "granted"),
        (9, 9, True, "granted"),
        (5, 9, True, "U16"),
        (9, 9, False, "U16"),
    ],
)
def test_the_last_seal_comes_with_the_last_byte(offset: int, length: int | None, has_ended: bool, check: str) -> None:
    assert check_of(upload.judge_end(offset, length, has_ended=has_ended)) == check


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def test_a_node_is_believed_when_its_session_began_within_what_can_be() -> None:
    joined = NOW - timedelta(days=30)
    earliest, latest = joined - limits.EVENT_TIME_BEFORE_JOIN, NOW + limits.EVENT_TIME_AHEAD
    for said in (milliseconds(earliest), milliseconds(NOW), milliseconds(latest)):
        assert upload.believed_start(said, joined=joined, now=NOW) == said
    for said in (0, milliseconds(earliest) - 1, milliseconds(latest) + 1, 2**63 - 1):
        assert upload.believed_start(said, joined=joined, now=NOW) == milliseconds(NOW)


def test_complaints_are_told_so_many_an_hour_and_the_next_hour_says_how_many_were_not() -> None:
    told, state = 0, None
    for second in range(100):
        state, held_back = upload.decide_complaint(state, NOW + timedelta(seconds=second))
        told += held_back is not None
    assert told == limits.UPLOAD_REFUSALS_AUDITED
    state, held_back = upload.decide_complaint(state, NOW + timedelta(hours=1))
    assert held_back == 100 - limits.UPLOAD_REFUSALS_AUDITED
    assert state == Complaints(NOW + timedelta(hours=1), 1)


def test_a_clock_that_was_set_back_silences_no_complaint() -> None:
    state = Complaints(NOW, limits.UPLOAD_REFUSALS_AUDITED, 3)
    assert upload.decide_complaint(state, NOW - timedelta(minutes=1)) == (Complaints(NOW - timedelta(minutes=1), 1), 3)
