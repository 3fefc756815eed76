from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.child import Children
from edge_agent.clock import Clock
from edge_agent.control import Control
from edge_agent.courier import Address, Courier
from edge_agent.identity import Identity
from edge_agent.papers import Papers
from edge_agent.terms import FILE, Terms
from protocol import topics
from protocol.control import NodeDocument, Pulse
from protocol.endorsement import Endorsed
from protocol.locks import Lock
from protocol.names import NodeId, NodeName
from protocol.recordings import RecordingTerms
from tests.harness.inner_door import joined_identity
from tests.harness.simulated_controller import CLUSTER, SimulatedController

PATIENCE = 20.0
LATER = 1_900_000_000_000


@asynccontextmanager
async def courier(controller: SimulatedController, identity: Identity) -> AsyncIterator[Courier]:
    certificate, key = identity.tls_files
    there = Address(
        "127.0.0.1", controller.api_port, f"api.{CLUSTER}", (controller.tls_ca.pem,), (str(certificate), str(key))
    )
    children = Children(asyncio.get_running_loop())
    carrier = Courier(lambda: there, children, span=Clock(identity.directory).span)
    try:
        yield carrier
    finally:
        carrier.close()
        children.close()


@asynccontextmanager
async def running(terms: Terms) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(terms.run())
        try:
            yield
        finally:
            asking.cancel()


@pytest.fixture
def identity(own_controller: SimulatedController, tmp_path: Path) -> Identity:
    return joined_identity(own_controller, tmp_path)


def said(mode: str = "strict", at: int = 1) -> RecordingTerms:
    return RecordingTerms.from_dict(
        {
            "mode": mode,
            "record_input": True,
            "key_id": "00000000-0000-4000-8000-00000000000b",
            "public_key": "aW5zZWN1cmU=",
            "time": at,
        }
    )


def endorsed(controller: SimulatedController, *, version: int) -> Endorsed:
    controller.renewals.version = version
    return controller.renewals.endorse("policy", controller.renewals.policy(CLUSTER).encode(), CLUSTER)


def lock_on(node_id: NodeId) -> Lock:
    return Lock("00000000-0000-4000-8000-00000000000c", "node", node_id, "", None, datetime(2026, 1, 1, tzinfo=UTC))


async def until(ready: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not ready():  # noqa: ASYNC110 - another process asks, and tells nobody
            await asyncio.sleep(0.02)


async def test_the_terms_of_the_join_hold_until_the_controller_is_asked(
    own_controller: SimulatedController, identity: Identity
) -> None:
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, identity.granted.recording, carrier, Clock(identity.directory))
        assert terms.current == identity.granted.recording
        own_controller.mode = "best_effort"
        async with running(terms):
            await until(lambda: terms.mode == "best_effort")
        assert ("GET", "/v1/recording-terms") in own_controller.requests


async def test_what_the_controller_said_is_kept_for_a_start_without_a_link(
    own_controller: SimulatedController, identity: Identity
) -> None:
    own_controller.mode = "best_effort"
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, Clock(identity.directory))
        assert terms.mode is None
        async with running(terms):
            await until((identity.directory / FILE).exists)
        again = Terms(identity.directory, said("strict"), carrier, Clock(identity.directory))
    assert again.current == terms.current
    assert again.mode == "best_effort"
    assert stat.S_IMODE((identity.directory / FILE).stat().st_mode) == 0o600


async def test_terms_are_asked_for_again_when_the_tunnel_comes_up_but_not_at_every_blink(
    own_controller: SimulatedController, identity: Identity
) -> None:
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, Clock(identity.directory))
        async with running(terms):
            await until(lambda: terms.current)
            asked = len(own_controller.requests)
            terms.refresh()
            assert not terms._wanted.is_set()
            terms._asked -= 61  # a minute later
            own_controller.mode = "off"
            terms.refresh()
            await until(lambda: terms.mode == "off")
            assert len(own_controller.requests) == asked + 1


