"""What the node does with the controller's word, by whatever road it comes, and over a restart."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.clock import Clock
from edge_agent.control import BLIND, NODE_FILE, POLICY_FILE, VOID, Control, judge_locks
from edge_agent.identity import DataDirectory, Identity
from edge_agent.papers import Papers
from protocol import limits, topics
from protocol.control import NodeDocument, PolicyDocument, Pulse
from protocol.endorsement import Endorsed
from protocol.instants import from_milliseconds, to_milliseconds
from protocol.locks import Lock, LockingMode, LockKind
from protocol.names import NodeName, UserName
from tests.harness.inner_door import joined_identity
from tests.harness.simulated_controller import CLUSTER, SimulatedController, public_line

NOW = datetime.now(UTC)
HOUR = 3_600_000
STALE = limits.LOCKS_STALE // limits.MILLISECOND


@dataclass
class Ashore:
    """The controller's end: it signs what a test wants said."""

    controller: SimulatedController
    identity: Identity
    uptime: int = 5_000
    changes: list[str] = field(default_factory=list)

    def control(self) -> Control:
        """Return the control of an agent that starts now."""
        self.papers = Papers(self.identity)
        self.clock = Clock(self.identity.directory, uptime=lambda: self.uptime, boot="this")
        control = Control(self.papers, self.clock, self.identity.directory, uptime=lambda: self.uptime)
        control.on_change(lambda: self.changes.append("locks"))
        return control

    def grant(self, *, policy: PolicyDocument | None = None, node: bytes | None = None) -> None:
        """Have this have come with the certificates."""
        granted = replace(
            self.identity.granted,
            host_authorities=self.controller.renewals.host_authorities(),
            policy=Endorsed.from_dict(json.loads(self.say(policy))) if policy else None,
            node=Endorsed.from_dict(json.loads(node)) if node else None,
        )
        self.identity = DataDirectory(self.identity.directory).renew(self.identity, granted)

    def answer(self, control: Control, policy: PolicyDocument) -> None:
        """Have the machine API answer with this policy document."""
        control.take_policy(Endorsed.from_dict(json.loads(self.say(policy))), fresh=True)

    def policy(self, version: int, *locks: Lock, mode: LockingMode = "best_effort") -> PolicyDocument:
        policy = replace(self.controller.renewals.policy(CLUSTER), version=version)
        return replace(policy, locks=locks, locking_mode=mode)

    def say(self, policy: PolicyDocument) -> bytes:
        return payload(self.controller.renewals.endorse("policy", policy.encode(), CLUSTER))

    def pulse(self, policy: int, at: datetime | None = None) -> bytes:
        now = round((at or datetime.now(UTC)).timestamp() * 1000)
        return payload(self.controller.renewals.endorse("pulse", Pulse(now, policy).encode(), CLUSTER))

    def node(self, version: int, **labels: str) -> bytes:
        granted = self.identity.granted
        node = NodeDocument(granted.node_id, version, NodeName("renamed"), labels)
        return payload(self.controller.renewals.endorse("node", node.encode(), CLUSTER))

    @property
    def node_topic(self) -> str:
        return topics.node_document(self.identity.granted.node_id)


def payload(endorsed: Endorsed) -> bytes:
    return json.dumps(endorsed.to_dict()).encode()


def lock(kind: LockKind, value: str, *, expires: datetime | None = None) -> Lock:
    made = datetime.now(UTC)
    return Lock("00000000-0000-4000-8000-00000000000c", kind, value, "lost laptop", expires, made)


@pytest.fixture
def ashore(own_controller: SimulatedController, tmp_path: Path) -> Ashore:
    return Ashore(own_controller, joined_identity(own_controller, tmp_path))


