from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.answer import (
    Answer,
    Finding,
    Verdict,
    advance,
    decide_rest,
    hasten,
    judge,
    parse_standing,
)
from edge_agent.policy.turn import FRESH, Begin, Look, Progress, Send, Standing, excess

DIGEST = "0f" * 32
SEND = Send(100, 50)
LAST = Send(100, 50, 150)


def said(offset: object = 150, **more: str) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    return Answer(204, "", {"upload-offset": str(offset), **headers})


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((409, Verdict.CONFLICT), (423, Verdict.CONFLICT), (460, Verdict.CONFLICT), (404, Verdict.MISSING)),
        *((410, Verdict.REFUSED), (422, Verdict.REFUSED), (403, Verdict.FORBIDDEN), (400, Verdict.NONSENSE)),
        *((0, Verdict.UNAVAILABLE), (301, Verdict.UNAVAILABLE), (401, Verdict.UNAVAILABLE), (412, Verdict.UNAVAILABLE)),
        *(
            (429, Verdict.UNAVAILABLE),
            (500, Verdict.UNAVAILABLE),
            (503, Verdict.UNAVAILABLE),
            (507, Verdict.UNAVAILABLE),
        ),
    ],
)
@pytest.mark.parametrize("step", [Begin(), Look(), SEND])
def test_each_status_has_its_meaning(step: Begin | Look | Send, status: int, verdict: Verdict) -> None:
    assert judge(step, Answer(status, "words"), 200, is_live=False) == Finding(verdict, None, "words")
    assert judge(step, Answer(status), 200, is_live=False).reason == f"HTTP status {status}"


def test_too_large_a_piece_is_tried_smaller_and_too_large_a_recording_is_refused() -> None:
    too_large = Answer(413)
    assert judge(Send(0, 100_000), too_large, 10**6, is_live=False).verdict is Verdict.CONFLICT
    assert judge(Send(0, 1000), too_large, 10**6, is_live=False).verdict is Verdict.REFUSED
    assert judge(Begin(), too_large, 10**6, is_live=False).verdict is Verdict.REFUSED


def test_what_has_begun_stands_at_nothing() -> None:
    assert judge(Begin(), Answer(201), 200, is_live=False) == Finding(Verdict.DONE, Standing(0))


@pytest.mark.parametrize(
    ("step", "answer", "standing"),
    [
        (Look(), said(0), Standing(0)),
        (Look(), said(200), Standing(200)),
        (SEND, said(150), Standing(150)),
        (SEND, said(101), Standing(101)),
        (
            LAST,
            said(150, skerry_recording_state="complete", skerry_recording_hash=DIGEST),
            Standing(150, "complete", DIGEST),
        ),
        (
            Send(150, 0, 150),
            said(150, skerry_recording_state="interrupted", skerry_recording_hash=DIGEST),
            Standing(150, "interrupted", DIGEST),
        ),
    ],
)
def test_an_answer_says_where_an_upload_stands(step: Look | Send, answer: Answer, standing: Standing) -> None:
    assert judge(step, answer, 200, is_live=False) == Finding(Verdict.DONE, standing)


@pytest.mark.parametrize(
    ("step", "answer", "words"),
    [
        (Look(), Answer(200), "does not say how much"),
        *(
            (Look(), said(text), "does not say how much")
            for text in ("", "-1", "1e3", "1_0", "\u0661", "many", "9" * 19)
        ),
        (SEND, said(151), "stands at 151"),
        (SEND, said(99), "stands at 99"),
        (SEND, said(100), "no further"),
        (LAST, said(150), "no further"),
        (Look(), said(0, skerry_recording_state="lost"), "state that is not known"),
        (Look(), said(0, skerry_recording_state="complete"), "without the hash"),
        (Look(), said(0, skerry_recording_state="complete", skerry_recording_hash=DIGEST[1:]), "without the hash"),
        (Look(), said(0, skerry_recording_state="complete", skerry_recording_hash=DIGEST.upper()), "without the hash"),
    ],
)
def test_an_answer_that_cannot_be_is_not_believed(step: Look | Send, answer: Answer, words: str) -> None:
    finding = judge(step, answer, 200, is_live=False)
    assert finding.verdict is Verdict.NONSENSE
    assert words in finding.reason


