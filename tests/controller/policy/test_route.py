from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.route import (
    Ambiguous,
    Denied,
    Offline,
    Route,
    Routed,
    Unknown,
    decide_route,
    find_named,
    find_nodes,
)
from protocol.access import ACCESS, AccessTarget
from protocol.names import Login, NodeId, NodeName, RoleName, UserName, parse_login, parse_node_name, parse_user_name

ALICE = parse_user_name("alice")
LOGINS = (parse_login("pi"),)
SINCE = datetime(2026, 11, 22, 10, tzinfo=UTC)


@dataclass(frozen=True)
class Person:
    user: UserName = ALICE
    roles: tuple[RoleName, ...] = (ACCESS,)
    logins: tuple[Login, ...] = LOGINS


def node(number: int, name: str, **labels: str) -> AccessTarget:
    return AccessTarget(NodeId(f"00000000-0000-4000-8000-{number:012d}"), parse_node_name(name), labels)


ONE = node(1, "gw-1", env="prod", site="pier")
TWO = node(2, "gw-2", env="prod")
TWIN = node(3, "GW-2", env="dev")
ODD = node(4, "buoy", env="lab")
NODES = {each.node_id: each for each in (ONE, TWO, TWIN, ODD)}


def route(target: str, person: Person | None = None, offline: Mapping[str, datetime | None] | None = None) -> Route:
    known = offline or {}
    since = {each.node_id: known[each.name] for each in NODES.values() if each.name in known}
    return decide_route(target, person=person or Person(), nodes=NODES, offline_since=since)


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        pytest.param(str(ONE.node_id), ONE, id="UUID"),
        pytest.param("GW-1", ONE, id="name, whatever its case"),
        pytest.param("site=pier", ONE, id="label"),
        pytest.param("env=prod,site=pier", ONE, id="two labels"),
        pytest.param(" env = lab ", ODD, id="spaces around a label"),
    ],
)
def test_a_node_is_found_by_uuid_by_name_and_by_label(target: str, reached: AccessTarget) -> None:
    assert route(target) == Routed(reached)


def test_by_name_alone_labels_find_nothing() -> None:
    assert find_named("gw-2", NODES) == [TWO, TWIN]
    assert find_named(str(ONE.node_id), NODES) == [ONE]
    assert find_named("00000000-0000-4000-8000-999999999999", NODES) == find_named("site=pier", NODES) == []


def test_a_uuid_in_capitals_is_the_same_uuid() -> None:
    known = AccessTarget(NodeId("abcdef00-0000-4000-8000-000000000001"), parse_node_name("x"), {})
    assert list(find_nodes(known.node_id.upper(), {known.node_id: known})) == [known]


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("nowhere", id="name"),
        pytest.param("00000000-0000-4000-8000-999999999999", id="UUID"),
        pytest.param("env=nothing", id="label"),
        pytest.param("env=prod,site=elsewhere", id="one label of two"),
        pytest.param("=", id="no label's name"),
        pytest.param("env=prod,rubbish", id="half a selector"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_names_no_node_is_unknown(target: str) -> None:
    assert route(target) == Unknown(target)


def test_an_ambiguous_name_lists_the_candidates_in_order() -> None:
    assert route("gw-2") == Ambiguous("gw-2", [TWIN, TWO], {})
    assert route("env=prod") == Ambiguous("env=prod", [ONE, TWO], {})


def test_a_node_without_a_tunnel_is_offline_since_then_if_that_is_known() -> None:
    assert route("gw-1", offline={"gw-1": SINCE}) == Offline(ONE, SINCE)
    assert route("gw-1", offline={"gw-1": None}) == Offline(ONE, None)


def test_ambiguity_is_judged_before_reachability() -> None:
    answer = route("env=prod", offline={"gw-2": SINCE})
    assert isinstance(answer, Ambiguous)
    assert set(answer.offline_since) < {node.node_id for node in answer.candidates}  # and which it is will be told
    assert list(answer.offline_since.values()) == [SINCE]


def test_one_node_that_the_person_may_not_open_is_denied_and_says_why_to_the_log() -> None:
    answer = route("gw-1", Person(roles=()))
    assert isinstance(answer, Denied)
    assert answer.check == "A2"
    assert "alice" in answer.reason


def test_several_nodes_none_of_which_may_be_opened_are_unknown() -> None:
    assert route("env=prod", Person(roles=())) == Unknown("env=prod")


def test_a_name_is_looked_for_before_a_label_and_a_uuid_before_a_name() -> None:
    strange = AccessTarget(NodeId("00000000-0000-4000-8000-00000000000a"), NodeName("env=prod"), {})
    assert list(find_nodes("env=prod", NODES | {strange.node_id: strange})) == [strange]
    shadow = AccessTarget(NodeId("00000000-0000-4000-8000-00000000000b"), NodeName(str(ONE.node_id)), {})
    assert list(find_nodes(ONE.node_id, NODES | {shadow.node_id: shadow})) == [ONE]


@given(st.text(max_size=300))
def test_any_target_gets_one_of_the_answers(target: str) -> None:
    assert isinstance(route(target), Routed | Unknown | Ambiguous | Offline | Denied)
