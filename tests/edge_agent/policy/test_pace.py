from __future__ import annotations

import pytest

from edge_agent.policy.pace import Backlog, Pace, decide_pace
from protocol import limits
from protocol.joining import JoinMode

MUCH = limits.PARTY_BEHIND + 1
PATIENCE = limits.PEER_PATIENCE.total_seconds()
MODES: tuple[JoinMode, ...] = ("observer", "peer", "moderator")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("waiting", [0, MUCH])
def test_alone_a_full_channel_holds_the_program_however_long(mode: JoinMode, waiting: int) -> None:
    for held in (None, 0.0, 1000.0):
        assert decide_pace(Backlog(is_full=True, waiting=waiting, held=held), mode, is_alone=True) is Pace.HOLD


@pytest.mark.parametrize("mode", MODES)
def test_whoever_s_channel_takes_what_comes_holds_nobody(mode: JoinMode) -> None:
    for is_alone in (True, False):
        for held in (None, 1000.0):
            assert decide_pace(Backlog(is_full=False, waiting=MUCH, held=held), mode, is_alone=is_alone) is Pace.GO_ON


@pytest.mark.parametrize("mode", MODES)
def test_with_others_there_nobody_holds_who_is_a_little_behind(mode: JoinMode) -> None:
    backlog = Backlog(is_full=True, waiting=limits.PARTY_BEHIND)
    assert decide_pace(backlog, mode, is_alone=False) is Pace.GO_ON


@pytest.mark.parametrize("mode", ["observer", "moderator"])
def test_who_only_looks_on_never_holds_and_is_dropped_at_once(mode: JoinMode) -> None:
    assert decide_pace(Backlog(is_full=True, waiting=MUCH), mode, is_alone=False) is Pace.DROP
    assert decide_pace(Backlog(is_full=True, waiting=MUCH, held=0.0), mode, is_alone=False) is Pace.DROP


def test_a_peer_holds_until_patience_is_over() -> None:
    assert decide_pace(Backlog(is_full=True, waiting=MUCH), "peer", is_alone=False) is Pace.HOLD
    assert decide_pace(Backlog(is_full=True, waiting=MUCH, held=PATIENCE / 2), "peer", is_alone=False) is Pace.HOLD
    assert decide_pace(Backlog(is_full=True, waiting=MUCH, held=PATIENCE), "peer", is_alone=False) is Pace.DROP


def test_a_peer_that_is_waited_for_has_to_catch_up_well_before_the_program_goes_on() -> None:
    some, little = limits.PARTY_BEHIND // 2, limits.PARTY_BEHIND // 4
    assert decide_pace(Backlog(is_full=True, waiting=some, held=0.1), "peer", is_alone=False) is Pace.HOLD
    assert decide_pace(Backlog(is_full=True, waiting=some, held=PATIENCE), "peer", is_alone=False) is Pace.DROP
    assert decide_pace(Backlog(is_full=True, waiting=little, held=0.1), "peer", is_alone=False) is Pace.GO_ON


def test_a_peer_that_was_behind_is_waited_for_again_once_it_has_kept_up_for_a_while() -> None:
    for kept_up, expected in ((0.0, Pace.DROP), (9.0, Pace.DROP), (11.0, Pace.HOLD)):
        backlog = Backlog(is_full=True, waiting=MUCH, kept_up=kept_up)
        assert decide_pace(backlog, "peer", is_alone=False) is expected
        assert decide_pace(backlog, "peer", is_alone=True) is Pace.HOLD
        assert decide_pace(Backlog(is_full=True, waiting=1, kept_up=kept_up), "peer", is_alone=False) is Pace.GO_ON
