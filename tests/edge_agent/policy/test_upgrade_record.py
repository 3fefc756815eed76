from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.upgrade import Phase, Plan, Standing
from edge_agent.policy.upgrade_record import RECORD_MAX, Record
from protocol.fields import MessageError

BEGAN = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
PLAN = Plan("1.0", "1.1", "tree", 300, 120, 10, "mine", was_running=True, had_tunnel=False, had_broker=True)
RECORD = Record("af01", PLAN, Standing(Phase.WATCHING, 0.0, starts=2, reason=""), BEGAN, doing="waiting")


def test_what_is_kept_is_read_again() -> None:
    assert Record.decode(RECORD.encode()) == RECORD
    ended = RECORD.step(Standing(Phase.ROLLED_BACK, 0.0, reason="bad"), "went back", BEGAN + timedelta(minutes=1))
    assert Record.decode(ended.encode()) == ended


def test_what_is_said_at_length_can_be_read_again_too() -> None:
    long = RECORD.step(Standing(Phase.REFUSED, 0.0, starts=2, reason="é" * 100_000), "é" * 100_000, BEGAN)
    assert len(long.encode()) < RECORD_MAX
    assert Record.decode(long.encode()) == long


def test_others_find_from_to_state_reason_and_times() -> None:
    told = json.loads(RECORD.encode())
    assert {name: told[name] for name in ("id", "from", "to", "state", "reason", "began", "ended")} == {
        "id": "af01",
        "from": "1.0",
        "to": "1.1",
        "state": "running",
        "reason": "",
        "began": "2026-11-22T10:00:00.000Z",
        "ended": None,
    }


@pytest.mark.parametrize(
    ("phase", "state"),
    [(Phase.PREPARED, "running"), (Phase.RETURNING, "running"), (Phase.DONE, "done"), (Phase.REFUSED, "refused")],
)
def test_it_runs_until_it_has_ended(phase: Phase, state: str) -> None:
    record = RECORD.step(Standing(phase, 1.0), "so", BEGAN)
    assert record.state == state
    assert (record.ended is None) == (state == "running")
    later = record.step(record.standing, "so", BEGAN + timedelta(hours=1))
    assert later.ended == record.ended


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("from", "../1"),
        ("to", 1),
        ("phase", "nowhere"),
        ("plan", []),
        ("began", "then"),
        ("plan", {**RECORD.to_dict()["plan"], "kind": "snap"}),  # type: ignore[dict-item]  # it is an object
    ],
)
def test_what_was_tampered_with_is_refused(name: str, value: object) -> None:
    with pytest.raises(MessageError):
        Record.decode(json.dumps({**RECORD.to_dict(), name: value}).encode())


def test_what_an_older_version_did_not_keep_yet_has_its_usual_value() -> None:
    told = json.loads(RECORD.encode())
    told["plan"] = {"kind": "tree"}
    assert Record.decode(json.dumps(told).encode()).plan == Plan(
        "1.0", "1.1", "tree", 300, 120, 10, "", was_running=True, had_tunnel=False, had_broker=False
    )


def test_a_package_is_known_again_and_what_is_too_large_is_not_read() -> None:
    package = Plan("1.0", "1.1", "package", 0, 1, 1, "", was_running=False, had_tunnel=False)
    assert Record.decode(Record("1", package, Standing(Phase.DONE, 0.0), BEGAN, BEGAN).encode()).plan == package
    with pytest.raises(MessageError, match="larger than"):
        Record.decode(b" " * (RECORD_MAX + 1))


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda data: json.dumps(data).encode())
)
def test_whatever_else_is_there_is_refused_in_one_manner(data: bytes) -> None:
    with pytest.raises(MessageError):
        Record.decode(data)
