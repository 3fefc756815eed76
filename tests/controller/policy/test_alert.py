from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controller.policy.alert import NAMED_MAX, Troubles, decide_alerts, is_clock_off, is_disk_full
from controller.policy.liveness import BrokerHealth
from protocol.names import NodeName
from protocol.presences import NodeState
from tests.controller.lookout.lab import BEAT

GATE, QUAY = NodeName("gate"), NodeName("quay")
STATE = NodeState("00000000000000aa")
ALL = Troubles(
    broker=BrokerHealth(is_up=False, reason="it cannot be reached"),
    clones=(GATE,),
    refused=2,
    refused_nodes=(QUAY,),
    gaps=1,
    gap_nodes=(GATE,),
    pending=(GATE, QUAY),
    full=(QUAY,),
    off=(GATE,),
    rotating=(("host", "update_clients", datetime(2026, 11, 20, tzinfo=UTC)),),
)


def test_where_all_is_well_there_is_nothing_to_look_at() -> None:
    assert decide_alerts(Troubles()) == ()
    assert decide_alerts(Troubles(broker=BrokerHealth(is_up=True))) == ()


def test_the_worst_comes_first_and_each_says_what_to_do_next() -> None:
    alerts = decide_alerts(ALL)
    assert [alert.subject for alert in alerts] == [
        *("broker", "clones", "gaps", "refused", "disk", "clocks", "pending", "rotation"),
    ]
    order = ("danger", "warning", "notice")
    ranks = [order.index(alert.severity) for alert in alerts]
    assert ranks == sorted(ranks)
    assert all(alert.advice.endswith(".") and alert.command.startswith("tctl ") for alert in alerts)
    assert all(alert.to_dict()["text"] == alert.text for alert in alerts)


def test_an_alert_says_how_many_and_names_some() -> None:
    many = [NodeName(f"gw-{number}") for number in range(30)]
    (alert,) = decide_alerts(Troubles(pending=many))
    assert (alert.count, alert.nodes) == (30, tuple(many[:NAMED_MAX]))
    assert alert.text == "30 devices wait for approval"
    (alert,) = decide_alerts(Troubles(pending=(GATE,)))
    assert (alert.text, alert.command) == ("1 device waits for approval", "tctl nodes approve gate")


def test_one_and_many_are_told_apart() -> None:
    texts = {alert.subject: alert.text for alert in decide_alerts(ALL)}
    assert texts["clones"].startswith("1 node is locked: it has been copied")
    assert texts["gaps"].startswith("1 session or part of one is not on record")
    assert texts["refused"].startswith("2 uploads of recordings were refused")
    assert texts["rotation"] == (
        "The host authority is in the middle of a rotation (phase update_clients, begun 2026-11-20)"
    )


@pytest.mark.parametrize(
    ("total", "free", "is_full"),
    [
        (30_000, 1_499, True),
        (30_000, 1_500, False),
        (2_000, 255, True),
        (2_000, 256, False),
        (100, 49, True),  # a small one is full by half of it, not for being small
        (100, 50, False),
        (0, 100, True),
        (0, 300, False),
        (0, 0, False),  # neither is known
        (30_000, 0, True),
    ],
)
def test_a_disk_is_nearly_full_with_a_twentieth_left_or_next_to_nothing(total: int, free: int, is_full: bool) -> None:
    assert is_disk_full(replace(STATE, disk=total), replace(BEAT, disk=free)) is is_full
    if not total:
        assert is_disk_full(None, replace(BEAT, disk=free)) is is_full


@pytest.mark.parametrize(
    ("offset", "is_off"), [(None, False), (0, False), (60_000, False), (60_001, True), (-60_001, True)]
)
def test_a_clock_is_off_beyond_what_certificates_allow_for(offset: int | None, is_off: bool) -> None:
    assert is_clock_off(replace(BEAT, clock_offset=offset)) is is_off
