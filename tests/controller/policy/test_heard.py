from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller.policy.document import next_version
from controller.policy.heard import has_heard
from controller.policy.liveness import UNSEEN, Standing
from protocol.messages import PresenceState
from protocol.presences import Beat, NodeState

CREATED = datetime(2026, 11, 20, 12, 0, 0, 700_000, tzinfo=UTC)
LATER = CREATED + timedelta(hours=1)


def standing(presence: PresenceState, policy: int | None, interval: int = 30) -> Standing:
    beat = None if policy is None else Beat(1, 0, 0, 0, None, None, 0, 0, 0, None, True, 0, policy, 1)
    return Standing(presence, state=NodeState("0" * 16, interval=interval), beat=beat)


@pytest.mark.parametrize("presence", ["online", "offline", "stale"])
def test_a_node_that_told_of_a_document_since_the_lock_has_heard_of_it_wherever_it_is_now(
    presence: PresenceState,
) -> None:
    version = next_version(0, CREATED)
    assert has_heard(standing(presence, version), CREATED, LATER)
    assert not has_heard(standing(presence, version - 1), CREATED, LATER)


def test_a_node_that_is_online_has_heard_of_a_lock_that_its_next_heartbeat_will_tell_of() -> None:
    for beat in (None, 5):
        assert has_heard(standing("online", beat), CREATED, CREATED + timedelta(seconds=59))
        assert not has_heard(standing("online", beat), CREATED, CREATED + timedelta(seconds=60))
    slow = standing("online", 5, interval=300)
    assert has_heard(slow, CREATED, CREATED + timedelta(seconds=599))
    assert not has_heard(slow, CREATED, CREATED + timedelta(seconds=600))


@pytest.mark.parametrize("seen", [standing("stale", None), standing("offline", 5), UNSEEN, Standing("online")])
def test_a_node_of_which_nobody_can_say_has_not_heard(seen: Standing) -> None:
    assert not has_heard(seen, CREATED, LATER)
