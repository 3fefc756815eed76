from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.join import (
    UNLIMITED,
    JoinClaim,
    JoinOrder,
    JoinToken,
    KnownDevice,
    decide_join,
    decide_labels,
    is_good,
    spend,
)
from protocol import limits
from protocol.certificates import node_principals
from protocol.decision import Granted, Refused
from protocol.names import NodeId, parse_cluster_name, parse_node_name

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
TOKEN = JoinToken("****abcd", 1, NOW + timedelta(minutes=30))
CLAIM = JoinClaim(parse_node_name("gw-1"), {}, proven=True)
CLUSTER = parse_cluster_name("harbour.example")
NODE_ID = NodeId("00000000-0000-4000-8000-000000000001")
PRINCIPALS = node_principals(NODE_ID, CLAIM.name, CLUSTER)
RESERVED = ("skerry.example", "192.0.2.1", "ssh.Harbour.example")
LABELS = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.text("xyz", max_size=2), max_size=6)


def test_a_good_token_and_a_proven_key_make_a_node() -> None:
    answer = decide_join(TOKEN, replace(CLAIM, labels={"env": "dev"}), principals=PRINCIPALS, reserved=(), now=NOW)
    assert answer == Granted(JoinOrder(CLAIM.name, {"env": "dev"}))


@pytest.mark.parametrize(
    ("token", "claim", "check"),
    [
        pytest.param(None, CLAIM, "J1", id="unknown"),
        pytest.param(replace(TOKEN, expires=NOW), CLAIM, "J2", id="expires at this very instant"),
        pytest.param(replace(TOKEN, uses_left=0), CLAIM, "J3", id="spent"),
        pytest.param(TOKEN, replace(CLAIM, proven=False), "J4", id="unproven"),
        pytest.param(TOKEN, replace(CLAIM, name=parse_node_name("Skerry.Example")), "J5", id="the controller's name"),
        pytest.param(TOKEN, replace(CLAIM, name=parse_node_name("192.0.2.1")), "J5", id="the controller's address"),
        pytest.param(TOKEN, replace(CLAIM, name=parse_node_name("SSH")), "J5", id="its name before the cluster's"),
        pytest.param(
            TOKEN, replace(CLAIM, labels={f"l{n}": "x" for n in range(limits.LABELS_MAX + 1)}), "J6", id="labels"
        ),
    ],
)
def test_each_check_refuses_by_its_own_label(token: JoinToken | None, claim: JoinClaim, check: str) -> None:
    principals = node_principals(NODE_ID, claim.name, CLUSTER)
    answer = decide_join(token, claim, principals=principals, reserved=RESERVED, now=NOW)
    assert isinstance(answer, Refused)
    assert answer.check == check


def test_a_token_is_good_until_its_last_moment_and_a_static_one_for_ever() -> None:
    last = NOW + timedelta(minutes=30) - timedelta(microseconds=1)
    assert isinstance(decide_join(TOKEN, CLAIM, principals=PRINCIPALS, reserved=(), now=last), Granted)
    static = JoinToken("****abcd", UNLIMITED, None)
    assert isinstance(
        decide_join(static, CLAIM, principals=PRINCIPALS, reserved=(), now=NOW + timedelta(days=9999)), Granted
    )


def test_labels_of_the_token_and_the_device_together_may_be_as_many_as_the_limit() -> None:
    half = limits.LABELS_MAX // 2
    token = replace(TOKEN, labels={f"t{n}": "x" for n in range(half)})
    claim = replace(CLAIM, labels={f"d{n}": "x" for n in range(half)})
    assert isinstance(decide_join(token, claim, principals=PRINCIPALS, reserved=(), now=NOW), Granted)
    claim = replace(CLAIM, labels={f"d{n}": "x" for n in range(half + 1)})
    assert isinstance(decide_join(token, claim, principals=PRINCIPALS, reserved=(), now=NOW), Refused)


KNOWN = KnownDevice(repeats=True, enrolled=True)
APPROVE = replace(TOKEN, approve=True)


