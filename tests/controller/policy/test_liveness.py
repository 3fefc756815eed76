from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.liveness import (
    NO_TUNNEL,
    TUNNEL_PROOF,
    UNSEEN,
    Standing,
    TunnelFact,
    decide_status,
    status_since,
)
from protocol.messages import NodeStatus, PresenceState, TunnelState

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)
UP, DOWN = TunnelFact("up", EARLIER), TunnelFact("down", EARLIER)


def heard(presence: PresenceState, since: datetime | None = EARLIER) -> Standing:
    return Standing(presence, since)


@pytest.mark.parametrize(
    ("standing", "tunnel", "status"),
    [
        (heard("online"), UP, "online"),
        (heard("online"), DOWN, "tunnel down"),
        (heard("online"), NO_TUNNEL, "tunnel down"),
        (heard("stale"), UP, "stale"),
        (heard("stale"), DOWN, "stale"),
        (heard("offline"), DOWN, "offline"),
        (heard("offline"), NO_TUNNEL, "offline"),
        (UNSEEN, UP, "online"),
        (UNSEEN, DOWN, "offline"),
        (UNSEEN, NO_TUNNEL, "unknown"),
    ],
)
def test_two_facts_make_one_status(standing: Standing, tunnel: TunnelFact, status: NodeStatus) -> None:
    assert decide_status(standing, tunnel, pending=False, now=NOW) == status


def test_a_node_that_waits_for_approval_is_pending_whatever_else_is_known() -> None:
    assert decide_status(heard("online"), UP, pending=True, now=NOW) == "pending"


def test_a_node_that_was_given_up_is_offline_until_its_tunnel_has_proved_to_be_alive() -> None:
    tunnel = TunnelFact("up", NOW - timedelta(hours=2))
    gone = heard("offline", NOW - TUNNEL_PROOF + timedelta(seconds=1))
    assert decide_status(gone, tunnel, pending=False, now=NOW) == "offline"
    assert decide_status(gone, tunnel, pending=False, now=NOW + timedelta(seconds=1)) == "stale"
    assert decide_status(heard("offline", None), tunnel, pending=False, now=NOW) == "offline"


def test_a_tunnel_that_came_up_after_its_node_was_given_up_shows_at_once_that_it_is_there() -> None:
    tunnel = TunnelFact("up", NOW)
    assert decide_status(heard("offline", NOW - timedelta(seconds=1)), tunnel, pending=False, now=NOW) == "stale"


def test_since_when_is_told_by_the_fact_that_the_status_comes_from() -> None:
    later = NOW - timedelta(minutes=5)
    assert status_since("offline", heard("offline", later), DOWN) == later
    assert status_since("offline", UNSEEN, DOWN) == EARLIER
    assert status_since("tunnel down", heard("online"), TunnelFact("down", later)) == later
    assert status_since("tunnel down", heard("online", later), DOWN) == later
    assert status_since("tunnel down", heard("online", None), NO_TUNNEL) is None


@given(
    st.sampled_from(get_args(PresenceState)),
    st.sampled_from(get_args(TunnelState)),
    st.booleans(),
    st.integers(-10_000, 10_000),
)
def test_every_pair_of_facts_has_a_status(
    presence: PresenceState, tunnel: TunnelState, pending: bool, seconds: int
) -> None:
    status = decide_status(
        heard(presence), TunnelFact(tunnel, EARLIER), pending=pending, now=EARLIER + timedelta(seconds=seconds)
    )
    assert status in get_args(NodeStatus)
    assert status != "online" or tunnel == "up"
