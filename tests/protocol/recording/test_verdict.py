from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol.recording import framing
from protocol.recording.fault import RecordingError
from protocol.recording.reader import DataRecord, SealRecord
from protocol.recording.signer import fingerprint
from protocol.recording.verdict import OWN_WORD, Examiner, examine
from tests.harness.tape import NODE, Tape, short_tape

TAPE = short_tape()
WHOLE = TAPE.content
HEADER_END = len(TAPE.records[0])
ENDS = [sum(map(len, TAPE.records[: count + 1])) for count in range(len(TAPE.records))]


def test_a_whole_recording_is_intact_and_says_whose_from_when_and_by_whom_in_one_line() -> None:
    verdict = examine([WHOLE], TAPE.signer)
    assert (verdict.state, verdict.records, verdict.sealed, verdict.size) == ("intact", 7, 7, len(WHOLE))
    assert (verdict.hash, verdict.fault, verdict.pending) == (TAPE.chain, None, 0)
    assert verdict.header == TAPE.header
    assert verdict.describe("as the cluster knows it") == (
        f"intact: 7 records, session {TAPE.session}, node gw-1 ({NODE}), "
        "from 22 Nov 2026 12:00:00 UTC to 22 Nov 2026 12:00:02 UTC, "
        f"sealed by {fingerprint(TAPE.signer)} as the cluster knows it"
    )
    assert verdict.describe().endswith(f"sealed by {fingerprint(TAPE.signer)}")


def test_without_a_key_the_verdict_says_that_it_rests_on_the_recordings_own_word() -> None:
    verdict = examine([WHOLE])
    assert (verdict.state, verdict.vouched) == ("intact", False)
    assert verdict.describe("as the cluster knows it").endswith(f"sealed by {fingerprint(TAPE.signer)} {OWN_WORD}")


def test_a_recording_that_the_agent_sealed_as_cut_off_is_interrupted() -> None:
    tape = short_tape("interrupted")
    verdict = examine([tape.content], tape.signer)
    assert (verdict.state, verdict.sealed) == ("interrupted", 7)
    assert verdict.describe().startswith("interrupted: 7 records, session ")


def test_a_recording_that_the_device_had_no_room_to_go_on_with_is_stopped_and_not_interrupted() -> None:
    tape = short_tape("stopped")
    verdict = examine([tape.content], tape.signer)
    assert (verdict.state, verdict.sealed) == ("stopped", 7)
    assert verdict.describe().startswith("stopped: 7 records, session ")


@given(st.integers(1, 5000))
def test_the_size_of_the_pieces_makes_no_difference(size: int) -> None:
    pieces = [WHOLE[start : start + size] for start in range(0, len(WHOLE), size)]
    assert examine(pieces, TAPE.signer) == examine([WHOLE], TAPE.signer)


@given(st.integers(0, len(WHOLE) - 1))
def test_a_cut_anywhere_is_found_and_what_is_before_it_still_stands(cut: int) -> None:
    verdict = examine([WHOLE[:cut]], TAPE.signer)
    if cut < HEADER_END:
        assert (verdict.state, verdict.records, verdict.size) == ("broken", 0, 0)
        assert verdict.fault is not None
        assert verdict.fault.check == "F12"
        return
    whole = sum(end <= cut for end in ENDS)
    assert (verdict.state, verdict.records, verdict.size) == ("unfinished", whole, ENDS[whole - 1])
    assert verdict.pending == cut - verdict.size
    assert verdict.sealed == (4 if whole >= 4 else 0)


def test_an_unfinished_recording_says_what_is_under_no_seal_and_where_it_ends() -> None:
    said = examine([WHOLE[: ENDS[5] + 3]], TAPE.signer).describe()
    assert said.startswith("unfinished: 6 records, ")
    assert said.endswith("; there is no last seal, and 2 records at the end under none; it ends 3 bytes into a record")
    at_a_seal = examine([WHOLE[: ENDS[3]]], TAPE.signer).describe()
    assert at_a_seal.endswith(f"sealed by {fingerprint(TAPE.signer)}; there is no last seal")
    before_any = examine([WHOLE[: ENDS[1]]], TAPE.signer).describe()
    assert before_any.endswith("not sealed yet; there is no last seal, and 2 records at the end under none")


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_never_passes_and_is_told_at_a_record(at: int, change: int) -> None:
    changed = bytearray(WHOLE)
    changed[at] ^= change
    verdict = examine([bytes(changed)], TAPE.signer)
    hit = sum(end <= at for end in ENDS)
    assert verdict.state in {"broken", "unfinished"}
    assert verdict.records == hit
    if verdict.fault is not None:
        assert verdict.fault.number == verdict.records
        assert verdict.describe().startswith(f"broken: record {verdict.fault.number}: ")
        assert "\n" not in verdict.describe()


