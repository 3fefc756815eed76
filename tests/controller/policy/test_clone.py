from __future__ import annotations

import pytest

from controller.policy.clone import CONTEST_WINDOW, CONTESTS, is_outdated, note_contest


@pytest.mark.parametrize(
    ("shown", "recorded", "outdated"),
    [(3, 3, False), (2, 3, False), (1, 3, True), (1, 9, True), (5, 3, False), (0, 1, False)],
)
def test_two_generations_behind_is_a_copy_s_and_one_is_an_answer_that_was_lost(
    shown: int, recorded: int, outdated: bool
) -> None:
    assert is_outdated(shown, recorded) is outdated


def signs(*times: float) -> list[bool]:
    kept: tuple[float, ...] = ()
    said = []
    for now in times:
        kept, is_sign = note_contest(kept, now)
        said.append(is_sign)
    return said


def test_taking_turns_is_a_sign_at_the_third_time_and_then_anew() -> None:
    assert CONTESTS == 3
    assert signs(0, 10, 20, 30, 40, 50) == [False, False, True, False, False, True]


def test_what_is_long_ago_does_not_count() -> None:
    assert signs(0, 1, CONTEST_WINDOW + 0.5, CONTEST_WINDOW + 0.75) == [False, False, False, True]
    assert not any(signs(*(number * CONTEST_WINDOW / 2 for number in range(9))))
