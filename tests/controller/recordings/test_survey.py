from __future__ import annotations

import random
import string

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.recordings.playback import passage, still
from controller.recordings.survey import MARKS_MAX, Survey
from protocol import limits
from protocol.recording.cast import Event
from protocol.recording.opening import Opener
from protocol.recording.verdict import examine
from tests.harness.tape import Tape, short_tape

LETTERS = string.ascii_letters + string.digits + "+/"


class Shelf:
    """A recording's bytes, and how much of them was asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked = 0

    def __call__(self, offset: int, size: int) -> bytes:
        piece = self.content[offset : offset + size]
        self.asked += len(piece)
        return piece


def survey_of(tape: Tape) -> Survey:
    return Survey(tape.header, Opener(tape.header, tape.key))


def gone_through(tape: Tape) -> tuple[Survey, Shelf]:
    survey, shelf = survey_of(tape), Shelf(tape.content)
    assert survey.advance(shelf, len(tape.content))
    return survey, shelf


def noisy_tape(records: int) -> Tape:
    """Content that hardly compresses: each record fills about a kibibyte."""
    noise = random.Random(7)  # noqa: S311 - no secret
    tape = Tape().head()
    for number in range(1, records + 1):
        tape.output(number * 1000, "".join(noise.choices(LETTERS, k=1300)))
    return tape.seal("final", records * 1000)


def test_the_verdict_is_that_of_reading_the_whole_at_once() -> None:
    tape = short_tape("final")
    survey, _ = gone_through(tape)
    assert survey.verdict(tape.signer) == examine([tape.content], tape.signer)
    assert survey.verdict(None) == examine([tape.content])


def test_a_recording_that_another_key_sealed_is_broken() -> None:
    survey, _ = gone_through(short_tape("final"))
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    verdict = survey.verdict(stranger)
    assert (verdict.state, verdict.records) == ("broken", 0)
    assert verdict.fault is not None
    assert verdict.fault.check == "F10"


def test_a_long_recording_is_gone_through_in_steps_each_of_which_is_bounded() -> None:
    tape = noisy_tape(1200)
    survey, shelf = survey_of(tape), Shelf(tape.content)
    steps = 1
    while not survey.advance(shelf, len(tape.content), effort=1):
        steps += 1
    assert steps == -(-len(tape.content) // limits.RECORDING_PIECE_MAX) > 1
    assert shelf.asked == len(tape.content)
    assert survey.verdict(tape.signer).state == "intact"


def test_a_survey_goes_on_where_it_stood_when_more_has_arrived() -> None:
    tape = Tape().head().output(1000, "first").seal("running", 1500)
    survey, shelf = gone_through(tape)
    assert survey.verdict(tape.signer).state == "unfinished"
    before = len(tape.content)
    tape.output(2000, "second").seal("final", 3000)
    shelf.content = tape.content
    assert survey.advance(shelf, len(tape.content))
    assert shelf.asked == len(tape.content)
    assert before < survey.taken
    assert survey.verdict(tape.signer).state == "intact"


def test_no_more_stretches_are_kept_than_there_may_be_and_each_record_is_found() -> None:
    tape = noisy_tape(400)
    survey, shelf = gone_through(tape)
    assert 2 <= len(survey.stretches) < 100
    for number in (1, 57, 200, 400):
        found = passage(survey, shelf, number + 1, 1)
        assert [event.time for event in found.events] == [number * 1000]


def test_the_screen_of_a_moment_is_found_without_reading_the_rest() -> None:
    tape = noisy_tape(1200)
    survey, shelf = gone_through(tape)
    shelf.asked = 0
    found = still(survey, shelf, 600_500)
    assert shelf.asked < len(tape.content) / 2
    assert found.number == 601  # the header's record, the head's, and then one a second


def test_marks_are_counted_and_no_more_kept_than_a_page_can_show() -> None:
    tape = Tape().head()
    for number in range(MARKS_MAX // 100 + 2):
        tape.events(*(Event(number * 1000 + each, "m", "x" * 5000) for each in range(100)))
    survey, _ = gone_through(tape.seal("final", 60_000))
    assert len(survey.marks) == MARKS_MAX
    assert all(len(mark.text) <= 200 for mark in survey.marks)


def test_output_that_reads_like_a_mark_is_none() -> None:
    fake = '[1.000,"j","mallory"]\n'
    tape = Tape().head().output(500, fake).output(1000, fake * 1000)
    survey, _ = gone_through(tape.seal("final", 2000))
    assert survey.marks == []


def test_without_a_key_there_is_a_verdict_and_nothing_to_play() -> None:
    tape = short_tape("final")
    survey = Survey(tape.header, None)
    assert survey.advance(Shelf(tape.content), len(tape.content))
    assert survey.verdict(tape.signer).state == "intact"
    found = passage(survey, Shelf(tape.content), 0)
    assert found.events == ()
    assert "does not have the key" in found.fault
