from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controller.api.ration import Ration
from controller.policy.rate import TooSoon
from protocol.names import NodeId
from tests.controller.api.running_api import Door
from tests.controller.api.test_door import batch_of, counts
from tests.controller.harbour import ADMIN

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NODE, OTHER = NodeId("11111111-1111-4111-8111-111111111111"), NodeId("22222222-2222-4222-8222-222222222222")


def admitted(ration: Ration, node: NodeId, count: int, now: datetime = NOW, *, is_locked: bool = False) -> int:
    return sum(ration.admit(node, now, is_locked=is_locked) is None for _ in range(count))


def test_a_minute_s_worth_is_taken_at_once_and_then_one_a_second() -> None:
    ration = Ration()
    assert admitted(ration, NODE, 100) == 60
    assert ration.admit(NODE, NOW, is_locked=False) == TooSoon(timedelta(seconds=1))
    assert admitted(ration, NODE, 100, NOW + timedelta(seconds=5)) == 5
    assert admitted(ration, OTHER, 100) == 60


def test_of_a_locked_node_one_in_ten_seconds_is_taken_however_good_it_was_before() -> None:
    ration = Ration()
    assert admitted(ration, NODE, 20) == 20
    assert admitted(ration, NODE, 20, is_locked=True) == 3
    assert ration.admit(NODE, NOW, is_locked=True) == TooSoon(timedelta(seconds=10))
    assert admitted(ration, NODE, 20, NOW + timedelta(seconds=30), is_locked=True) == 3


def test_a_locked_node_that_reports_in_bulk_is_told_when_to_go_on_and_may_always_ask_where_it_stands(
    own_door: Door,
) -> None:
    node, context = own_door.enrol()
    own_door.cluster.locks.add("node", node.node_id, "", None, ADMIN)
    answers = [own_door.post(context, batch_of(node, number)) for number in range(1, 40)]
    taken = [answer for status, answer in answers if status == 200]
    assert {status for status, _ in answers} == {200, 429}
    assert own_door.post(context, batch_of(node)) == (200, taken[-1])
    assert len(counts(own_door)) == len(taken)
