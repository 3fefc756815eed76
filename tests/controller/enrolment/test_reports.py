from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from controller.audit import AuditError
from controller.enrolment.nodes import NodeRecord
from controller.enrolment.reports import SequenceError, _Turns
from protocol import events, limits
from protocol.events import EventKind
from protocol.instants import format_instant
from protocol.messages import EventBatch, NodeEvent
from protocol.names import NodeId
from protocol.session_ids import RANDOM_BYTES, mint_session_id
from tests.controller.harbour import Harbour

ADDRESS = "192.0.2.9:555"
UNSET = "1970-01-01T00:00:00.000Z"  # a clock that was never set: the log bears the controller's time
FROM_NODE = [kind for kind in events.KINDS if kind.from_node]


def event(harbour: Harbour, node: NodeRecord, sequence: int, **changed: Any) -> NodeEvent:  # noqa: ANN401 - JSON
    fields = {"server_id": node.node_id, "server_hostname": node.name, "count": sequence}
    value: dict[str, Any] = {
        "sequence": sequence,
        "uid": str(uuid.uuid4()),
        "code": "SK012W",
        "time": format_instant(harbour.clock() - timedelta(hours=1)),
        "fields": fields,
    }
    return NodeEvent.from_dict(value | changed)


def take(harbour: Harbour, node: NodeRecord, batch: Iterable[NodeEvent]) -> int:
    return harbour.enrolment.take_events(node, EventBatch(tuple(batch)), ADDRESS).sequence


def counts(harbour: Harbour) -> list[int]:
    return [entry["count"] for entry in harbour.entries("SK012W")]


def test_events_are_written_in_the_order_of_their_numbers_with_the_time_the_node_gives(harbour: Harbour) -> None:
    node = harbour.node()
    batch = [event(harbour, node, number) for number in (3, 1, 2)]
    assert take(harbour, node, batch) == 3
    assert counts(harbour) == [1, 2, 3]
    (first, *_) = harbour.entries("SK012W")
    assert first["uid"] == batch[1].uid
    assert first["time"] == first["device_time"] == format_instant(harbour.clock() - timedelta(hours=1))


def test_a_replayed_batch_is_acknowledged_and_written_once(harbour: Harbour) -> None:
    node = harbour.node()
    batch = [event(harbour, node, number) for number in (1, 2)]
    assert [take(harbour, node, batch) for _ in range(3)] == [2, 2, 2]
    assert take(harbour, node, [*batch, event(harbour, node, 3)]) == 3
    assert counts(harbour) == [1, 2, 3]


def test_a_gap_is_taken_as_it_is_and_what_falls_into_it_later_is_not(harbour: Harbour) -> None:
    node = harbour.node()
    assert take(harbour, node, [event(harbour, node, 1), event(harbour, node, 5)]) == 5
    assert take(harbour, node, [event(harbour, node, 3)]) == 5
    assert counts(harbour) == [1, 5]


def test_two_events_of_one_number_are_one_event(harbour: Harbour) -> None:
    node = harbour.node()
    twins = [event(harbour, node, 1), event(harbour, node, 1)]
    assert take(harbour, node, twins) == 1
    assert [entry["uid"] for entry in harbour.entries("SK012W")] == [twins[0].uid]


def test_an_empty_batch_tells_what_is_held(harbour: Harbour) -> None:
    node = harbour.node()
    assert take(harbour, node, []) == 0
    take(harbour, node, [event(harbour, node, 4)])
    assert take(harbour, node, []) == 4


def test_each_node_has_numbers_of_its_own(harbour: Harbour) -> None:
    one, two = harbour.node("one"), harbour.node("two")
    take(harbour, one, [event(harbour, one, 7)])
    assert take(harbour, two, [event(harbour, two, 1)]) == 1
    assert counts(harbour) == [7, 1]


def test_an_event_of_another_node_is_refused_in_the_log_and_acknowledged(harbour: Harbour) -> None:
    node, other = harbour.node("one"), harbour.node("two")
    wrong = [
        event(harbour, other, 1),
        event(harbour, node, 2, fields={"server_id": node.node_id, "server_hostname": "two", "count": 2}),
        event(harbour, node, 3, fields={"server_hostname": node.name, "count": 3}),
    ]
    assert take(harbour, node, wrong) == 3
    assert counts(harbour) == []
    entries = harbour.entries("SK011W")
    assert [entry["error"] for entry in entries] == ["R2: it speaks of another node"] * 3
    assert {entry["server_id"] for entry in entries} == {node.node_id}
    assert {entry["addr.remote"] for entry in entries} == {ADDRESS}