async def test_a_failure_leaves_the_terms_as_they_were_and_asks_again(
    own_controller: SimulatedController, identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    own_controller.api_is_down = True
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, said("best_effort"), carrier, Clock(identity.directory))
        async with running(terms):
            await until(lambda: "cannot ask the controller for its policy and the time: not now" in caplog.text)
            assert terms.current == said("best_effort")
            own_controller.api_is_down = False
            terms.refresh()
            await until(lambda: terms.mode == "strict")


async def test_a_controller_that_knows_nothing_of_recordings_wants_none(
    own_controller: SimulatedController, identity: Identity
) -> None:
    own_controller.mode = None
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, Clock(identity.directory))
        async with running(terms):
            await until(lambda: terms.mode == "off")
        assert terms.current is None
        known = Terms(identity.directory, said("strict"), carrier, Clock(identity.directory))
        async with running(known):
            await until(lambda: known._are_unknown_there)
        assert known.mode == "strict"  # one that has known them once is not talked out of them


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"terms": {}}', b"\xff" * 100, b"[" * 100_000])
async def test_a_file_that_is_not_ours_is_passed_over(
    own_controller: SimulatedController, identity: Identity, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (identity.directory / FILE).write_bytes(content)
    async with courier(own_controller, identity) as carrier:
        assert Terms(identity.directory, said("strict"), carrier, Clock(identity.directory)).mode == "strict"
    assert FILE in caplog.text


async def test_the_controller_s_time_is_learned_from_its_answer(
    own_controller: SimulatedController, identity: Identity
) -> None:
    clock = Clock(identity.directory, device=lambda: 5_000, boot="this")
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, clock)
        assert terms.times() == (5_000, 5_000)
        async with running(terms):
            await until(lambda: clock.is_known)
        assert abs(terms.times()[1] - time.time() * 1000) < 60_000


async def test_the_policy_document_is_asked_for_as_well(
    own_controller: SimulatedController, identity: Identity
) -> None:
    own_controller.policy = endorsed(own_controller, version=3)
    clock = Clock(identity.directory)
    control = Control(Papers(identity), clock, identity.directory)
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, clock, control)
        async with running(terms):
            await until(lambda: control.version == 3)
        assert not control.is_stale


async def test_a_policy_document_that_comes_later_replaces_what_was_asked_for(
    own_controller: SimulatedController, identity: Identity
) -> None:
    clock = Clock(identity.directory)
    control = Control(Papers(identity), clock, identity.directory)
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, said("strict", at=1), carrier, clock, control)
        own_controller.mode = "off"
        control.take_policy(endorsed(own_controller, version=1), fresh=True)
    assert terms.mode == "off"


async def test_what_is_signed_counts_more_than_what_the_machine_api_says_later(
    own_controller: SimulatedController, identity: Identity
) -> None:
    clock = Clock(identity.directory)
    control = Control(Papers(identity), clock, identity.directory)
    own_controller.mode = "strict"
    control.take_policy(endorsed(own_controller, version=1), fresh=True)
    own_controller.mode = "off"  # of the API alone, which has no policy document to show
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, clock, control)
        async with running(terms):
            await until(lambda: terms._said)
        assert terms.mode == "strict"


async def test_a_node_that_takes_itself_for_locked_asks_whenever_its_tunnel_comes_up(
    own_controller: SimulatedController, identity: Identity
) -> None:
    clock = Clock(identity.directory)
    control = Control(Papers(identity), clock, identity.directory)
    own_controller.policy = endorsed(own_controller, version=2)
    before = replace(own_controller.renewals.policy(CLUSTER), version=1, locks=(lock_on(identity.granted.node_id),))
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, clock, control)
        control.take_policy(own_controller.renewals.endorse("policy", before.encode(), CLUSTER), fresh=True)
        assert control.find_lock()
        terms._asked = asyncio.get_running_loop().time()  # just now
        terms.refresh()
        assert terms._wanted.is_set()
        async with running(terms):
            await until(lambda: control.version == 2)
        assert not control.find_lock()
        terms._wanted.clear()
        terms.refresh()
        assert not terms._wanted.is_set()


