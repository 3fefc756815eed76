"""Whether those in the hall are still signed in: what keeps a sign-in alive, and what ends a terminal on it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controller.accounts import Origin
from controller.web.hall.attendance import Attendance
from controller.web.hall.guest import SIGNED_OUT, Guest
from protocol import limits
from protocol.names import parse_user_name
from tests.controller.web.lab import HandClock, Lab

ALICE = parse_user_name("alice")
ORIGIN = Origin(via="web")


@pytest.fixture
def token(lab: Lab) -> str:
    lab.person("alice")
    return lab.session("alice", "web", lab.clock() + timedelta(hours=11))


def seated(lab: Lab, *tokens: str) -> tuple[Attendance, list[Guest]]:
    guests = [Guest("terminal", ALICE, each) for each in tokens]
    return Attendance(lab.accounts, set(guests)), guests


async def test_what_is_typed_keeps_a_sign_in_alive_and_what_a_program_prints_does_not(
    lab: Lab, clock: HandClock, token: str
) -> None:
    attendance, (guest,) = seated(lab, token)
    for _ in range(3):
        clock.pass_(limits.WEB_SESSION_IDLE - timedelta(minutes=1))
        guest.is_used = True
        await attendance.check()
        assert not guest.ending.done()
    clock.pass_(limits.WEB_SESSION_IDLE - timedelta(minutes=1))
    await attendance.check()  # asked, but not used
    assert not guest.ending.done()
    clock.pass_(timedelta(minutes=2))
    await attendance.check()
    assert guest.ending.result().code == SIGNED_OUT


async def test_who_is_reset_loses_the_terminals_that_are_open(lab: Lab, clock: HandClock, token: str) -> None:
    attendance, (guest,) = seated(lab, token)
    await attendance.check()
    assert not guest.ending.done()
    clock.pass_(timedelta(seconds=2))
    lab.accounts.users.reset(ALICE, timedelta(hours=1), ORIGIN)
    await attendance.check()
    assert guest.ending.result().code == SIGNED_OUT


async def test_one_that_ends_is_asked_about_alone(lab: Lab) -> None:
    attendance, (gone, other) = seated(lab, "a" * 43, "b" * 43)
    await attendance.check_one(gone)
    assert gone.ending.result().code == SIGNED_OUT
    assert not other.ending.done()
