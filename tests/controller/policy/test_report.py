from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.policy.report import believed_time, decide_fresh, judge_event
from protocol import events, limits
from protocol.access import AccessTarget
from protocol.decision import Granted, Refused
from protocol.events import EventKind
from protocol.messages import NodeEvent
from protocol.names import NodeId, parse_node_name
from protocol.session_ids import RANDOM_BYTES, mint_session_id

NODE = AccessTarget(NodeId("00000000-0000-4000-8000-000000000001"), parse_node_name("gw-1"), {})
OWN = {"server_id": NODE.node_id, "server_hostname": NODE.name}
EVENT = NodeEvent(1, "00000000-0000-4000-8000-00000000000a", "SK012W", "2026-11-22T10:00:00.000Z", OWN | {"count": 1})
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
JUMP = limits.EVENT_SEQUENCE_JUMP_MAX


def numbered(*numbers: int) -> tuple[NodeEvent, ...]:
    return tuple(replace(EVENT, sequence=number) for number in numbers)


def check_of(answer: Granted[EventKind] | Refused) -> str:
    assert isinstance(answer, Refused)
    return answer.check


def test_what_is_above_the_last_number_held_is_fresh_in_the_order_of_numbers() -> None:
    assert decide_fresh(2, numbered(4, 1, 3, 2)) == Granted(numbered(3, 4))
    assert decide_fresh(9, numbered(4, 1)) == Granted(())
    assert decide_fresh(0, ()) == Granted(())


def test_of_two_events_with_one_number_the_first_counts() -> None:
    twin = replace(EVENT, uid="00000000-0000-4000-8000-00000000000b")
    assert decide_fresh(0, (EVENT, twin)) == Granted((EVENT,))


@pytest.mark.parametrize("held", [0, 7, 10**12])
def test_numbers_may_jump_as_far_as_the_limit_and_no_further(held: int) -> None:
    assert decide_fresh(held, numbered(held + JUMP)) == Granted(numbered(held + JUMP))
    for number in (held + JUMP + 1, 2**63 - 2):
        answer = decide_fresh(held, numbered(held + 1, number))
        assert isinstance(answer, Refused)
        assert answer.check == "R0"


def test_a_good_event_is_granted_with_its_kind() -> None:
    assert judge_event(NODE, EVENT) == Granted(events.NODE_EVENTS_LOST)


FOREIGN = NodeId("00000000-0000-4000-8000-000000000002")


def of_session(session: object) -> NodeEvent:
    fields = {"sid": session, "reason": "full", "bytes": 1}
    return replace(EVENT, code=events.RECORDING_GAP.code, fields=OWN | fields)  # type: ignore[arg-type]  # no id at all, too


def test_a_node_tells_of_its_own_sessions_and_of_what_is_no_session() -> None:
    own = mint_session_id(NODE.node_id, bytes(RANDOM_BYTES))
    assert judge_event(NODE, of_session(own)) == Granted(events.RECORDING_GAP)
    assert judge_event(NODE, of_session("")) == Granted(events.RECORDING_GAP)


@pytest.mark.parametrize(
    "session",
    [
        pytest.param(mint_session_id(FOREIGN, bytes(RANDOM_BYTES)), id="another node's"),
        pytest.param(mint_session_id(NODE.node_id, bytes(RANDOM_BYTES)).upper(), id="its own in capitals"),
        pytest.param("00000000-0000-4000-8000-00000000000c", id="nobody's"),
        pytest.param("../../etc/passwd", id="no id"),
        pytest.param(None, id="nothing"),
        pytest.param(0, id="a number"),
        pytest.param([], id="a list"),
    ],
)
def test_a_node_tells_of_no_session_but_its_own(session: object) -> None:
    assert check_of(judge_event(NODE, of_session(session))) == "R5"


@pytest.mark.parametrize("kind", [kind for kind in events.KINDS if not kind.from_node], ids=lambda kind: kind.code)
def test_no_node_may_report_what_is_the_controller_s_own(kind: EventKind) -> None:
    fields = dict.fromkeys(kind.fields, "forged") | {"server_id": NODE.node_id}
    assert check_of(judge_event(NODE, replace(EVENT, code=kind.code, fields=fields))) == "R1"


@pytest.mark.parametrize(
    ("event", "check"),
    [
        pytest.param(replace(EVENT, code="T9999I"), "R1", id="no kind"),
        pytest.param(replace(EVENT, fields={**EVENT.fields, "server_id": "other"}), "R2", id="another's id"),
        pytest.param(replace(EVENT, fields={**EVENT.fields, "server_hostname": "other"}), "R2", id="another's name"),
        pytest.param(replace(EVENT, fields={"server_hostname": NODE.name, "count": 1}), "R2", id="no id"),
        pytest.param(replace(EVENT, fields=OWN), "R3", id="a field is missing"),
        pytest.param(replace(EVENT, fields={**EVENT.fields, "prev": "x"}), "R3", id="a field too many"),
        pytest.param(replace(EVENT, time="yesterday"), "R4", id="no time"),
    ],
)
def test_each_check_refuses_by_its_own_label(event: NodeEvent, check: str) -> None:
    assert check_of(judge_event(NODE, event)) == check


@pytest.mark.parametrize(
    ("said", "believed"),
    [
        pytest.param(NOW - timedelta(hours=1), True, id="a while ago"),
        pytest.param(NOW - timedelta(days=31), True, id="a day before it joined"),
        pytest.param(NOW - timedelta(days=31, seconds=1), False, id="earlier than that"),
        pytest.param(NOW + timedelta(minutes=5), True, id="a little ahead"),
        pytest.param(NOW + timedelta(minutes=5, seconds=1), False, id="further ahead"),
        pytest.param(datetime(1970, 1, 1, tzinfo=UTC), False, id="a clock that was never set"),
    ],
)
def test_a_node_is_believed_about_the_time_only_where_it_can_be_right(said: datetime, believed: bool) -> None:
    assert believed_time(said, joined=NOW - timedelta(days=30), now=NOW) == (said if believed else NOW)
