"""When a node renews, how it waits, and what it makes of the answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.renewal import (
    Asker,
    Certified,
    Demand,
    Held,
    decide_demands,
    decide_due,
    decide_pause,
    decide_refused_wait,
    decide_retry,
    decide_rotation_wait,
    find_orphaned,
    find_superseded,
    judge_answer,
    keep_unsigned,
    share,
)
from protocol import limits
from protocol.certificates import SshCertificate
from protocol.control import PolicyDocument
from protocol.decision import Granted, Refused
from protocol.messages import JoinReply
from protocol.names import ClusterName, NodeId, NodeName
from protocol.recordings import RecordingTerms

NODE = NodeId("00000000-0000-4000-8000-000000000001")
LATE = NodeId("ffffffff-ffff-4fff-bfff-ffffffffffff")
MADE = datetime(2026, 1, 1, tzinfo=UTC)
CLUSTER = ClusterName("c")
HELD = Held(MADE, MADE + timedelta(days=30), b"old", "OLD\n")


def test_certificates_are_renewed_at_two_thirds_of_their_life() -> None:
    assert decide_due(HELD, NODE) == MADE + timedelta(days=20)


def test_nodes_spread_their_renewals_over_hours_and_each_keeps_to_its_own_moment() -> None:
    due = decide_due(HELD, LATE)
    assert MADE + timedelta(days=20, hours=5, minutes=59) < due < MADE + timedelta(days=20, hours=6)
    assert decide_due(HELD, LATE) == due


@given(st.uuids(version=4), st.integers(1, 10**9))
def test_renewal_is_never_due_after_the_end(node: UUID, seconds: int) -> None:
    node_id = NodeId(str(node))
    held = replace(HELD, valid_before=MADE + timedelta(seconds=seconds))
    assert 0 <= share(node_id) < 1
    assert held.valid_after < decide_due(held, node_id) < held.valid_before
    assert timedelta(0) <= decide_rotation_wait(node_id) < limits.ROTATION_SPREAD


@pytest.mark.parametrize(
    ("renew", "host_signer", "tls_signer", "found"),
    [
        ((), b"new", "NEW", ()),
        (("host", "tls"), b"old", "OLD", ()),
        (("host", "tls"), b"new", "NEW", ("host", "tls")),
        (("tls",), b"new", "NEW", ("tls",)),
        (("host",), b"new", "OLD", ("host",)),
    ],
)
def test_a_rotation_asks_for_the_kinds_that_another_authority_signed(
    renew: tuple[Any, ...], host_signer: bytes, tls_signer: str, found: tuple[str, ...]
) -> None:
    assert find_superseded(HELD, renew, host_signer=host_signer, tls_signer=tls_signer) == found


@pytest.mark.parametrize(
    ("hosts", "tls", "found"),
    [
        ((b"new", b"old"), ("NEW", "OLD"), ()),
        ((b"new",), ("NEW", "OLD\n"), ("host",)),
        ((b"old",), ("NEW",), ("tls",)),
        ((), (), ("host", "tls")),
    ],
)
def test_certificates_whose_signer_is_trusted_no_more_are_found(
    hosts: tuple[bytes, ...], tls: tuple[str, ...], found: tuple[str, ...]
) -> None:
    assert find_orphaned(HELD, host_authorities=hosts, tls_authorities=tls) == found


HOST_DEMAND: Demand = ("host", b"new")
TLS: Demand = ("tls", "NEW")


def test_a_demand_keeps_its_moment_however_many_documents_repeat_it() -> None:
    first = decide_demands({}, [HOST_DEMAND], [], now=1000.0, node_id=LATE)
    assert 1119 < first[HOST_DEMAND] <= 1120
    again = decide_demands(first, [HOST_DEMAND, TLS], [], now=1090.0, node_id=LATE)
    assert again[HOST_DEMAND] == first[HOST_DEMAND]
    assert 1209 < again[TLS] <= 1210
    assert decide_demands(again, [TLS], [], now=1100.0, node_id=LATE) == {TLS: again[TLS]}
    assert decide_demands(again, [("host", b"newer")], [], now=1100.0, node_id=LATE)["host", b"newer"] > 1219


def test_a_demand_is_in_a_hurry_once_the_old_authority_is_dropped() -> None:
    first = decide_demands({}, [TLS], [], now=1000.0, node_id=LATE)
    hurried = decide_demands(first, [TLS], [TLS], now=1010.0, node_id=LATE)
    assert 1014 < hurried[TLS] <= 1015
    assert decide_demands(hurried, [], [TLS], now=1014.0, node_id=LATE) == hurried
    assert decide_demands(first, [TLS], [TLS], now=1119.0, node_id=LATE) == first


def test_renewals_that_do_not_help_come_ever_more_seldom() -> None:
    assert [decide_pause(fruitless) for fruitless in range(8)] == [5, 5, 10, 20, 40, 80, 120, 120]
    pauses = [decide_pause(fruitless) for fruitless in range(100)]
    assert pauses == sorted(pauses)
    hours = [sum(pauses[:count]) / 3600 for count in range(100)]
    # Of the places that a node's certificates take, one is given away three times an hour.
    assert all(count - hour * 3 < limits.TLS_CERTIFICATES_MAX for count, hour in enumerate(hours))
    assert pauses[-1] == limits.RENEW_RETRY_MAX.total_seconds()


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True), st.booleans())
def test_a_wait_grows_up_to_its_bound(failures: int, chance: float, is_urgent: bool) -> None:
    most = 120.0 if is_urgent else limits.RENEW_RETRY_MAX.total_seconds()
    wait = decide_retry(failures, None, chance, is_urgent=is_urgent)
    assert 2 <= wait <= most
    assert decide_retry(failures + 1, None, chance, is_urgent=is_urgent) >= wait
    assert decide_retry(100, None, chance, is_urgent=is_urgent) >= most / 2


@pytest.mark.parametrize(("asked", "waits"), [(0.0, 0.0), (60.0, 60.0), (-5.0, 0.0), (1e9, 3600.0)])
def test_what_the_controller_asks_for_is_heeded_within_bounds(asked: float, waits: float) -> None:
    assert decide_retry(3, asked, 0.0, is_urgent=True) == waits


def test_a_refused_node_asks_rarely() -> None:
    assert decide_refused_wait(0.0) == 1800
    assert decide_refused_wait(0.999) > 3590


# --- the answer -------------------------------------------------------------------------------------------------------

TERMS = RecordingTerms("off", False, "", b"", 1)
POLICY = PolicyDocument(3, 1, CLUSTER, ("user new",), ("host new",), ("TLS NEWER", "TLS NEW"), TERMS)
REPLY = JoinReply(
    node_id=NODE,
    name=NodeName("n"),
    cluster_name=CLUSTER,
    labels={"a": "b"},
    host_certificate="h",
    tls_certificate="t",
    user_authorities=("unsigned",),
    host_authorities=("unsigned",),
    tls_authorities=("unsigned",),
    tunnel_address=":1",
    api_address=":2",
    mqtt_address=":3",
    generation=5,
)
HOST = SshCertificate(
    kind="host",
    key_id="",
    serial=1,
    principals=(NODE, "n"),
    valid_after=MADE,
    valid_before=MADE,
    critical_options={},
    extensions={"role@skerry": b"node", "generation@skerry": b"5"},
    signing_key=b"signer",
    public_key=b"host key",
)
CERTIFIED = Certified(HOST, b"tls key", NODE, tls_signer="TLS NEW")
ASKER = Asker(NODE, CLUSTER, 4, b"host key", b"tls key")


def judged(
    reply: JoinReply = REPLY, policy: PolicyDocument = POLICY, certified: Certified = CERTIFIED
) -> Granted[JoinReply] | Refused:
    return judge_answer(reply, policy, certified, ASKER, host_authorities={b"signer", b"another signer"})


def host(**changes: object) -> dict[str, Certified]:
    return {"certified": replace(CERTIFIED, host=replace(HOST, **cast("dict[str, Any]", changes)))}


def test_what_is_granted_goes_by_what_is_signed() -> None:
    answer = judged()
    assert isinstance(answer, Granted)
    assert answer.value.host_authorities == ("host new",)
    assert answer.value.user_authorities == ("user new",)
    assert answer.value.tls_authorities == ("TLS NEW", "TLS NEWER")  # who signed for us comes first
    assert answer.value.recording == TERMS
    assert answer.value.generation == 5


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("G1", {"reply": replace(REPLY, node_id=LATE)}),
        ("G1", {"reply": replace(REPLY, cluster_name=ClusterName("other"))}),
        ("G1", {"policy": replace(POLICY, cluster=ClusterName("other"))}),
        ("G2", {"reply": replace(REPLY, generation=4)}),
        ("G3", host(kind="user")),
        ("G3", host(public_key=b"another")),
        ("G4", host(signing_key=b"another")),
        ("G5", host(principals=(LATE, NODE))),
        ("G5", host(principals=())),
        ("G5", host(extensions={"role@skerry": b"proxy", "generation@skerry": b"5"})),
        ("G6", host(extensions={"role@skerry": b"node", "generation@skerry": b"4"})),
        ("G6", host(extensions={"role@skerry": b"node"})),
        ("G7", {"certified": replace(CERTIFIED, tls_key=b"another")}),
        ("G7", {"certified": replace(CERTIFIED, tls_name=LATE)}),
        ("G8", {"certified": replace(CERTIFIED, tls_signer="")}),
    ],
)
def test_an_answer_that_is_not_ours_is_refused(check: str, changes: dict[str, Any]) -> None:
    answer = judged(**changes)
    assert isinstance(answer, Refused)
    assert answer.check == check


def test_of_a_road_that_is_not_trusted_only_what_is_signed_is_taken() -> None:
    before = replace(REPLY, name=NodeName("o"), labels={}, tunnel_address="x:1", api_address="x:2", mqtt_address="")
    kept = keep_unsigned(REPLY, before)
    assert (kept.name, kept.labels, kept.tunnel_address, kept.api_address, kept.mqtt_address) == (
        "o",
        {},
        "x:1",
        "x:2",
        "",
    )
    assert kept.host_certificate == "h"