@pytest.mark.parametrize("kind", FROM_NODE, ids=lambda kind: kind.code)
def test_a_node_may_report_its_own_kinds_and_they_reach_the_log(harbour: Harbour, kind: EventKind) -> None:
    node = harbour.node()
    own = {"server_id": node.node_id, "server_hostname": node.name}
    if "sid" in kind.fields:
        own["sid"] = mint_session_id(node.node_id, bytes(RANDOM_BYTES))
    fields = dict.fromkeys(kind.fields, "x") | own
    take(harbour, node, [event(harbour, node, 1, code=kind.code, fields=fields)])
    (entry,) = harbour.entries(kind.code)
    assert {name: entry[name] for name in own} == own


SPEAK_OF_SESSIONS = [kind for kind in FROM_NODE if "sid" in kind.fields]


@pytest.mark.parametrize("kind", SPEAK_OF_SESSIONS, ids=lambda kind: kind.code)
def test_what_a_node_tells_of_another_node_s_session_is_refused(harbour: Harbour, kind: EventKind) -> None:
    node, other = harbour.node("one"), harbour.node("two")
    own = {"server_id": node.node_id, "server_hostname": node.name}
    foreign = {"sid": mint_session_id(other.node_id, bytes(RANDOM_BYTES))}
    fields = dict.fromkeys(kind.fields, "x") | own | foreign
    take(harbour, node, [event(harbour, node, 1, code=kind.code, fields=fields)])
    assert harbour.entries(kind.code) == []
    assert harbour.entries("SK011W")[0]["error"].startswith("R5: ")


@pytest.mark.parametrize("code", ["", "T9999I", "T2000I ", "x" * 500])
def test_a_code_that_is_none_is_refused(harbour: Harbour, code: str) -> None:
    node = harbour.node()
    take(harbour, node, [event(harbour, node, 1, code=code)])
    assert harbour.entries("SK011W")[0]["error"].startswith("R1: ")


@pytest.mark.parametrize(
    "extra",
    [{"prev": "0" * 64}, {"time": "x"}, {"uid": "x"}, {"cluster_name": "x"}, {"anything": 1}, {"": ""}],
)
def test_fields_that_the_kind_does_not_know_are_refused(harbour: Harbour, extra: dict[str, Any]) -> None:
    node = harbour.node()
    good = event(harbour, node, 1)
    take(harbour, node, [event(harbour, node, 1, fields={**good.fields, **extra})])
    assert harbour.entries("SK011W")[0]["error"].startswith("R3: ")


@pytest.mark.parametrize(
    "time", ["", "yesterday", "2026-11-22", "2026-11-22T10:00:00", "9999-12-31T23:59:59-23:59", "\u0661"]
)
def test_a_time_that_is_none_is_refused(harbour: Harbour, time: str) -> None:
    node = harbour.node()
    take(harbour, node, [event(harbour, node, 1, time=time)])
    assert harbour.entries("SK011W")[0]["error"].startswith("R4: ")


@pytest.mark.parametrize(
    "count",
    [
        pytest.param("x" * 200_000, id="long"),
        pytest.param([["deep"] * 1000] * 1000, id="wide"),
        pytest.param(float("nan"), id="no number"),
        pytest.param("\ud800", id="half a pair"),
        pytest.param({"\ud800\n": "\x1b[31m"}, id="control characters"),
    ],
)
def test_whatever_stands_in_a_field_the_log_holds_one_whole_line_for_it(
    harbour: Harbour,
    count: Any,  # noqa: ANN401 - JSON
) -> None:
    node = harbour.node()
    good = event(harbour, node, 1)
    assert take(harbour, node, [event(harbour, node, 1, fields={**good.fields, "count": count})]) == 1
    assert len(harbour.entries("SK012W")) == 1
    (path,) = (harbour.folder / "log").glob("audit-*.log")
    assert max(len(line) for line in path.read_bytes().splitlines()) <= limits.AUDIT_LINE_MAX


