from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.child import Children
from edge_agent.courier import Address, Courier
from edge_agent.identity import Identity
from edge_agent.terms import FILE, Terms
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
    carrier = Courier(there, children)
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


async def until(ready: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not ready():  # noqa: ASYNC110 - another process asks, and tells nobody
            await asyncio.sleep(0.02)


async def test_the_terms_of_the_join_hold_until_the_controller_is_asked(
    own_controller: SimulatedController, identity: Identity
) -> None:
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, identity.granted.recording, carrier)
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
        terms = Terms(identity.directory, None, carrier)
        assert terms.mode is None
        async with running(terms):
            await until((identity.directory / FILE).exists)
        again = Terms(identity.directory, said("strict"), carrier)
    assert again.current == terms.current
    assert again.mode == "best_effort"
    assert stat.S_IMODE((identity.directory / FILE).stat().st_mode) == 0o600


async def test_terms_are_asked_for_again_when_the_tunnel_comes_up_but_not_at_every_blink(
    own_controller: SimulatedController, identity: Identity
) -> None:
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier)
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
        terms = Terms(identity.directory, said("best_effort"), carrier)
        async with running(terms):
            await until(lambda: "cannot ask how sessions are to be recorded: not now" in caplog.text)
            assert terms.current == said("best_effort")
            own_controller.api_is_down = False
            terms.refresh()
            await until(lambda: terms.mode == "strict")


async def test_a_controller_that_knows_nothing_of_recordings_wants_none(
    own_controller: SimulatedController, identity: Identity
) -> None:
    own_controller.mode = None
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier)
        async with running(terms):
            await until(lambda: terms.mode == "off")
        assert terms.current is None
        known = Terms(identity.directory, said("strict"), carrier)
        async with running(known):
            await until(lambda: known._are_unknown_there)
        assert known.mode == "strict"  # one that has known them once is not talked out of them


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"terms": {}}', b"\xff" * 100, b"[" * 100_000])
async def test_a_file_that_is_not_ours_is_passed_over(
    own_controller: SimulatedController, identity: Identity, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (identity.directory / FILE).write_bytes(content)
    async with courier(own_controller, identity) as carrier:
        assert Terms(identity.directory, said("strict"), carrier).mode == "strict"
    assert FILE in caplog.text


async def test_the_controller_s_time_goes_on_whatever_the_device_s_clock_does(
    own_controller: SimulatedController, identity: Identity
) -> None:
    uptime = 5_000
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, uptime=lambda: uptime)
        async with running(terms):
            await until(lambda: terms.current and (identity.directory / FILE).exists())
        assert terms.current
        there = terms.current.time
        uptime += 12_345
        device, corrected = terms.times()
        assert corrected == there + 12_345
        assert abs(device - time.time_ns() // 1_000_000) < 60_000
        again = Terms(identity.directory, None, carrier, uptime=lambda: uptime)
        assert again.times()[1] == corrected  # the machine has not been started since


async def test_after_a_restart_of_the_machine_it_is_no_earlier_than_the_controller_said(
    own_controller: SimulatedController, identity: Identity
) -> None:
    uptime = 90_000
    record = {"version": 1, "terms": said(at=LATER * 2).to_dict(), "boot": "another", "uptime": 5}
    (identity.directory / FILE).write_text(json.dumps(record))
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier, uptime=lambda: uptime)
        assert terms.times()[1] == LATER * 2 + 90_000
        uptime += 1_000
        assert terms.times()[1] == LATER * 2 + 91_000  # it goes on, without a link
        terms.current = replace(said(), time=1)
        device, corrected = terms.times()
        assert corrected == device


async def test_terms_of_the_join_are_not_taken_to_be_as_old_as_the_machine_is_up(
    own_controller: SimulatedController, identity: Identity
) -> None:
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, said(at=LATER * 2), carrier, uptime=lambda: 90_000)
        assert terms.times()[1] == LATER * 2


async def test_terms_that_cannot_be_kept_hold_all_the_same(
    own_controller: SimulatedController, identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    (identity.directory / FILE).mkdir()
    (identity.directory / FILE / "in the way").touch()
    async with courier(own_controller, identity) as carrier:
        terms = Terms(identity.directory, None, carrier)
        async with running(terms):
            await until(lambda: "cannot keep how sessions are to be recorded" in caplog.text)
            assert terms.mode == "strict"
