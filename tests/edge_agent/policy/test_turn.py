from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import pytest

from edge_agent.policy.turn import (
    FRESH,
    WINDOW_LOOK,
    Begin,
    Check,
    Look,
    Nothing,
    Progress,
    Refuse,
    Remove,
    Send,
    Standing,
    Step,
    Upload,
    Wait,
    decide_next,
    decide_step,
    excess,
)
from edge_agent.policy.upload import RecordingSettings, Window
from protocol.names import SessionId

NOON = datetime(2026, 11, 22, 12)  # noqa: DTZ001 - the device's wall clock
USUAL = RecordingSettings()
DIGEST = "ab" * 32


@dataclass(frozen=True)
class Kept:
    session: SessionId
    size: int = 1000
    modified: float = 0.0
    is_live: bool = False


ENDED = Kept(SessionId("ended"))
LIVE = Kept(SessionId("live"), is_live=True)
SENT = Progress(has_begun=True, standing=Standing(1000))


@pytest.mark.parametrize(
    ("one", "known", "step"),
    [
        (ENDED, FRESH, Look()),
        (LIVE, FRESH, Begin()),
        (ENDED, Progress(is_missing=True), Begin()),
        (LIVE, Progress(has_begun=True), Look()),
        (LIVE, Progress(has_begun=True, is_missing=True), Begin()),
        (replace(LIVE, size=0), FRESH, None),
        (replace(ENDED, size=0), Progress(is_missing=True), None),
        (LIVE, Progress(standing=Standing(0)), Send(0, 300)),
        (LIVE, Progress(standing=Standing(900)), Send(900, 100)),
        (LIVE, SENT, None),
        (ENDED, Progress(standing=Standing(0)), Send(0, 300)),
        (ENDED, Progress(standing=Standing(700)), Send(700, 300, 1000)),
        (ENDED, SENT, Send(1000, 0, 1000)),
        (LIVE, Progress(standing=Standing(1001)), Look()),
        (ENDED, Progress(standing=Standing(1001)), Refuse(excess(1001, 1000))),
        (ENDED, Progress(standing=Standing(1000, "complete", DIGEST)), Check("")),
        (ENDED, Progress(standing=Standing(1000, "interrupted", DIGEST), mark="7"), Check("7")),
        (ENDED, Progress(standing=Standing(1000, "complete", DIGEST), digest=DIGEST), Remove()),
        (LIVE, Progress(standing=Standing(1000, "complete", DIGEST), digest=DIGEST), None),
        (LIVE, Progress(refusal="no"), None),
        (ENDED, Progress(refusal="no"), Refuse("no")),
    ],
)
def test_each_standing_has_its_next_step(one: Kept, known: Progress, step: Step | None) -> None:
    assert decide_step(one, known, 300) == step


@pytest.mark.parametrize(
    ("standing", "digest", "words"),
    [
        (Standing(999, "complete", DIGEST), DIGEST, "999 bytes, but there are 1000"),
        (Standing(1000, "complete", DIGEST), "cd" * 32, "hash differs"),
    ],
)
def test_a_file_is_kept_that_the_controller_has_otherwise(standing: Standing, digest: str, words: str) -> None:
    step = decide_step(ENDED, Progress(standing=standing, digest=digest), 300)
    assert isinstance(step, Refuse)
    assert words in step.reason


def chosen(*waiting: Kept, order: str = "newest", **known: Progress) -> str:
    settings = RecordingSettings(upload_order=order)  # type: ignore[arg-type]  # one of the two
    progress = {SessionId(name): progress for name, progress in known.items()}
    found = decide_next(waiting, progress, settings, now=100.0, local=NOON)
    assert isinstance(found, Upload)
    return found.session


def test_what_ended_last_goes_first_unless_the_order_is_the_other() -> None:
    kept = [Kept(SessionId(name), modified=modified) for name, modified in (("b", 2.0), ("a", 1.0), ("c", 3.0))]
    assert chosen(*kept) == "c"
    assert chosen(*kept, order="oldest") == "a"


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_live_recording_goes_first_in_either_order(order: str) -> None:
    assert chosen(replace(ENDED, modified=-9), LIVE, replace(ENDED, modified=9), order=order) == "live"


def test_live_recordings_take_turns() -> None:
    others = [Kept(SessionId(name), is_live=True) for name in "abc"]
    assert chosen(*others, a=Progress(turn=3), b=Progress(turn=1), c=Progress(turn=2)) == "b"


def test_a_live_recording_that_has_nothing_new_holds_up_nothing() -> None:
    assert chosen(LIVE, ENDED, live=SENT) == "ended"


def test_one_that_failed_waits_and_holds_up_no_other() -> None:
    assert chosen(LIVE, ENDED, live=Progress(not_before=101.0)) == "ended"


def test_where_all_have_failed_the_first_that_may_try_again_is_awaited() -> None:
    known = {LIVE.session: Progress(not_before=103.0), ENDED.session: Progress(not_before=101.5)}
    assert decide_next([LIVE, ENDED], known, USUAL, now=100.0, local=NOON) == Wait(1.5)


def test_nothing_is_to_be_done_where_nothing_waits() -> None:
    assert decide_next([], {}, USUAL, now=0.0, local=NOON) == Nothing()
    assert decide_next([LIVE], {LIVE.session: SENT}, USUAL, now=0.0, local=NOON) == Nothing()


def test_nothing_is_sent_outside_the_window_and_the_clock_is_looked_at_again() -> None:
    settings = RecordingSettings(upload_window=Window(22 * 60, 6 * 60))
    assert decide_next([LIVE], {}, settings, now=0.0, local=NOON) == Wait(WINDOW_LOOK, is_closed=True)
    nearly = NOON.replace(hour=21, minute=59, second=50)
    assert decide_next([LIVE], {}, settings, now=0.0, local=nearly) == Wait(10.0, is_closed=True)
    assert decide_next([LIVE], {}, settings, now=0.0, local=NOON.replace(hour=23)) == Upload(LIVE.session)
    assert decide_next([], {}, settings, now=0.0, local=NOON) == Nothing()
