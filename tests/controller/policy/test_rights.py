from __future__ import annotations

import pytest

from controller.policy.rights import (
    Rights,
    are_fewer,
    check_rights,
    decide_change,
    decide_ending,
    decide_lock,
    is_anybody_admin,
)
from protocol.access import ACCESS, ADMIN, AUDITOR
from protocol.decision import Granted, Refused
from protocol.names import Login, RoleName

PI, ROOT = Login("pi"), Login("root")
BOTH = Rights((ACCESS, ADMIN), (PI, ROOT))


def check(answer: Granted[object] | Refused) -> str:
    return answer.check if isinstance(answer, Refused) else ""


def test_who_opens_devices_needs_a_login_and_nobody_else_does() -> None:
    assert check(check_rights(Rights((ACCESS,), ()))) == "H7"
    assert isinstance(check_rights(Rights((ACCESS,), (PI,))), Granted)
    assert isinstance(check_rights(Rights((AUDITOR, ADMIN), ())), Granted)


def test_an_admin_does_not_take_that_from_themselves_and_another_may() -> None:
    after = Rights((ACCESS,), (PI, ROOT))
    assert check(decide_change(BOTH, after, is_own=True)) == "H8"
    assert decide_change(BOTH, after, is_own=False) == Granted(after)


def test_an_admin_may_change_anything_else_of_their_own() -> None:
    after = Rights((ADMIN, AUDITOR), ())
    assert decide_change(BOTH, after, is_own=True) == Granted(after)
    assert check(decide_change(BOTH, Rights((ACCESS, ADMIN), ()), is_own=True)) == "H7"


def test_nobody_removes_or_resets_themselves() -> None:
    assert check(decide_ending(is_own=True)) == "H8"
    assert decide_ending(is_own=False) == Granted(None)


@pytest.mark.parametrize(
    ("after", "fewer"),
    [
        (BOTH, False),
        (Rights((ADMIN, ACCESS), (ROOT, PI)), False),
        (Rights((ACCESS, ADMIN, AUDITOR), (PI, ROOT)), False),
        (Rights((ACCESS, ADMIN), (PI, ROOT, Login("ubuntu"))), False),
        (Rights((ACCESS,), (PI, ROOT)), True),
        (Rights((ACCESS, AUDITOR), (PI, ROOT)), True),
        (Rights((ACCESS, ADMIN), (PI,)), True),
        (Rights((ACCESS, ADMIN), (PI, Login("ubuntu"))), True),
    ],
)
def test_rights_are_fewer_where_any_is_taken_away(after: Rights, fewer: bool) -> None:
    assert are_fewer(BOTH, after) is fewer


def test_somebody_administers_the_cluster_or_nobody_does() -> None:
    assert is_anybody_admin([(ACCESS,), (AUDITOR, ADMIN)])
    assert not is_anybody_admin([(ACCESS,), (AUDITOR,), (RoleName("unknown"),), ()])


def test_nobody_locks_themselves_out() -> None:
    assert check(decide_lock(is_own=True)) == "H8"
    assert decide_lock(is_own=False) == Granted(None)
