from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controller.policy.damping import Tale, decide_telling, note_change
from protocol import limits

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SETTLED = NOW - limits.PRESENCE_SETTLE


def test_a_change_is_told_once_it_has_lasted() -> None:
    assert decide_telling(Tale(), "online", SETTLED + timedelta(milliseconds=1), NOW) is None
    assert decide_telling(Tale(), "online", SETTLED, NOW) == Tale("online", (NOW,))


def test_what_was_told_is_not_told_again_and_what_nobody_knows_not_at_all() -> None:
    assert decide_telling(Tale("online"), "online", SETTLED, NOW) is None
    assert decide_telling(Tale("online"), "", SETTLED, NOW) is None


def test_changes_that_were_not_told_are_counted_until_the_next_one_that_is() -> None:
    tale = note_change(note_change(Tale("online")))
    assert tale == Tale("online", (), 2)
    told = decide_telling(tale, "offline", SETTLED, NOW)
    assert told == Tale("offline", (NOW,), 0)


def test_of_a_node_that_flaps_so_many_changes_are_told_within_an_hour() -> None:
    tale, now = Tale(), NOW
    told = 0
    for round_ in range(40):
        now += timedelta(minutes=1)
        tale = note_change(tale)
        answer = decide_telling(tale, "online" if round_ % 2 == 0 else "offline", now - limits.PRESENCE_SETTLE, now)
        told += answer is not None
        tale = answer or tale
    assert told == limits.PRESENCE_EVENTS_PER_HOUR
    assert tale.untold > 0
    later = decide_telling(tale, "offline", now, now + timedelta(hours=1))
    assert later is None or later.told == "offline"
    back = decide_telling(tale, "online", now, now + timedelta(hours=1))
    assert [answer is not None for answer in (later, back)].count(True) == 1