async def test_a_forged_policy_document_is_not_taken_from_the_machine_api_either(
    own_controller: SimulatedController, identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    own_controller.policy = replace(endorsed(own_controller, version=3), signature=b"forged")
    clock = Clock(identity.directory)
    control = Control(Papers(identity), clock, identity.directory)
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, clock, control)
        async with running(terms):
            await until(lambda: "(E3)" in caplog.text)
    assert control.version == 0


async def test_nothing_is_asked_while_pulses_come_and_soon_again_when_they_stop(
    own_controller: SimulatedController, identity: Identity
) -> None:
    uptime = 0
    clock = Clock(identity.directory)
    control = Control(Papers(identity), clock, identity.directory, uptime=lambda: uptime)
    control.take_policy(endorsed(own_controller, version=3), fresh=True)
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, clock, control)
        terms.refresh()
        assert not terms._wanted.is_set()  # a pulse came just now
        uptime += 61_000
        terms.refresh()
        assert terms._wanted.is_set()


async def test_a_policy_that_a_pulse_tells_of_is_asked_for_where_it_does_not_come(
    own_controller: SimulatedController, identity: Identity
) -> None:
    clock = Clock(identity.directory)
    control = Control(Papers(identity), clock, identity.directory)
    own_controller.policy = endorsed(own_controller, version=2)
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, clock, control)
        control.behind = terms.ask_policy
        async with running(terms):
            await until(lambda: control.version == 2)
            own_controller.policy = endorsed(own_controller, version=3)
            terms._asked -= 61  # a minute later
            pulse = Pulse(round(time.time() * 1000), 3).encode()
            told = json.dumps(own_controller.renewals.endorse("pulse", pulse, CLUSTER).to_dict()).encode()
            for _ in range(3):
                control.take(topics.PULSE, told, False)
            await until(lambda: control.version == 3)
            await until(lambda: terms._since_asked() < 60)
        assert own_controller.requests.count(("GET", "/v1/policy")) == 2


async def test_labels_that_an_admin_gave_stand_beside_the_policy_document(
    own_controller: SimulatedController, identity: Identity
) -> None:
    clock = Clock(identity.directory)
    papers = Papers(identity)
    control = Control(papers, clock, identity.directory)
    own_controller.policy = endorsed(own_controller, version=3)
    document = NodeDocument(identity.granted.node_id, 7, NodeName("renamed"), {"env": "prod"})
    own_controller.node_document = own_controller.renewals.endorse("node", document.encode(), CLUSTER)
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, clock, control)
        async with running(terms):
            await until(lambda: papers.target.labels == {"env": "prod"})


async def test_a_time_in_doubt_is_asked_for_whatever_else_was_heard_but_not_over_and_over(
    own_controller: SimulatedController, identity: Identity
) -> None:
    clock = Clock(identity.directory)
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, clock)
        clock.doubted = terms.ask_time
        async with running(terms):
            await until(lambda: terms.current and clock.is_known)
            asked = len(own_controller.requests)
            clock.hear(1)
            assert not terms._wanted.is_set()
            terms._asked -= 61  # a minute later
            clock.hear(1)
            await until(lambda: len(own_controller.requests) > asked)


async def test_terms_that_cannot_be_kept_hold_all_the_same(
    own_controller: SimulatedController, identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    (identity.directory / FILE).mkdir()
    (identity.directory / FILE / "in the way").touch()
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, Clock(identity.directory))
        async with running(terms):
            await until(lambda: "cannot keep how sessions are to be recorded" in caplog.text)
            assert terms.mode == "strict"