@pytest.mark.parametrize(
    ("token", "known", "check"),
    [
        pytest.param(replace(TOKEN, uses_left=0), replace(KNOWN, repeats=False), "J3", id="spent by another"),
        pytest.param(replace(TOKEN, expires=NOW), KNOWN, "J2", id="expired"),
        pytest.param(TOKEN, replace(KNOWN, lock="locked"), "J9", id="locked"),
        pytest.param(APPROVE, replace(KNOWN, repeats=False), "J10", id="a node already"),
        pytest.param(APPROVE, KnownDevice(waiting=limits.PENDING_NODES_MAX), "J11", id="too many wait"),
        pytest.param(
            TOKEN,
            replace(KNOWN, certificates=limits.TLS_CERTIFICATES_MAX, idle=timedelta(minutes=19)),
            "J12",
            id="too many certificates",
        ),
    ],
)
def test_a_device_that_is_known_is_refused_by_its_own_labels(token: JoinToken, known: KnownDevice, check: str) -> None:
    answer = decide_join(token, CLAIM, known=known, principals=PRINCIPALS, reserved=(), now=NOW)
    assert isinstance(answer, Refused)
    assert answer.check == check


@pytest.mark.parametrize(
    ("token", "known", "pending"),
    [
        pytest.param(replace(TOKEN, uses_left=0), KNOWN, False, id="repeated"),
        pytest.param(TOKEN, replace(KNOWN, repeats=False), False, id="with another token"),
        pytest.param(APPROVE, KnownDevice(), True, id="to be approved"),
        pytest.param(APPROVE, KnownDevice(repeats=True), True, id="repeated while it waits"),
        pytest.param(APPROVE, KNOWN, False, id="repeated after it was approved"),
        pytest.param(TOKEN, KnownDevice(waiting=limits.PENDING_NODES_MAX), False, id="others wait"),
    ],
)
def test_a_device_waits_only_where_nobody_has_approved_of_it(
    token: JoinToken, known: KnownDevice, *, pending: bool
) -> None:
    answer = decide_join(token, CLAIM, known=known, principals=PRINCIPALS, reserved=(), now=NOW)
    assert answer == Granted(JoinOrder(CLAIM.name, {}, pending))


def test_labels_in_which_an_admin_has_a_say_are_not_the_device_s_to_claim() -> None:
    token = replace(TOKEN, labels={"env": "prod"})
    labels = decide_labels(token, {"env": "x", "site": "quay", "new": "1"}, {"env": "lab", "site": "pier"})
    assert labels == {"env": "prod", "site": "pier"}


def test_a_use_is_noted_with_the_key_that_took_it() -> None:
    spent = spend(replace(APPROVE, uses_left=2, ephemeral=timedelta(hours=1)), "mark")
    assert spent == replace(APPROVE, uses_left=1, ephemeral=timedelta(hours=1), spent_by="mark")


@given(LABELS, LABELS, st.none() | st.lists(st.text("abcdef", min_size=1, max_size=2)).map(tuple))
def test_a_device_never_changes_what_the_token_fixes_nor_claims_what_it_does_not_allow(
    fixed: dict[str, str], claimed: dict[str, str], claimable: tuple[str, ...] | None
) -> None:
    token = replace(TOKEN, labels=fixed, claimable=claimable)
    labels = decide_labels(token, claimed)
    assert fixed.items() <= labels.items()
    for key in labels.keys() - fixed.keys():
        assert labels[key] == claimed[key]
        assert claimable is None or key in claimable
    if claimable is None:
        assert claimed.keys() <= labels.keys()
    assert list(labels) == sorted(labels)


def test_spending_takes_one_use_and_nothing_else() -> None:
    token = JoinToken("****abcd", 3, NOW, {"a": "b"}, ("c",))
    assert spend(token) == replace(token, uses_left=2)
    assert spend(spend(spend(token))).uses_left == 0
    static = replace(token, uses_left=UNLIMITED)
    assert spend(static) == static


@pytest.mark.parametrize(
    ("token", "good"),
    [
        pytest.param(TOKEN, True, id="alive"),
        pytest.param(replace(TOKEN, expires=NOW), False, id="expires at this very instant"),
        pytest.param(replace(TOKEN, uses_left=0), False, id="spent"),
        pytest.param(replace(TOKEN, uses_left=UNLIMITED, expires=None), True, id="static"),
    ],
)
def test_a_token_is_good_until_it_is_spent_or_expires(token: JoinToken, good: bool) -> None:
    assert is_good(token, NOW) is good


def test_a_token_is_good_while_it_has_uses_and_time_left() -> None:
    assert is_good(TOKEN, NOW)
    assert not is_good(replace(TOKEN, uses_left=0), NOW)
    assert not is_good(TOKEN, NOW + timedelta(minutes=30))
    assert is_good(JoinToken("****abcd", UNLIMITED, None), NOW + timedelta(days=9999))