def test_two_posts_of_one_batch_at_once_are_written_once(harbour: Harbour) -> None:
    node = harbour.node()
    batch = [event(harbour, node, number) for number in range(1, 21)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: take(harbour, node, batch), range(4)))
    assert answers == [20] * 4
    assert counts(harbour) == list(range(1, 21))


def test_what_could_not_be_written_is_not_acknowledged_and_is_written_when_sent_again(harbour: Harbour) -> None:
    node = harbour.node()
    batch = [event(harbour, node, number) for number in (1, 2)]
    with harbour.unwritable_log(), pytest.raises(AuditError):
        take(harbour, node, batch)
    assert take(harbour, node, batch) == 2
    assert counts(harbour) == [1, 2]


def test_what_a_crash_left_half_written_is_completed_and_not_doubled(harbour: Harbour) -> None:
    node = harbour.node()
    batch = [event(harbour, node, number) for number in (1, 2)]
    take(harbour, node, batch[:1])
    collection = harbour.store.collection("event_sequences")
    record = collection.get(node.node_id, now=harbour.clock())
    assert record is not None
    # As a crash leaves it: the writing of both was begun, one was written, and nothing was acknowledged.
    collection.replace(record, {**record.value, "held": 0, "begun": 2}, now=harbour.clock())
    harbour.clock.move(days=3)
    assert take(harbour, node, batch[:1]) == 1  # in smaller pieces than before, and days later
    assert take(harbour, node, batch) == 2
    assert counts(harbour) == [1, 2]


def test_what_a_second_crash_left_is_not_doubled_either(harbour: Harbour) -> None:
    node = harbour.node()
    batch = [event(harbour, node, number, time=UNSET) for number in (1, 2, 3)]
    for written in (1, 2):  # each time one more event reached the log before the crash
        take(harbour, node, batch[:written])
        collection = harbour.store.collection("event_sequences")
        record = collection.get(node.node_id, now=harbour.clock())
        assert record is not None
        collection.replace(record, {**record.value, "held": 0, "begun": 3}, now=harbour.clock())
        harbour.clock.move(days=3)
    assert take(harbour, node, batch) == 3
    assert counts(harbour) == [1, 2, 3]


def test_a_node_cannot_use_up_the_numbers_of_its_events(harbour: Harbour) -> None:
    node = harbour.node()
    take(harbour, node, [event(harbour, node, 1)])
    for _ in range(3):
        with pytest.raises(SequenceError, match="9223372036854775806 is more than 1000000 above 1,"):
            take(harbour, node, [event(harbour, node, 2), event(harbour, node, 2**63 - 2)])
    assert take(harbour, node, []) == 1
    assert take(harbour, node, [event(harbour, node, 2)]) == 2
    assert counts(harbour) == [1, 2]
    (told,) = harbour.entries("SK011W")
    assert told["error"].startswith("R0: ")


@pytest.mark.parametrize("said", [UNSET, "2199-01-01T00:00:00.000Z"])
def test_a_time_that_cannot_be_is_the_node_s_word_alone(harbour: Harbour, said: str) -> None:
    node = harbour.node()
    take(harbour, node, [event(harbour, node, 1, time=said)])
    (entry,) = harbour.entries("SK012W")
    assert (entry["time"], entry["device_time"]) == (format_instant(harbour.clock()), said)


def test_of_many_refused_events_the_first_are_told_one_by_one_and_the_rest_are_counted(harbour: Harbour) -> None:
    node = harbour.node()
    batch = [event(harbour, node, number, code="T9999I") for number in range(1, 201)]
    assert take(harbour, node, [*batch[:199], event(harbour, node, 200)]) == 200
    entries = harbour.entries("SK011W")
    assert [entry.get("count") for entry in entries] == [None] * 10 + [189]
    assert counts(harbour) == [200]


def test_a_node_whose_batch_takes_long_holds_up_no_other_and_nothing_is_remembered_of_it() -> None:
    turns = _Turns()
    slow, other = NodeId("slow"), NodeId("other")
    entered = threading.Event()

    def wait_for_slow() -> None:
        with turns.turn(slow):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with turns.turn(slow):
            waiting = pool.submit(wait_for_slow)
            with turns.turn(other):
                assert not entered.is_set()
        waiting.result(10)
    assert entered.is_set()
    assert turns._locks == {}
