from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.spool import (
    Kept,
    Record,
    Room,
    Unrecorded,
    decide_begin,
    decide_failure,
    explain,
    give_way,
    judge_room,
    may_pass,
    stalled,
)
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import SessionId

WIDE = Room(used=0, quota=1000, free=5000, min_free=100)


def check(answer: object) -> str:
    assert isinstance(answer, Refused)
    assert answer.reason
    return answer.check


def kept(size: int, modified: float) -> Kept:
    return Kept(SessionId(str(uuid.uuid4())), size, modified)


def test_what_fits_everywhere_may_be_written() -> None:
    assert judge_room(WIDE, 1000) == Granted(1000)
    assert judge_room(Room(used=0, quota=10_000, free=5000, min_free=100), 4900) == Granted(4900)


def test_what_would_pass_the_quota_may_not() -> None:
    assert check(judge_room(WIDE, 1001)) == "D2"
    assert check(judge_room(Room(used=1000, quota=1000, free=5000, min_free=0), 1)) == "D2"


def test_what_would_leave_too_little_free_may_not() -> None:
    assert check(judge_room(Room(used=0, quota=10_000, free=5000, min_free=100), 4901)) == "D3"


def test_who_may_not_record_is_told_which_setting_says_so_and_in_figures_that_are_not_rounded_to_nothing() -> None:
    full = judge_room(Room(used=2900 * 1024, quota=8 * 2**20, free=2**40, min_free=0), 6 * 2**20)
    assert full == Refused(
        "2.8 MiB of recordings wait to be uploaded, and the device keeps no more than 8 MiB (recording.spool_max)", "D2"
    )
    low = judge_room(Room(used=0, quota=8 * 2**20, free=30 * 2**20, min_free=64 * 2**20), 1)
    assert low == Refused("no space left on the device: 30 MiB are free, and 64 MiB stay so (recording.min_free)", "D3")
    none = judge_room(Room(used=0, quota=8 * 2**20, free=0, min_free=0), 1)
    assert none == Refused("no space left on the device", "D3")


def test_what_would_make_a_recording_larger_than_one_may_be_may_not() -> None:
    wide = Room(used=0, quota=2**60, free=2**60, min_free=0)
    assert isinstance(judge_room(wide, 1, limits.RECORDING_MAX - 1), Granted)
    assert check(judge_room(wide, 1, limits.RECORDING_MAX)) == "D4"


def test_a_session_begins_as_the_cluster_records() -> None:
    assert decide_begin("strict") == Record()
    assert decide_begin("best_effort") == Record()
    assert decide_begin("off") == Unrecorded("")


def test_no_session_begins_before_it_is_known_how_the_cluster_records() -> None:
    assert check(decide_begin(None)) == "D1"


def test_only_a_strict_cluster_ends_what_it_cannot_record() -> None:
    problem = Refused("no space left on the device", "D3")
    assert decide_failure("strict", problem) is problem
    assert decide_failure("best_effort", problem) == Unrecorded("no space left on the device")


@pytest.mark.parametrize("check", ["D2", "D3", "D5", "D8"])
def test_what_may_pass_is_waited_for_where_the_session_goes_on(check: str) -> None:
    assert may_pass("best_effort", Refused("", check))
    assert not may_pass("strict", Refused("", check))


@pytest.mark.parametrize("check", ["D4", "D6", "D7", "D9"])
def test_what_cannot_pass_is_not_waited_for(check: str) -> None:
    assert not may_pass("best_effort", Refused("", check))


def test_nobody_is_told_that_the_cluster_requires_what_is_not_known() -> None:
    found = decide_begin(None)
    assert isinstance(found, Refused)
    assert explain(found) == (
        "this session cannot begin: the controller has not said yet how sessions are recorded here; "
        "try again in a moment"
    )


def test_a_disk_that_does_not_answer_has_a_check_of_its_own() -> None:
    assert check(stalled()) == "D8"
    assert explain(stalled()).startswith("this session cannot be recorded (the device's disk does not answer)")


def test_a_person_is_told_why_the_session_ends() -> None:
    told = explain(Refused("no space left on the device", "D3"))
    assert told == (
        "this session cannot be recorded (no space left on the device) and this cluster requires it; the session ends"
    )


def test_the_oldest_of_what_was_refused_gives_way_and_no_more_than_need_be() -> None:
    files = [kept(300, 3), kept(300, 1), kept(300, 2)]
    full = Room(used=1000, quota=1000, free=5000, min_free=0)
    assert give_way(files, full, 300) == [files[1]]
    assert give_way(files, full, 301) == [files[1], files[2]]


def test_what_was_refused_gives_way_to_the_disk_s_need_too() -> None:
    files = [kept(300, 1)]
    assert give_way(files, Room(used=300, quota=1000, free=200, min_free=100), 200) == files


@pytest.mark.parametrize("need", [901, 5000])
def test_nothing_gives_way_where_that_would_not_help(need: int) -> None:
    assert give_way([kept(900, 1)], Room(used=1000, quota=1000, free=5000, min_free=0), need) == []


def test_nothing_gives_way_where_there_is_room() -> None:
    assert give_way([kept(900, 1)], WIDE, 10) == []


rooms = st.builds(Room, *[st.integers(0, 10_000)] * 4)


@given(rooms, st.integers(0, 5000), st.lists(st.builds(kept, st.integers(0, 3000), st.floats(0, 100))))
def test_after_something_gave_way_there_is_room(room: Room, need: int, files: list[Kept]) -> None:
    chosen = give_way(files, room, need)
    freed = sum(one.size for one in chosen)
    if chosen:
        after = Room(room.used - freed, room.quota, room.free + freed, room.min_free)
        assert isinstance(judge_room(after, need), Granted)
        assert isinstance(judge_room(room, need), Refused)
