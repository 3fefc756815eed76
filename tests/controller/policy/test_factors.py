from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from controller.policy.factors import decide_adding, decide_removing, decide_set_up
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import FactorName, UserName

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALICE = UserName("alice")


@dataclass(frozen=True)
class App:
    factor_id: str
    name: str


@dataclass(frozen=True)
class Begun:
    user: UserName = ALICE
    valid_from: datetime = NOW
    expires: datetime = NOW + limits.FACTOR_SETUP_TTL


PHONE, TABLET = App("1", "phone"), App("2", "tablet")


def check(answer: Granted[object] | Refused) -> str:
    return answer.check if isinstance(answer, Refused) else ""


def test_what_was_begun_may_be_finished_until_it_expires() -> None:
    begun, moment = Begun(), timedelta(microseconds=1)
    assert decide_set_up(begun, ALICE, NOW, begun.expires - moment) == Granted(begun)
    assert check(decide_set_up(begun, ALICE, NOW, begun.expires)) == "H1"


@pytest.mark.parametrize(
    "begun", [None, Begun(user=UserName("mallory")), Begun(valid_from=NOW - timedelta(milliseconds=1))]
)
def test_what_is_not_ours_another_s_or_from_before_a_reset_is_not_finished(begun: Begun | None) -> None:
    assert check(decide_set_up(begun, ALICE, NOW, NOW)) == "H1"


def test_a_free_name_may_be_taken_and_one_that_differs_in_case_alone_is_not_free() -> None:
    assert decide_adding([PHONE], FactorName("tablet")) == Granted("tablet")
    assert check(decide_adding([PHONE, TABLET], FactorName("TABLET"))) == "H2"


def test_there_is_room_for_so_many_and_not_for_one_more() -> None:
    many = [App(str(number), f"app {number}") for number in range(limits.FACTORS_PER_USER)]
    assert isinstance(decide_adding(many[:-1], FactorName("new")), Granted)
    assert check(decide_adding(many, FactorName("new"))) == "H3"


def test_one_of_two_may_go_and_the_last_may_not() -> None:
    assert decide_removing([PHONE, TABLET], "1") == Granted(PHONE)
    assert check(decide_removing([PHONE], "1")) == "H5"


@pytest.mark.parametrize("factors", [[], [PHONE], [PHONE, TABLET]])
def test_what_is_not_there_cannot_go(factors: list[App]) -> None:
    assert check(decide_removing(factors, "3")) == "H4"