def test_a_change_in_the_middle_is_told_with_what_is_good_before_it() -> None:
    changed = bytearray(WHOLE)
    changed[ENDS[5] - 1] ^= 1
    verdict = examine([bytes(changed)], TAPE.signer)
    assert (verdict.state, verdict.records, verdict.sealed) == ("broken", 5, 4)
    assert verdict.describe() == (
        "broken: record 5: it was changed, or belongs to another place or recording (F5); "
        "before it: 5 good records, 4 of them sealed"
    )


@pytest.mark.parametrize(
    ("made", "check"),
    [
        (b"", "F12"),
        (b"SKERR", "F12"),
        (b"no recording at all", "F1"),
        (framing.MAGIC + b"\0" * 40, "F2"),
        (WHOLE + b"x", "F11"),
        (WHOLE + WHOLE, "F11"),
    ],
)
def test_what_is_no_recording_is_broken_at_its_first_record_or_after_its_last(made: bytes, check: str) -> None:
    verdict = examine([made], TAPE.signer)
    assert verdict.fault is not None
    assert (verdict.state, verdict.fault.check) == ("broken", check)
    assert verdict.describe().endswith(f"({check})" if check != "F11" else "7 of them sealed")


def test_another_nodes_key_does_not_pass() -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    verdict = examine([WHOLE], other)
    assert verdict.describe() == "broken: record 0: the recording was signed with another key (F10)"


@pytest.mark.parametrize("size", [3, 8, 40])
def test_what_ends_before_its_header_does_is_told_with_all_its_bytes(size: int) -> None:
    assert examine([WHOLE[:size]]).describe() == (
        f"broken: record 0: cut off after {size} bytes, before the header is whole (F12)"
    )


def test_what_still_arrives_is_not_said_to_lack_its_end() -> None:
    verdict = examine([b"".join(TAPE.records[:-1])], TAPE.signer)
    assert verdict.describe().endswith("; there is no last seal, and 2 records at the end under none")
    assert verdict.describe(arrives=True).endswith("; the session goes on, or its end has not arrived yet")


def test_a_forged_recording_in_the_nodes_name_passes_on_its_own_word_only() -> None:
    forged = short_tape(session=TAPE.session)
    assert examine([forged.content]).state == "intact"
    assert examine([forged.content], TAPE.signer).state == "broken"


def test_a_recording_is_followed_as_it_grows_and_its_records_come_once() -> None:
    examiner = Examiner(TAPE.signer)
    assert examiner.header is None
    kinds = []
    for record in TAPE.records:
        kinds += [type(found).__name__ for found in examiner.feed(record)]
    assert kinds == ["HeaderRecord", *["DataRecord"] * 2, "SealRecord", *["DataRecord"] * 2, "SealRecord"]
    assert examiner.header == TAPE.header
    assert examiner.verdict().state == "intact"


def test_what_is_good_before_a_fault_in_the_same_piece_is_handed_out_and_nothing_after_it() -> None:
    examiner = Examiner(TAPE.signer)
    swapped = b"".join([*TAPE.records[:4], TAPE.records[5], TAPE.records[4]])
    assert len(examiner.feed(swapped)) == 4
    assert examiner.fault is not None
    assert examiner.fault.number == 4
    assert examiner.feed(TAPE.records[4]) == []


def test_a_record_that_is_rejected_breaks_the_verdict_there_and_the_first_to_be_counts() -> None:
    examiner = Examiner(TAPE.signer)
    _, first, second, *_ = [record for record in examiner.feed(WHOLE) if not isinstance(record, SealRecord)]
    assert isinstance(first, DataRecord)
    assert isinstance(second, DataRecord)
    fault = RecordingError("O1", 1, "does not open")
    examiner.reject(first, fault)
    examiner.reject(second, RecordingError("O1", 2, "does not open"))
    verdict = examiner.verdict()
    assert (verdict.state, verdict.fault, verdict.records, verdict.size) == ("broken", fault, 1, HEADER_END)
    assert verdict.hash == first.position.chain
    assert verdict.describe() == ("broken: record 1: does not open (O1); before it: 1 good record, 1 of them sealed")


def test_the_duration_reaches_to_what_is_on_record_also_where_no_seal_tells() -> None:
    tape = Tape().head().output(500, "a").seal("running", 600).output(61_000, "b")
    assert examine([tape.content]).duration == 61_000


def test_a_time_beyond_the_calendar_does_no_harm() -> None:
    tape = Tape(started=2**62).head()
    assert "from a time beyond the calendar to a time beyond the calendar" in examine([tape.content]).describe()
    assert replace(tape.header, corrected=0).session == tape.session