async def kept(control: Control, ready: Callable[[], bool]) -> None:
    """Let the control run until what it keeps is on disk."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        keeping = group.create_task(control.run())
        while not ready():  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)
        keeping.cancel()


def test_a_policy_document_holds_from_the_moment_it_comes(ashore: Ashore) -> None:
    control = ashore.control()
    assert (control.version, control.terms, control.is_strict) == (0, None, False)
    control.take(topics.POLICY, ashore.say(ashore.policy(3, lock("user", "alice"), mode="strict")), False)
    assert (control.version, control.is_strict) == (3, True)
    assert control.terms
    assert control.terms.mode == "strict"
    found = control.find_lock("alice", "root")
    assert found
    assert found.message == "lost laptop"
    assert control.find_lock("bob", "root") is None
    assert ashore.changes == ["locks"]


@pytest.mark.parametrize(("kind", "value", "check"), [("user", "alice", "X1"), ("login", "root", "X2")])
def test_who_is_locked_out_is_told_why(ashore: Ashore, kind: LockKind, value: str, check: str) -> None:
    control = ashore.control()
    control.take(topics.POLICY, ashore.say(ashore.policy(1, lock(kind, value))), False)
    refused = judge_locks(control, "alice", "root", NOW)
    assert refused
    assert refused.check == check
    assert refused.reason == f'lock targeting {kind.capitalize()}:"{value}" is in force: lost laptop'
    assert judge_locks(control, "bob", "pi", NOW) is None


def test_a_lock_on_this_node_locks_everybody_out_and_one_on_another_nobody(ashore: Ashore) -> None:
    control = ashore.control()
    other = "00000000-0000-4000-8000-00000000000d"
    control.take(topics.POLICY, ashore.say(ashore.policy(1, lock("node", other))), False)
    assert judge_locks(control, "alice", "root", NOW) is None
    control.take(topics.POLICY, ashore.say(ashore.policy(2, lock("node", ashore.identity.granted.node_id))), False)
    refused = judge_locks(control, "alice", "root", NOW)
    assert refused
    assert refused.check == "X3"


def test_a_lock_ends_by_the_controller_s_clock_and_not_by_the_device_s(ashore: Ashore) -> None:
    control = ashore.control()
    expires = datetime.now(UTC) + timedelta(hours=1)
    control.take(topics.POLICY, ashore.say(ashore.policy(1, lock("user", "alice", expires=expires))), False)
    ashore.clock.learn(to_milliseconds(expires) - 1)
    assert control.find_lock("alice")
    ashore.uptime += 1
    assert control.find_lock("alice") is None


def test_an_older_document_is_ignored_however_often_it_comes_and_the_log_is_told_once(
    ashore: Ashore, caplog: pytest.LogCaptureFixture
) -> None:
    control = ashore.control()
    old = ashore.say(ashore.policy(2))
    control.take(topics.POLICY, ashore.say(ashore.policy(3, lock("user", "alice"))), False)
    for _ in range(1000):
        control.take(topics.POLICY, old, True)
    assert control.find_lock("alice")
    assert [line for line in caplog.messages if "ignored" in line] == [
        "a policy document was ignored: version 2, older than version 3 that is held (Y3)"
    ]
    ashore.uptime += HOUR
    control.take(topics.POLICY, old, True)
    assert caplog.messages[-1].endswith("(Y3); 999 more since")


def test_a_forged_document_is_ignored(ashore: Ashore, caplog: pytest.LogCaptureFixture) -> None:
    control = ashore.control()
    good, forger = ashore.controller.host_ca, Ed25519PrivateKey.generate()
    ashore.controller.host_ca = forger
    forged = ashore.say(ashore.policy(9))
    ashore.controller.host_ca = good
    control.take(topics.POLICY, forged, False)
    stolen = json.loads(forged) | {"key": public_line(good)}
    control.take(topics.POLICY, json.dumps(stolen).encode(), False)
    assert control.version == 0
    assert control.silence is None
    assert "(E2)" in caplog.text
    assert "(E3)" in caplog.text


@pytest.mark.parametrize(
    ("topic", "message", "check"),
    [
        (topics.POLICY, b"", "Y1"),
        (topics.POLICY, b"\0" * 1024 * 1024, "Y1"),
        (topics.POLICY, b'{"kind": "policy"}', "Y1"),
        (topics.PULSE, b"[" * 100_000, "Y1"),
        ("c/n/somebody-else", None, "Y6"),
        ("n/+/s", None, "Y6"),
    ],
)
def test_garbage_does_nothing(
    ashore: Ashore, topic: str, message: bytes | None, check: str, caplog: pytest.LogCaptureFixture
) -> None:
    control = ashore.control()
    control.take(topic, ashore.say(ashore.policy(1)) if message is None else message, False)
    assert control.version == 0
    assert f"({check})" in caplog.text
    assert len(caplog.records) == 1


async def test_an_agent_that_starts_without_a_link_goes_by_the_last_word(ashore: Ashore) -> None:
    control = ashore.control()
    directory = ashore.identity.directory
    control.take(topics.POLICY, ashore.say(ashore.policy(4, lock("user", "alice"))), False)
    control.take(ashore.node_topic, ashore.node(1, env="prod"), True)
    await kept(control, (directory / POLICY_FILE).exists)
    assert stat.S_IMODE((directory / POLICY_FILE).stat().st_mode) == 0o600
    again = ashore.control()
    assert again.version == 4
    assert again.find_lock("alice")
    assert not again.is_blind
    assert ashore.papers.target.labels == {"env": "prod"}
    assert ashore.papers.target.name == "renamed"
    assert again.is_stale


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 99, b"[" * 100_000])
def test_a_kept_file_that_is_not_ours_is_not_used(
    ashore: Ashore, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (ashore.identity.directory / POLICY_FILE).write_bytes(content)
    (ashore.identity.directory / NODE_FILE).mkdir()
    control = ashore.control()
    assert control.version == 0
    assert ashore.papers.node is None
    assert f"{POLICY_FILE} is not used" in caplog.text
    assert f"{NODE_FILE} is not used: it cannot be read" in caplog.text
    refused = judge_locks(control, "alice", "root", NOW)  # nobody knows who was locked out
    assert refused
    assert (refused.check, refused.reason) == ("X4", BLIND)
    control.take(topics.POLICY, ashore.say(ashore.policy(4)), True)
    assert judge_locks(control, "alice", "root", NOW) is None


def test_a_new_node_that_was_never_told_anything_lets_people_in(ashore: Ashore) -> None:
    assert judge_locks(ashore.control(), "alice", "root", NOW) is None


# --- what came with the certificates ----------------------------------------------------------------------------------


def test_what_came_with_the_join_holds_for_an_agent_that_starts_without_a_link(ashore: Ashore) -> None:
    ashore.grant(policy=ashore.policy(3, lock("user", "alice"), mode="strict"), node=ashore.node(5, env="prod"))
    control = ashore.control()
    refused = judge_locks(control, "alice", "root", NOW)
    assert refused
    assert refused.check == "X1"
    assert (control.version, control.is_strict, control.is_stale) == (3, True, True)
    assert ashore.papers.target.labels == {"env": "prod"}


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 99])
def test_what_came_with_the_join_holds_where_what_was_kept_is_spoilt(ashore: Ashore, content: bytes) -> None:
    ashore.grant(policy=ashore.policy(3, lock("user", "alice")))
    (ashore.identity.directory / POLICY_FILE).write_bytes(content)
    control = ashore.control()
    assert control.find_lock("alice")
    assert not control.is_blind


@pytest.mark.parametrize(("came", "kept_version"), [(3, 4), (4, 3), (4, 4)])
def test_of_what_came_with_the_certificates_and_what_was_kept_the_newer_holds(
    ashore: Ashore, came: int, kept_version: int
) -> None:
    newer = lock("user", "alice")
    ashore.grant(
        policy=ashore.policy(came, *[newer] * (came == 4)), node=ashore.node(came, env="new" if came == 4 else "old")
    )
    directory = ashore.identity.directory
    kept_policy = ashore.policy(kept_version, *[newer] * (kept_version == 4))
    (directory / POLICY_FILE).write_bytes(ashore.say(kept_policy))
    (directory / NODE_FILE).write_bytes(ashore.node(kept_version, env="new" if kept_version == 4 else "old"))
    control = ashore.control()
    assert control.version == 4
    assert control.find_lock("alice")
    assert ashore.papers.target.labels == {"env": "new"}


def test_after_a_kill_between_a_renewal_and_the_keeping_of_its_policy_the_renewal_s_holds(ashore: Ashore) -> None:
    (ashore.identity.directory / POLICY_FILE).write_bytes(ashore.say(ashore.policy(3)))
    ashore.controller.renewals.rotate("host", forgets=True)
    policy = replace(ashore.policy(4, lock("user", "alice")), successions=())
    ashore.grant(policy=policy)  # it trusts the new key alone
    control = ashore.control()
    assert control.version == 4
    assert control.find_lock("alice")


async def test_what_came_with_the_certificates_is_kept_as_well(ashore: Ashore) -> None:
    ashore.grant(policy=ashore.policy(3, lock("user", "alice")))
    file = ashore.identity.directory / POLICY_FILE
    await kept(ashore.control(), file.exists)
    assert Endorsed.from_dict(json.loads(file.read_text())) == ashore.identity.granted.policy


def test_a_policy_document_tells_that_the_controller_is_there_be_it_new_or_not(ashore: Ashore) -> None:
    control, heard = ashore.control(), list[int]()
    control.heard = lambda: heard.append(control.version)
    for version in (3, 3, 2):  # the last is older, and proves nothing
        control.take(topics.POLICY, ashore.say(ashore.policy(version)), True)
    assert heard == [3, 3]


def test_new_certificates_bring_labels_and_policy_and_no_word_on_who_was_heard(ashore: Ashore) -> None:
    control = ashore.control()
    (ashore.identity.directory / NODE_FILE).write_bytes(ashore.node(1, env="old"))
    ashore.grant(policy=ashore.policy(3), node=ashore.node(2, env="new"))
    control.take_granted(ashore.identity.granted)
    assert control.version == 3
    assert ashore.papers.target.labels == {"env": "new"}
    assert control.is_stale


def test_a_kept_document_that_somebody_changed_is_not_used(ashore: Ashore) -> None:
    for name, said in ((POLICY_FILE, ashore.say(ashore.policy(4))), (NODE_FILE, ashore.node(1, env="prod"))):
        changed = json.loads(said)
        changed["body"] = changed["body"].replace('"version":', '"version":1')
        (ashore.identity.directory / name).write_text(json.dumps(changed))
    assert ashore.control().version == 0
    assert ashore.papers.node is None


async def test_what_the_disk_will_not_take_holds_all_the_same(ashore: Ashore, caplog: pytest.LogCaptureFixture) -> None:
    (ashore.identity.directory / f".{POLICY_FILE}.new").mkdir()
    control = ashore.control()
    control.take(topics.POLICY, ashore.say(ashore.policy(4)), False)
    await kept(control, lambda: "cannot keep what the controller said" in caplog.text)
    assert control.version == 4
    caplog.clear()
    control.take(topics.POLICY, ashore.say(ashore.policy(5)), False)
    control.take(ashore.node_topic, ashore.node(1, env="prod"), False)
    await kept(control, (ashore.identity.directory / NODE_FILE).exists)
    assert "cannot keep" not in caplog.text  # it is the same trouble


def test_labels_that_an_admin_gave_are_gone_by_and_older_ones_are_not(ashore: Ashore) -> None:
    control = ashore.control()
    control.take(ashore.node_topic, ashore.node(2, env="prod"), True)
    control.take(ashore.node_topic, ashore.node(1, env="old"), True)
    assert ashore.papers.target.labels == {"env": "prod"}


def test_trust_goes_on_through_a_rotation_of_the_host_ca(ashore: Ashore) -> None:
    control = ashore.control()
    ashore.controller.renewals.rotate("host", forgets=True)
    ashore.controller.renewals.rotate("host", forgets=True)
    control.take(topics.POLICY, ashore.say(ashore.policy(7)), True)
    assert control.version == 7
    assert ashore.papers.host_authorities == (public_line(ashore.controller.host_ca),)
    control.take(topics.PULSE, ashore.pulse(7), False)
    assert not control.is_stale


def test_a_pulse_tells_the_time_and_that_the_view_of_locks_is_not_stale(ashore: Ashore) -> None:
    control = ashore.control()
    control.take(topics.POLICY, ashore.say(ashore.policy(3)), True)  # who knows from when that is
    assert control.is_stale
    at = datetime.now(UTC) + timedelta(days=365)
    control.take(topics.PULSE, ashore.pulse(3, at), False)
    assert abs(ashore.clock.now() - at) < timedelta(seconds=1)
    assert control.silence == 0
    ashore.uptime += STALE - 1
    assert not control.is_stale
    ashore.uptime += 1
    assert control.is_stale


def test_a_pulse_that_the_broker_had_kept_or_held_back_is_no_news(ashore: Ashore) -> None:
    control = ashore.control()
    control.take(topics.POLICY, ashore.say(ashore.policy(3)), True)
    control.take(topics.PULSE, ashore.pulse(3), True)
    assert not ashore.clock.is_known
    assert control.is_stale
    now = round(time.time() * 1000)
    ashore.clock.learn(now)
    control.take(topics.PULSE, ashore.pulse(3, datetime.now(UTC) - timedelta(minutes=2)), False)
    assert control.is_stale
    assert ashore.clock.times()[1] == now


def test_a_pulse_that_tells_of_a_policy_that_has_not_come_is_no_news_of_locks(ashore: Ashore) -> None:
    told: list[int] = []
    control = ashore.control()
    control.behind = told.append
    control.take(topics.POLICY, ashore.say(ashore.policy(3)), True)
    control.take(topics.PULSE, ashore.pulse(4), False)
    assert ashore.clock.is_known
    assert control.is_stale
    assert told == [4]
    control.take(topics.POLICY, ashore.say(ashore.policy(4)), False)
    assert control.is_stale
    control.take(topics.PULSE, ashore.pulse(4), False)
    assert not control.is_stale
    assert told == [4]


def test_a_policy_that_is_published_may_have_been_held_back_and_is_no_word_of_now(ashore: Ashore) -> None:
    control = ashore.control()
    message = ashore.say(ashore.policy(3, mode="strict"))
    for _ in range(2):
        control.take(topics.POLICY, message, False)
        assert control.is_stale
    ashore.answer(control, ashore.policy(3, mode="strict"))
    assert not control.is_stale
    ashore.uptime += STALE
    control.take(topics.POLICY, message, False)
    assert control.is_stale


def test_in_strict_mode_nobody_works_on_a_node_whose_view_of_locks_is_stale(ashore: Ashore) -> None:
    control = ashore.control()
    ashore.answer(control, ashore.policy(1, mode="strict"))
    assert judge_locks(control, "alice", "root", NOW) is None
    ashore.uptime += STALE
    refused = judge_locks(control, "alice", "root", NOW)
    assert refused
    assert refused.check == "X4"
    control.take(topics.POLICY, ashore.say(ashore.policy(2, mode="best_effort")), True)
    assert control.is_stale
    assert judge_locks(control, "alice", "root", NOW) is None


def test_certificates_of_somebody_who_was_removed_or_reset_are_void(ashore: Ashore) -> None:
    control = ashore.control()
    since = to_milliseconds(NOW)
    control.take(topics.POLICY, ashore.say(replace(ashore.policy(1), void_before={UserName("alice"): since})), False)
    refused = judge_locks(control, "alice", "root", from_milliseconds(since - 1))
    assert refused
    assert (refused.check, refused.reason) == ("X5", VOID)
    assert judge_locks(control, "alice", "root", from_milliseconds(since)) is None
    assert judge_locks(control, "bob", "root", from_milliseconds(0)) is None


async def test_those_who_listen_are_told_when_the_view_of_locks_goes_stale(ashore: Ashore) -> None:
    control = ashore.control()
    ashore.answer(control, ashore.policy(1))
    ashore.changes.clear()
    ashore.uptime += STALE
    await kept(control, lambda: bool(ashore.changes))
    assert ashore.changes == ["locks"]
