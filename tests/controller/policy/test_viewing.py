from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.viewing import decide_viewing, decide_watching
from protocol import limits
from protocol.access import ACCESS, ADMIN, AUDITOR, AccessTarget, Role
from protocol.decision import Granted, Refused
from protocol.names import Login, NodeId, NodeName, RoleName, SessionId, UserName
from protocol.recordings import RecordingEntry
from tests.controller.presence.live import going_on

ALICE = UserName("alice")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Somebody:
    user: UserName = ALICE
    roles: tuple[RoleName, ...] = (ACCESS,)
    created: datetime = NOON


def entry(*participants: str, started: datetime = NOON) -> RecordingEntry:
    return RecordingEntry(
        session=SessionId("7645d523-60cb-436d-b732-99c5df14b7c4"),
        kind="ssh",
        participants=participants,
        login="pi",
        node=NodeId("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f"),
        hostname=NodeName("gw-1"),
        command="",
        interactive=True,
        started=int(started.timestamp() * 1000),
        duration=1000,
        size=2000,
        state="complete",
    )


def test_whoever_took_part_sees_it() -> None:
    for participants in (("alice",), ("bob", "alice")):
        assert decide_viewing(Somebody(), entry(*participants)) == Granted(entry(*participants))


@pytest.mark.parametrize("participants", [(), ("bob",), ("alice2",), ("ALICE",), ("",)])
@pytest.mark.parametrize("roles", [(), (ACCESS,), (RoleName("unheard-of"),)])
def test_nobody_else_does(participants: tuple[str, ...], roles: tuple[RoleName, ...]) -> None:
    refused = decide_viewing(Somebody(roles=roles), entry(*participants))
    assert isinstance(refused, Refused)
    assert refused.check == "V1"
    assert "alice" in refused.reason


def test_an_auditor_sees_all_of_them() -> None:
    for roles in ((AUDITOR,), (ACCESS, AUDITOR)):
        for recording in (entry(), entry("bob"), entry("bob", started=NOON - timedelta(days=1000))):
            assert isinstance(decide_viewing(Somebody(roles=roles), recording), Granted)


def test_a_role_sees_all_only_where_it_says_so() -> None:
    roles = {AUDITOR: Role(node_labels={"*": "*"}, own_logins=True)}
    assert isinstance(decide_viewing(Somebody(roles=(AUDITOR,)), entry("bob"), roles), Refused)


def test_a_name_given_to_somebody_else_does_not_bring_the_old_ones_recordings_along() -> None:
    old = entry("alice", started=NOON - limits.CLOCK_LEEWAY - timedelta(milliseconds=1))
    refused = decide_viewing(Somebody(), old)
    assert isinstance(refused, Refused)
    assert refused.check == "V2"
    assert isinstance(decide_viewing(Somebody(), entry("alice", started=NOON - limits.CLOCK_LEEWAY)), Granted)


@given(st.lists(st.sampled_from(["alice", "bob", "carol"])), st.integers(-100_000, 100_000))
def test_without_a_role_taking_part_is_needed(participants: list[str], seconds: int) -> None:
    answer = decide_viewing(Somebody(), entry(*participants, started=NOON + timedelta(seconds=seconds)))
    assert isinstance(answer, Granted) == ("alice" in participants and seconds >= -60)


@dataclass(frozen=True)
class Watcher:
    user: UserName = ALICE
    roles: tuple[RoleName, ...] = (ACCESS,)
    logins: tuple[Login, ...] = (Login("pi"),)


GATE = AccessTarget(NodeId("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f"), NodeName("gw-1"), {})


@pytest.mark.parametrize(
    ("watcher", "may"),
    [
        (Watcher(), True),  # could join it
        (Watcher(logins=(Login("root"),)), False),  # opens the node, but not as that login
        (Watcher(roles=()), False),
        (Watcher(roles=(RoleName("unheard-of"),)), False),
        (Watcher(roles=(AUDITOR,), logins=()), True),
        (Watcher(roles=(ADMIN,), logins=()), True),
        (Watcher(user=UserName("bob"), roles=(), logins=()), True),  # takes part
        (Watcher(user=UserName("bob2"), roles=(), logins=()), False),
    ],
)
def test_a_live_session_is_known_to_who_could_join_it_takes_part_audits_or_administers(
    watcher: Watcher, may: bool
) -> None:
    assert decide_watching(watcher, GATE, going_on(GATE.node_id, 1, "carol", "bob")) is may


def test_a_role_lets_nobody_watch_but_where_it_opens_the_node() -> None:
    roles = {ACCESS: Role(node_labels={"env": "lab"}, own_logins=True)}
    live = going_on(GATE.node_id, 1, "bob")
    assert not decide_watching(Watcher(), GATE, live, roles)
    assert decide_watching(Watcher(), AccessTarget(GATE.node_id, GATE.name, {"env": "lab"}), live, roles)