def test_a_controller_that_holds_more_of_what_has_ended_holds_what_the_device_has_lost() -> None:
    more = said(201)
    assert judge(Look(), more, 200, is_live=False) == Finding(Verdict.REFUSED, None, excess(201, 200))
    assert judge(Look(), more, 200, is_live=True).verdict is Verdict.NONSENSE
    assert judge(Look(), said(200), 200, is_live=False).verdict is Verdict.DONE


def test_a_state_may_refuse_as_well() -> None:
    assert judge(SEND, said(150, skerry_recording_state="refused"), 200, is_live=False).verdict is Verdict.REFUSED


@given(
    st.dictionaries(st.sampled_from(["upload-offset", "skerry-recording-state", "skerry-recording-hash"]), st.text())
)
def test_any_headers_are_a_standing_or_refused(headers: Mapping[str, str]) -> None:
    try:
        standing = parse_standing(headers)
    except ValueError:
        return
    assert standing.offset >= 0


@pytest.mark.parametrize(("text", "seconds"), [("5", 5), ("", None), ("soon", None), ("-1", None), ("1.5", None)])
def test_only_seconds_are_understood_as_a_time_to_stay_away(text: str, seconds: int | None) -> None:
    assert Answer(503, headers={"retry-after": text}).retry_after == seconds
    assert Answer(503).retry_after is None


def after(known: Progress, step: Begin | Look | Send, verdict: Verdict, standing: Standing | None = None) -> Progress:
    return advance(known, step, Finding(verdict, standing, "why"), now=100.0, chance=0.5)


def test_success_is_noted_and_only_sending_ends_a_row_of_failures() -> None:
    failed = Progress(is_missing=True, failures=3)
    began = after(failed, Begin(), Verdict.DONE, Standing(0))
    assert began == Progress(has_begun=True, standing=Standing(0), failures=3)
    assert after(began, SEND, Verdict.DONE, Standing(50)).failures == 0


def test_a_refusal_is_for_good() -> None:
    assert after(FRESH, SEND, Verdict.REFUSED).refusal == "why"


def test_what_the_controller_does_not_know_is_begun() -> None:
    assert after(FRESH, Look(), Verdict.MISSING) == Progress(is_missing=True)
    assert after(Progress(standing=Standing(5)), SEND, Verdict.MISSING) == Progress(failures=1, not_before=100.5)


def test_after_the_first_conflict_there_is_no_wait_and_after_others_ever_longer_ones() -> None:
    known, waits = Progress(standing=Standing(5)), []
    for _ in range(20):
        known = after(known, SEND, Verdict.CONFLICT)
        waits.append(known.not_before - 100.0)
        assert known.standing is None
    assert waits[:4] == [0.0, 1.0, 2.0, 4.0]
    assert max(waits) == 1800.0


def test_what_is_not_ours_to_send_waits_long() -> None:
    assert after(FRESH, Look(), Verdict.FORBIDDEN).not_before == 100.0 + 2700.0


def test_where_the_controller_is_unavailable_what_was_tried_waits_as_the_link_does() -> None:
    known = Progress(standing=Standing(5))
    for _ in range(20):
        known = after(known, SEND, Verdict.UNAVAILABLE)
    assert known == Progress(failures=20, not_before=130.0)
    assert hasten(known, 100.0).not_before == 100.0
    assert hasten(known, 131.0) is known
    assert hasten(Progress(not_before=161.0), 100.0).not_before == 161.0


@pytest.mark.parametrize(
    ("failures", "answer", "seconds"),
    [
        (0, Answer(0), 0.5),
        (3, Answer(500), 4.0),
        (99, Answer(503), 30.0),
        (0, Answer(503, headers={"retry-after": "10"}), 10.5),
        (0, Answer(507, headers={"retry-after": "99999"}), 3600.5),
        (0, Answer(429), 0.5),
        (0, Answer(412), 45.0),
    ],
)
def test_an_unavailable_controller_is_left_alone(failures: int, answer: Answer, seconds: float) -> None:
    assert decide_rest(failures, answer, 0.5) == seconds
