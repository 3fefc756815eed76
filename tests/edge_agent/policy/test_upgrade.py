"""The table of an upgrade, walked by what is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_agent.policy.upgrade import (
    End,
    GoBack,
    Order,
    Phase,
    Plan,
    Seen,
    Standing,
    Switch,
    Wait,
    came_back,
    decide,
    describe_end,
    failed,
    refused,
    switched,
    take_up,
)

PLAN = Plan("1.0", "1.1", "tree", 300, 120, 10, "mine", was_running=True, had_tunnel=True)
OLD = Seen(sessions=("mine",), version="1.0", pid=1, has_tunnel=True)
NEW = Seen(version="1.1", pid=2, has_tunnel=True)
DOWN = Seen(text="offline as kiosk")


def standing(phase: Phase, since: float = 0.0, **more: object) -> Standing:
    return replace(Standing(phase, since), **more)  # type: ignore[arg-type]  # its own fields


def walk(plan: Plan, at: Standing, *steps: tuple[float, Seen]) -> tuple[Standing, Order]:
    order: Order = Wait("")
    for now, seen in steps:
        at, order = decide(plan, at, seen, now)
    return at, order


# --- before the switch ----------------------------------------------------------------------------------------------


def test_where_nobody_else_works_there_is_nothing_to_wait_for() -> None:
    at, order = decide(PLAN, standing(Phase.PREPARED), OLD, 5)
    assert at == Standing(Phase.SWITCHED, 5)
    assert order == Switch("switching from 1.0 to 1.1")


def test_people_are_waited_for_until_they_have_ended_their_sessions() -> None:
    others = replace(OLD, sessions=("mine", "theirs", "hers"))
    at, order = decide(PLAN, standing(Phase.PREPARED), others, 5)
    assert at == Standing(Phase.DRAINING, 5)
    assert order == Wait("waiting for 2 sessions to end, for 5m0s at most: theirs, hers")
    at, order = decide(PLAN, at, replace(OLD, sessions=("hers",)), 304.9)
    assert order == Wait("waiting for 1 session to end, for 5m0s at most: hers")
    at, order = decide(PLAN, at, OLD, 304.95)
    assert isinstance(order, Switch)


def test_who_does_not_end_in_time_is_cut_and_named() -> None:
    others = replace(OLD, sessions=("theirs",))
    at, order = walk(PLAN, standing(Phase.PREPARED), (0, others), (300, others))
    assert at.phase is Phase.SWITCHED
    assert order == Switch("switching from 1.0 to 1.1; 1 session did not end within 5m0s and will be cut: theirs")
    _, order = decide(replace(PLAN, drain=0), standing(Phase.PREPARED), others, 0)
    assert isinstance(order, Switch)


def test_what_is_in_the_way_of_the_switch_is_waited_for_and_nothing_is_changed_before_it_is_gone() -> None:
    busy = replace(OLD, obstacle="dpkg is at work")
    at, order = walk(PLAN, standing(Phase.PREPARED), (0, busy), (899, busy))
    assert (at.phase, order) == (Phase.DRAINING, Wait("waiting until it can be switched: dpkg is at work"))
    assert isinstance(decide(PLAN, at, OLD, 899.5)[1], Switch)
    at, order = decide(PLAN, at, busy, 900)
    assert at.phase is Phase.REFUSED
    assert order == End("refused, and 1.0 runs on: dpkg is at work, for 10m0s now")


# --- the trial ------------------------------------------------------------------------------------------------------


def test_a_version_that_comes_online_and_stays_so_is_good() -> None:
    at = switched(standing(Phase.SWITCHED), 100)
    at, order = walk(PLAN, at, (101, DOWN), (110, NEW), (119.9, NEW))
    assert order == Wait("version 1.1 is online; watching whether that lasts 10 s")
    at, order = decide(PLAN, at, NEW, 120)
    assert at == Standing(Phase.DONE, 120)
    assert order == End("upgraded from 1.0 to 1.1: it runs and is online")


@pytest.mark.parametrize(
    "seen",
    [
        DOWN,
        replace(NEW, has_tunnel=False),
        replace(NEW, version="1.0"),
        replace(NEW, pid=0),
        replace(NEW, pid=3),
    ],
)
def test_a_version_that_was_good_for_a_moment_begins_anew(seen: Seen) -> None:
    at = switched(standing(Phase.SWITCHED), 100)
    at, order = walk(PLAN, at, (101, NEW), (109, seen), (112, NEW))
    assert isinstance(order, Wait)
    at, order = decide(PLAN, at, NEW, 122)
    assert isinstance(order, End)


def test_a_version_that_is_not_online_in_time_gives_way() -> None:
    at = switched(standing(Phase.SWITCHED), 100)
    at, order = walk(PLAN, at, (219.9, DOWN))
    assert order == Wait("waiting until version 1.1 is online, for 2m0s at most (offline as kiosk)")
    at, order = decide(PLAN, at, DOWN, 220)
    assert at == Standing(Phase.RETURNING, 220, reason="version 1.1 did not come online within 2m0s: offline as kiosk")
    assert order == GoBack(f"{at.reason}; going back to 1.0")
    back, order = decide(PLAN, came_back(at, 221), DOWN, 222)
    assert order == Wait("waiting until version 1.0 is back")
    back, order = decide(PLAN, back, OLD, 223)
    assert back == Standing(Phase.ROLLED_BACK, 223, reason=at.reason)
    assert order == End(f"went back to 1.0: {at.reason}")
    assert decide(PLAN, back, OLD, 300)[1] == order


@pytest.mark.parametrize("seen", [DOWN, NEW, replace(OLD, has_tunnel=False), replace(OLD, pid=0)])
def test_an_old_version_that_does_not_come_back_either_is_told(seen: Seen) -> None:
    at = came_back(failed(standing(Phase.WATCHING), "it was bad", 100), 100)
    at, order = walk(PLAN, at, (219.9, seen))
    assert isinstance(order, Wait)
    _, order = decide(PLAN, at, seen, 220)
    assert order == End("went back to 1.0: it was bad; and version 1.0 is not back after 2m0s")


def test_an_old_version_that_did_not_run_or_was_offline_is_back_as_it_was() -> None:
    at = came_back(failed(standing(Phase.WATCHING), "it was bad", 100), 100)
    assert isinstance(decide(replace(PLAN, was_running=False), at, Seen(), 100)[1], End)
    assert isinstance(decide(replace(PLAN, had_tunnel=False), at, replace(OLD, has_tunnel=False), 100)[1], End)


def test_a_version_that_came_online_at_the_last_moment_is_still_watched() -> None:
    at = switched(standing(Phase.SWITCHED), 100)
    at, order = walk(PLAN, at, (219, NEW), (225, NEW))
    assert isinstance(order, Wait)
    at, order = decide(PLAN, at, DOWN, 226)
    assert isinstance(order, GoBack)


@pytest.mark.parametrize("seen", [replace(DOWN, restarts=3), replace(DOWN, has_failed=True)])
def test_a_version_that_does_not_start_gives_way_at_once(seen: Seen) -> None:
    at, order = decide(PLAN, switched(standing(Phase.SWITCHED), 100), seen, 101)
    assert at.reason == "version 1.1 does not start"
    assert isinstance(order, GoBack)
    assert isinstance(decide(PLAN, switched(at, 100), replace(DOWN, restarts=2), 101)[1], Wait)


def test_of_a_device_that_was_offline_it_is_asked_that_the_new_version_runs_for_longer() -> None:
    plan, seen = replace(PLAN, had_tunnel=False), replace(NEW, has_tunnel=False)
    at = switched(standing(Phase.SWITCHED), 100)
    at, order = walk(plan, at, (101, seen), (120.9, seen))
    assert order == Wait("version 1.1 runs; watching whether that lasts 20 s")
    at, order = decide(plan, at, seen, 121)
    assert order == End("upgraded from 1.0 to 1.1: it runs")
    at, order = decide(plan, switched(at, 100), Seen(), 220)
    assert at.reason == "version 1.1 did not come up within 2m0s"


@pytest.mark.parametrize(
    ("had", "has", "is_good"),
    [
        ((True, True), (True, True), True),
        ((True, True), (True, False), False),
        ((True, False), (True, False), True),
        ((True, False), (False, True), False),
        ((False, True), (False, True), True),
        ((False, True), (True, False), False),
        ((False, False), (False, False), True),
    ],
)
def test_each_connection_that_there_was_has_to_be_there_again(
    had: tuple[bool, bool], has: tuple[bool, bool], is_good: bool
) -> None:
    plan = replace(PLAN, had_tunnel=had[0], had_broker=had[1])
    seen = replace(NEW, has_tunnel=has[0], has_broker=has[1])
    _, order = walk(plan, switched(standing(Phase.SWITCHED), 100), (101, seen), (219, seen), (220, seen))
    assert isinstance(order, End if is_good else GoBack)


def test_a_service_that_did_not_run_is_not_watched() -> None:
    _, order = decide(replace(PLAN, was_running=False), switched(standing(Phase.SWITCHED), 100), Seen(), 100)
    assert order == End("upgraded from 1.0 to 1.1; the service did not run before and was not started")


# --- restarts -------------------------------------------------------------------------------------------------------


def test_what_was_cut_off_is_done_again_from_where_it_stood() -> None:
    at = take_up(standing(Phase.SWITCHED, 50), 0)
    assert at == Standing(Phase.SWITCHED, 0, starts=1)
    assert decide(PLAN, at, OLD, 1) == (at, Switch("switching from 1.0 to 1.1"))
    at = take_up(failed(standing(Phase.WATCHING), "it was bad", 50), 0)
    assert decide(PLAN, at, OLD, 1) == (at, GoBack("it was bad; going back to 1.0"))
    at = take_up(standing(Phase.WATCHING, 50, good=(60.0, 2), starts=2), 5)
    assert at == Standing(Phase.WATCHING, 5, starts=3)
    at = take_up(standing(Phase.DRAINING, 50), 5)
    assert at.phase is Phase.DRAINING


@pytest.mark.parametrize("phase", [Phase.SWITCHED, Phase.WATCHING])
def test_a_version_under_which_the_device_restarts_again_and_again_gives_way(phase: Phase) -> None:
    at = take_up(standing(phase, starts=3), 5)
    assert at.phase is Phase.RETURNING
    assert at.reason == "the upgrade was cut off 3 times while it was on trial"


@pytest.mark.parametrize("phase", [Phase.PREPARED, Phase.DRAINING])
def test_an_upgrade_that_never_gets_as_far_as_the_switch_is_given_up(phase: Phase) -> None:
    at = take_up(standing(phase, starts=3), 5)
    _, order = decide(PLAN, at, OLD, 6)
    assert order == End("refused, and 1.0 runs on: the upgrade was cut off 3 times before it could begin")


def test_the_way_back_is_gone_however_often_it_takes() -> None:
    at = take_up(standing(Phase.RETURNING, starts=99, reason="bad"), 5)
    assert isinstance(decide(PLAN, at, OLD, 6)[1], GoBack)


# --- words ----------------------------------------------------------------------------------------------------------


def test_only_an_end_is_final() -> None:
    assert {phase for phase in Phase if phase.is_final} == {Phase.DONE, Phase.ROLLED_BACK, Phase.REFUSED}


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_has_its_words_and_its_rule(phase: Phase) -> None:
    at = refused(standing(phase), "no", 1) if phase is Phase.REFUSED else standing(phase, reason="no")
    assert "1.0" in describe_end(PLAN, at)
    assert decide(PLAN, at, OLD, 2)
