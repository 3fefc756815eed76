from __future__ import annotations

from edge_agent.policy.complaint import REMINDER, Complaints


def test_the_same_is_said_once_and_then_rarely() -> None:
    complaints = Complaints()
    minutes = [60.0 * minute for minute in range(24 * 60)]
    said = [now for now in minutes if complaints.is_news("no route", now)]
    assert said == [REMINDER * hour for hour in range(24)]


def test_a_change_is_said_and_what_alternates_is_no_change() -> None:
    complaints = Complaints()
    said = [complaints.is_news(text, now) for now, text in enumerate(["no route", "timeout", "no route", "timeout"])]
    assert said == [True, True, False, False]


def test_all_is_new_after_things_went_well() -> None:
    complaints = Complaints()
    assert complaints.is_news("no route", 0)
    complaints.clear()
    assert complaints.is_news("no route", 1)


def test_what_is_remembered_is_bounded() -> None:
    complaints = Complaints()
    for number in range(1000):
        assert complaints.is_news(f"reason {number}", number)
    assert len(complaints._said) < 10
