from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.login import Admitted, Attempts, Locked, count_attempt, forget_after, password_problem, take_back
from protocol import limits

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def try_again(attempts: Attempts, now: datetime) -> Attempts:
    answer = count_attempt(attempts, now)
    assert isinstance(answer, Admitted)
    return answer.attempts


def test_the_fifth_try_is_judged_and_locks_the_account_for_those_after_it() -> None:
    attempts = Attempts()
    for number in range(1, limits.SIGN_IN_FAILURES):
        attempts = try_again(attempts, NOW)
        assert attempts == Attempts(number, None)
    attempts = try_again(attempts, NOW)
    assert attempts == Attempts(limits.SIGN_IN_FAILURES, NOW + limits.SIGN_IN_LOCKOUT)
    assert count_attempt(attempts, NOW) == Locked(NOW + limits.SIGN_IN_LOCKOUT)


def test_a_lock_holds_until_its_last_moment_and_no_longer() -> None:
    until = NOW + limits.SIGN_IN_LOCKOUT
    locked = Attempts(limits.SIGN_IN_FAILURES, until)
    assert count_attempt(locked, until - SECOND) == Locked(until)
    assert try_again(locked, until) == Attempts(1, None)


def test_tries_during_a_lock_do_not_lengthen_it() -> None:
    locked = Attempts(limits.SIGN_IN_FAILURES, NOW + limits.SIGN_IN_LOCKOUT)
    assert count_attempt(locked, NOW + limits.SIGN_IN_LOCKOUT / 2) == Locked(NOW + limits.SIGN_IN_LOCKOUT)


@given(st.lists(st.integers(0, 3600), max_size=60))
def test_no_run_of_tries_gets_more_than_five_into_any_lockout_window(gaps: list[int]) -> None:
    attempts, now = Attempts(), NOW
    admitted: list[datetime] = []
    for gap in gaps:
        now += timedelta(seconds=gap)
        answer = count_attempt(attempts, now)
        if isinstance(answer, Admitted):
            attempts = answer.attempts
            admitted.append(now)
    for first, later in zip(admitted, admitted[limits.SIGN_IN_FAILURES :], strict=False):
        assert later - first >= limits.SIGN_IN_LOCKOUT


def test_a_count_outlives_the_lock_it_may_hold() -> None:
    locked = try_again(Attempts(limits.SIGN_IN_FAILURES - 1), NOW)
    assert locked.locked_until is not None
    assert forget_after(NOW) >= locked.locked_until


@pytest.mark.parametrize(
    ("password", "words"),
    [
        pytest.param("a1" * 5 + "b", "too short", id="eleven characters"),
        pytest.param("", "too short", id="none"),
        pytest.param("ab" * 64 + "c", "too long", id="129 characters"),
        pytest.param("a" * 12, "one character over and over", id="one character"),
    ],
)
def test_a_bad_password_is_refused_with_its_fault(password: str, words: str) -> None:
    assert words in str(password_problem(password))


@given(st.text(min_size=limits.PASSWORD_MIN_CHARS, max_size=limits.PASSWORD_MAX_CHARS))
def test_any_text_of_12_to_128_characters_of_more_than_one_kind_will_do(password: str) -> None:
    assert (password_problem(password) is None) == (len(set(password)) > 1)


def test_a_try_that_was_right_is_taken_back_and_what_others_failed_still_counts() -> None:
    assert take_back(Attempts(3)) == Attempts(2)
    assert take_back(Attempts()) == Attempts()
    last = Attempts(limits.SIGN_IN_FAILURES, NOW + limits.SIGN_IN_LOCKOUT)
    assert take_back(last) == Attempts(limits.SIGN_IN_FAILURES - 1)
