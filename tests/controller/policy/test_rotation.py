from __future__ import annotations

from itertools import pairwise, product

import pytest

from controller.policy.rotation import (
    PHASES,
    Phase,
    decide_phase,
    following,
    is_awake,
    is_old_serving,
    is_renewal_due,
)
from protocol.decision import Granted, Refused
from protocol.messages import NodeStatus, TunnelState

WAYS: tuple[tuple[Phase, ...], ...] = (
    ("standby", "init", "update_clients", "update_servers", "standby"),
    ("init", "rollback", "standby"),
    ("update_clients", "rollback", "standby"),
    ("update_servers", "rollback", "standby"),
)
ALLOWED = {step for way in WAYS for step in pairwise(way)}


@pytest.mark.parametrize(("current", "wanted"), list(product(PHASES, PHASES)))
def test_a_phase_follows_another_only_on_the_ways_through_a_rotation(current: Phase, wanted: Phase) -> None:
    answer = decide_phase(current, wanted)
    if (current, wanted) in ALLOWED:
        assert answer == Granted(wanted)
    else:
        assert isinstance(answer, Refused)
        assert f"in the phase {current}" in answer.reason
        assert all(phase in answer.reason for phase in following(current))


def test_the_usual_way_is_named_first() -> None:
    assert [following(phase)[0] for phase in ("standby", "init", "update_clients", "update_servers")] == [
        *("init", "update_clients", "update_servers", "standby")
    ]


def test_servers_present_the_old_key_s_word_until_they_are_updated() -> None:
    assert [phase for phase in PHASES if is_old_serving(phase)] == ["update_clients"]


def test_certificates_are_renewed_from_update_servers_on_and_when_it_is_rolled_back() -> None:
    assert [phase for phase in PHASES if is_renewal_due(phase, rotated=True)] == [
        *("standby", "update_servers", "rollback")
    ]
    assert not is_renewal_due("standby", rotated=False)


@pytest.mark.parametrize(
    ("status", "tunnel", "awake"),
    [
        ("online", "up", True),
        ("tunnel down", "down", True),
        ("stale", "up", True),
        ("stale", "down", False),
        ("offline", "down", False),
        ("unknown", "unknown", False),
    ],
)
def test_who_is_awake_is_waited_for(status: NodeStatus, tunnel: TunnelState, *, awake: bool) -> None:
    assert is_awake(status, tunnel) is awake
