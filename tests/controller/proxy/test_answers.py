from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.policy.liveness import UNSEEN, Standing
from controller.policy.route import Ambiguous, Offline
from controller.proxy.answers import answer_for
from protocol.access import AccessTarget
from protocol.names import NodeId, NodeName

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DOWN, GONE = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
NODE = AccessTarget(NodeId("00000000-0000-4000-8000-000000000001"), NodeName("gw-1"), {})
UP_AGAIN = "it is reachable again as soon as its tunnel is up"
BACK = "it is reachable again as soon as it connects"


@pytest.mark.parametrize(
    ("standing", "since", "text"),
    [
        (UNSEEN, DOWN, f"is offline since 22 Nov 2026 10:00:00 UTC: {BACK}"),
        (UNSEEN, None, "is offline: it has not connected since this controller knows it"),
        (
            Standing("offline", GONE, GONE, "its link was lost"),
            DOWN,
            f"is offline since 22 Nov 2026 11:00:00 UTC, its link was lost: {BACK}",
        ),
        (
            Standing("stale", GONE, GONE, "the broker is away"),
            DOWN,
            f"is offline since 22 Nov 2026 10:00:00 UTC: {BACK}",
        ),
        (
            Standing("online", GONE),
            DOWN,
            f"is online, but holds no tunnel since 22 Nov 2026 10:00:00 UTC: {UP_AGAIN}",
        ),
        (
            Standing("online", GONE),
            None,
            f"is online, but holds no tunnel: {UP_AGAIN}",
        ),
    ],
)
def test_a_node_without_a_tunnel_is_explained_by_both_facts(
    standing: Standing, since: datetime | None, text: str
) -> None:
    answer = answer_for(Offline(NODE, since), NOW, standing)
    assert answer is not None
    assert answer[1] == f'node "gw-1" {text}'


def test_what_has_just_happened_is_told_in_seconds_too() -> None:
    answer = answer_for(Offline(NODE, NOW - timedelta(seconds=5)), NOW)
    assert answer is not None
    assert "is offline since 22 Nov 2026 11:59:55 UTC (5 seconds ago)" in answer[1]


def test_of_nodes_that_share_a_name_it_is_told_which_are_offline_and_since_when() -> None:
    others = [replace(NODE, node_id=NodeId(f"00000000-0000-4000-8000-00000000000{number}")) for number in (2, 3)]
    offline = {NODE.node_id: DOWN, others[0].node_id: None}
    answer = answer_for(Ambiguous("gw-1", [NODE, *others], offline), NOW)
    assert answer is not None
    rows = [line.split("⟵")[0].split(maxsplit=2)[2].strip() for line in answer[1].splitlines()[4:7]]
    assert rows == ["offline since 22 Nov 2026 10:00 UTC", "offline", "online"]
