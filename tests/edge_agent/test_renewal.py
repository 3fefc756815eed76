"""Certificates that are renewed in time, late, after rotations, and not with what somebody else made up."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.child import Children
from edge_agent.clock import Clock
from edge_agent.identity import DataDirectory, Identity, generate_keys
from edge_agent.papers import Papers
from edge_agent.policy.renewal import decide_pause
from edge_agent.renewal import FILE, Renewal, keep_attempt, make_order, read_granted
from edge_agent.renewal_worker import Order, carry_out
from protocol.control import RenewableKind
from protocol.instants import to_milliseconds
from protocol.messages import JoinReply
from tests.harness.inner_door import joined_identity
from tests.harness.road import Agent, join_arguments
from tests.harness.simulated_controller import CLUSTER, Answer, SimulatedController, TlsAuthority, public_line
from tests.harness.simulated_renewals import Enrolled

Start = Callable[..., Agent]
DAY = timedelta(days=1)
ATTEMPT = "0" * 32


def aged(days: int) -> tuple[datetime, datetime]:
    """The life of a certificate of 30 days that was made so many days ago."""
    now = datetime.now(UTC)
    return now - days * DAY, now + (30 - days) * DAY


@pytest.fixture
def identity(own_controller: SimulatedController, tmp_path: Path) -> Identity:
    found = joined_identity(own_controller, tmp_path)
    return replace(found, controller=("127.0.0.1", own_controller.web_port))


def order(identity: Identity, controller: SimulatedController, **changes: object) -> Order:
    made = make_order(Papers(identity), ("127.0.0.1", controller.web_port), ATTEMPT)
    return Order(**(made | changes))


# --- one renewal ------------------------------------------------------------------------------------------------------


def test_a_renewal_brings_the_next_generation(own_controller: SimulatedController, identity: Identity) -> None:
    answer = carry_out(order(identity, own_controller))
    granted = read_granted(answer, identity)
    assert answer["trusted"]
    assert granted.generation == 2
    assert granted.host_certificate != identity.granted.host_certificate
    assert granted.host_authorities == identity.granted.host_authorities


def test_a_reply_that_was_lost_is_had_again(own_controller: SimulatedController, identity: Identity) -> None:
    own_controller.renewals.loses = 1
    assert carry_out(order(identity, own_controller))["fault"] == "unreachable"
    assert carry_out(order(identity, own_controller))["granted"]["generation"] == 2
    another = carry_out(order(identity, own_controller, attempt="1" * 32))
    assert another["fault"] == "refused"


def foreign_policy(_: SimulatedController, reply: JoinReply) -> JoinReply:
    assert reply.policy
    return replace(reply, policy=replace(reply.policy, key=public_line(Ed25519PrivateKey.generate())))


def altered_policy(_: SimulatedController, reply: JoinReply) -> JoinReply:
    assert reply.policy
    return replace(reply, policy=replace(reply.policy, body=reply.policy.body.replace('"version":1', '"version":9')))


def usurped_policy(here: SimulatedController, reply: JoinReply) -> JoinReply:
    """An authority that nobody signed for signs everything, and claims to follow the old one."""
    here.renewals.rotate("host", forgets=True)
    word = here.renewals.successions[0]
    here.renewals.successions[0] = replace(word, signature=bytes(64))
    return here.renewals.certify(node_of(here, reply), here.renewals.requests[-1].tls_request, with_policy=True)


def node_of(here: SimulatedController, reply: JoinReply) -> Enrolled:
    return here.renewals.nodes[reply.node_id]


def other_tls_key(here: SimulatedController, reply: JoinReply) -> JoinReply:
    key = generate_keys().tls.public_key()
    return replace(reply, tls_certificate=here.tls_ca.issue(reply.node_id, key, []))


def other_tls_authority(here: SimulatedController, reply: JoinReply) -> JoinReply:
    here.tls_ca = TlsAuthority()
    spoilt = here.renewals.certify(node_of(here, reply), here.renewals.requests[-1].tls_request)
    return replace(reply, tls_certificate=spoilt.tls_certificate)


def other_host_key(here: SimulatedController, reply: JoinReply) -> JoinReply:
    stranger = replace(node_of(here, reply), ssh_public_key=generate_keys().host_public)
    made = here.renewals.certify(stranger, here.renewals.requests[-1].tls_request)
    return replace(reply, host_certificate=made.host_certificate)


def no_policy(_: SimulatedController, reply: JoinReply) -> JoinReply:
    return replace(reply, policy=None)


def older_certificate(here: SimulatedController, reply: JoinReply) -> JoinReply:
    made = here.renewals.certify(replace(node_of(here, reply), generation=1), here.renewals.requests[-1].tls_request)
    return replace(made, policy=reply.policy)


def no_certificate(_: SimulatedController, reply: JoinReply) -> JoinReply:
    return replace(reply, host_certificate="ssh-ed25519 AAAA")


Spoil = Callable[[SimulatedController, JoinReply], JoinReply]


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (no_certificate, "G0"),
        (older_certificate, "G2"),
        (other_host_key, "G3"),
        (other_tls_key, "G7"),
        (other_tls_authority, "G8"),
        (no_policy, "G9"),
        (foreign_policy, "E2"),
        (usurped_policy, "E2"),
        (altered_policy, "E3"),
    ],
)
def test_a_reply_that_somebody_made_up_is_not_used(
    own_controller: SimulatedController, identity: Identity, spoil: Spoil, check: str
) -> None:
    own_controller.renewals.spoil = lambda reply: spoil(own_controller, reply)
    answer = carry_out(order(identity, own_controller))
    assert answer["fault"] == "unusable"
    assert f"({check})" in answer["text"]


def test_by_a_door_that_nobody_vouches_for_no_address_is_learned(
    own_controller: SimulatedController, identity: Identity
) -> None:
    own_controller.renewals.spoil = lambda reply: replace(reply, tunnel_address="elsewhere:1", labels={"a": "b"})
    answer = carry_out(order(identity, own_controller, anchors=(TlsAuthority().pem,)))
    granted = read_granted(answer, identity)
    assert not answer["trusted"]
    assert granted.generation == 2
    assert (granted.tunnel_address, granted.labels) == (identity.granted.tunnel_address, identity.granted.labels)
    trusting = carry_out(order(identity, own_controller, generation=2, attempt="2" * 32))
    assert read_granted(trusting, identity).tunnel_address == "elsewhere:1"


def test_a_node_that_slept_through_two_rotations_walks_to_the_authority_of_today(
    own_controller: SimulatedController, identity: Identity
) -> None:
    own_controller.renewals.rotate("host", "tls", forgets=True)
    own_controller.renewals.rotate("host", "tls", forgets=True)
    own_controller.reopen()
    answer = carry_out(order(identity, own_controller))
    granted = read_granted(answer, identity)
    assert not answer["trusted"]
    assert granted.host_authorities == (public_line(own_controller.host_ca),)
    assert granted.tls_authorities == (own_controller.tls_ca.pem,)


def test_without_its_keys_nothing_is_asked(own_controller: SimulatedController, identity: Identity) -> None:
    (identity.directory / "tls_key.pem").unlink()
    answer = carry_out(order(identity, own_controller))
    assert answer["fault"] == "unusable"
    assert "keys are not there" in answer["text"]
    assert own_controller.requests == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_controller_that_is_busy_is_asked_again(
    own_controller: SimulatedController, identity: Identity, status: int
) -> None:
    own_controller.answer = Answer(status, "not now", {"Retry-After": "7"})
    assert carry_out(order(identity, own_controller)) == {
        "fault": "unreachable",
        "text": "not now",
        "retry_after": 7.0,
    }


def test_a_no_counts_only_where_the_controller_itself_says_it(
    own_controller: SimulatedController, identity: Identity
) -> None:
    own_controller.renewals.refuses = True
    assert carry_out(order(identity, own_controller))["fault"] == "refused"
    anybody = carry_out(order(identity, own_controller, anchors=(TlsAuthority().pem,)))
    assert anybody["fault"] == "denied"
    assert "did not prove to be the controller's" in anybody["text"]


@pytest.mark.parametrize("status", [400, 401, 404, 409, 410, 421])
def test_only_that_the_node_is_not_wanted_is_a_no(
    own_controller: SimulatedController, identity: Identity, status: int
) -> None:
    own_controller.answer = Answer(status, "something else")
    assert carry_out(order(identity, own_controller))["fault"] == "unreachable"


def test_a_no_that_no_controller_says_so_is_none(own_controller: SimulatedController, identity: Identity) -> None:
    own_controller.answer = Answer(403, "")
    own_controller.answer.message = ["<html>"]  # type: ignore[assignment]  # not as a controller has it
    assert carry_out(order(identity, own_controller))["fault"] == "unreachable"


# --- the mark of an attempt -------------------------------------------------------------------------------------------


def test_an_attempt_is_the_same_until_it_has_succeeded(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    first = keep_attempt(directory, 1)
    assert keep_attempt(directory, 1) == first
    assert keep_attempt(directory, 2) != first


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"generation": 1, "attempt": "x"}', '{"generation": -1}', "[" * 9000]
)
def test_a_mark_that_cannot_be_read_is_made_anew(tmp_path: Path, content: str) -> None:
    directory = DataDirectory(tmp_path)
    directory.write(FILE, content.encode())
    made = keep_attempt(directory, 1)
    assert json.loads((tmp_path / FILE).read_text())["attempt"] == made


def test_two_nodes_do_not_choose_the_same_mark(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert keep_attempt(DataDirectory(tmp_path / "a"), 1) != keep_attempt(DataDirectory(tmp_path / "b"), 1)


# --- on the agent's loop ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def renewing(
    identity: Identity,
    controller: SimulatedController,
    taken: Callable[[JoinReply], object],
    *,
    clock: Clock | None = None,
) -> AsyncIterator[tuple[Papers, Renewal]]:
    papers = Papers(identity)
    children = Children(asyncio.get_running_loop())
    address = ("127.0.0.1", controller.web_port)
    renewal = Renewal(papers, clock or Clock(identity.directory), address, children, taken)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(renewal.run())
        try:
            yield papers, renewal
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            children.close()


@contextmanager
def log_line(text: str) -> Iterator[asyncio.Event]:
    """Yield an event that is set when the agent's log has said `text`."""
    said = asyncio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if text in record.getMessage():
                said.set()

    listener = Listener()
    logging.getLogger("skerry.agent").addHandler(listener)
    try:
        yield said
    finally:
        logging.getLogger("skerry.agent").removeHandler(listener)


async def changed(papers: Papers) -> None:
    happened = asyncio.Event()
    papers.on_change(happened.set)
    async with asyncio.timeout(30):
        await happened.wait()


async def test_a_rotation_has_the_certificates_renewed_that_the_old_authority_signed(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    own_controller.renewals.next_id = "00000000-0000-4000-8000-000000000001"  # its moment is the first
    identity = joined_identity(own_controller, tmp_path)
    taken: list[JoinReply] = []
    async with renewing(identity, own_controller, taken.append) as (papers, _):
        own_controller.renewals.rotate("host", forgets=False)
        papers.take_policy(own_controller.renewals.policy(CLUSTER))
        await changed(papers)
        assert papers.identity.granted.generation == 2
        assert taken == [papers.identity.granted]
        assert taken[0].policy
        loaded = DataDirectory(identity.directory).load()
        assert loaded
        assert loaded.granted == papers.identity.granted
    assert len(own_controller.renewals.requests) == 1


async def test_a_rotation_that_asks_for_nothing_yet_renews_nothing(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    own_controller.renewals.next_id = "00000000-0000-4000-8000-000000000001"
    identity = joined_identity(own_controller, tmp_path)
    async with renewing(identity, own_controller, lambda _: None) as (papers, renewal):
        own_controller.renewals.rotate("host", forgets=False)
        papers.take_policy(replace(own_controller.renewals.policy(CLUSTER), renew=()))
        assert renewal.due_in() > 3000
        assert own_controller.renewals.requests == []
        renewal.hasten()  # somebody would not have the certificate: that is another matter
        await changed(papers)
        assert len(own_controller.renewals.requests) == 1


async def test_a_rotation_that_is_not_satisfied_by_new_certificates_does_not_go_round_in_circles(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    """It is asked again, after pauses that grow: the door that signs may have heard of the rotation after us."""
    own_controller.renewals.next_id = "00000000-0000-4000-8000-000000000001"
    identity = joined_identity(own_controller, tmp_path)
    async with renewing(identity, own_controller, lambda _: None) as (papers, renewal):
        wanted = own_controller.renewals.policy(CLUSTER)
        own_controller.renewals.rotate("host", forgets=False)
        foreign = public_line(Ed25519PrivateKey.generate())
        stale = replace(wanted, renew=("host",), host_authorities=(foreign, *wanted.host_authorities))
        papers.take_policy(stale)
        await changed(papers)
        at = time.monotonic()
        papers.take_policy(replace(stale, version=7))
        assert 0 < renewal.due_in() <= decide_pause(0)
        await changed(papers)
        assert papers.identity.granted.generation == 3
        assert time.monotonic() - at >= decide_pause(0) * 0.9
        renewal.hasten()  # that is no reason to hurry
        assert len(own_controller.renewals.requests) == 2


async def test_certificates_that_were_renewed_just_now_are_renewed_again_for_the_next_rotation(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    own_controller.renewals.next_id = "00000000-0000-4000-8000-000000000001"
    identity = joined_identity(own_controller, tmp_path)
    async with renewing(identity, own_controller, lambda _: None) as (papers, _):
        own_controller.renewals.rotate("host", forgets=False)
        papers.take_policy(own_controller.renewals.policy(CLUSTER))
        await changed(papers)
        own_controller.renewals.rotate("tls", forgets=False)
        papers.take_policy(own_controller.renewals.policy(CLUSTER))
        await changed(papers)
        assert papers.identity.granted.generation == 3
        assert papers.identity.granted.tls_authorities[0] == own_controller.tls_ca.pem
    assert len(own_controller.renewals.requests) == 2


@pytest.mark.parametrize("kind", ["host", "tls"])
async def test_certificates_of_an_authority_that_was_dropped_do_not_wait_for_their_turn(
    own_controller: SimulatedController, tmp_path: Path, kind: RenewableKind
) -> None:
    own_controller.renewals.next_id = "ffffffff-ffff-4fff-bfff-ffffffffffff"  # its turn is the last
    identity = joined_identity(own_controller, tmp_path)
    async with renewing(identity, own_controller, lambda _: None) as (papers, renewal):
        own_controller.renewals.rotate(kind, forgets=False)
        papers.take_policy(own_controller.renewals.policy(CLUSTER))
        assert renewal.due_in() > 60
        own_controller.renewals.forgets = True
        own_controller.renewals.renew = ()
        papers.take_policy(own_controller.renewals.policy(CLUSTER))
        assert renewal.due_in() <= 5
        await changed(papers)
    assert len(own_controller.renewals.requests) == 1


async def test_who_is_told_that_its_certificate_is_not_known_asks_though_it_has_just_renewed(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    """It cannot have heard of the rotation: nobody lets it in who would tell it."""
    identity = joined_identity(own_controller, tmp_path)
    async with renewing(identity, own_controller, lambda _: None) as (papers, renewal):
        own_controller.renewals.rotate("host", forgets=True)
        renewal.hasten()
        await changed(papers)
        own_controller.renewals.rotate("tls", forgets=True)
        own_controller.reopen()
        renewal.hasten()
        assert renewal.due_in() <= decide_pause(0)
        await changed(papers)
        assert papers.identity.granted.tls_authorities == (own_controller.tls_ca.pem,)


async def test_what_the_disk_will_not_keep_is_asked_for_again_and_is_the_same(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    identity = joined_identity(own_controller, tmp_path)
    keep_attempt(DataDirectory(identity.directory), 1)
    # A directory in the way of the file: the rename fails, and nothing of the identity is touched.
    record = identity.directory / ".identity.json.new"
    record.mkdir()
    before = (identity.directory / "identity.json").read_bytes()
    async with renewing(identity, own_controller, lambda _: None) as (papers, renewal):
        with log_line("not renewed yet") as said:
            renewal.hasten()
            async with asyncio.timeout(30):
                await said.wait()
        assert papers.identity.granted.generation == 1
        assert (identity.directory / "identity.json").read_bytes() == before
        record.rmdir()
        await changed(papers)
        assert papers.identity.granted.generation == 2
    attempts = {request.attempt for request in own_controller.renewals.requests}
    assert len(attempts) == 1
    assert len(own_controller.renewals.requests) == 2


@pytest.mark.parametrize(("is_trusted", "is_turned_back"), [(True, True), (False, False)])
async def test_the_clock_is_turned_back_by_new_certificates_only_where_the_road_is_trusted(
    own_controller: SimulatedController, tmp_path: Path, is_trusted: bool, is_turned_back: bool
) -> None:
    """As by an answer of long ago, which somebody kept and gives again."""
    identity = joined_identity(own_controller, tmp_path)
    if not is_trusted:
        granted = replace(identity.granted, tls_authorities=(TlsAuthority().pem,))
        identity = replace(identity, granted=granted)
    clock = Clock(identity.directory)
    ahead = datetime.now(UTC) + 400 * DAY
    clock.learn(to_milliseconds(ahead))
    async with renewing(identity, own_controller, lambda _: None, clock=clock) as (papers, renewal):
        await changed(papers)  # by that clock they have expired
        assert renewal.due_in() > 3000
    assert (clock.now() < ahead - DAY) == is_turned_back


async def test_the_clock_is_set_forward_by_new_certificates_from_whatever_road(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    identity = joined_identity(own_controller, tmp_path)
    granted = replace(identity.granted, tls_authorities=(TlsAuthority().pem,))
    clock = Clock(identity.directory)
    clock.learn(to_milliseconds(datetime.now(UTC) - 400 * DAY))
    async with renewing(replace(identity, granted=granted), own_controller, lambda _: None, clock=clock) as renewed:
        renewed[1].hasten()
        await changed(renewed[0])
    assert clock.now() > datetime.now(UTC) - DAY


# --- a real agent -----------------------------------------------------------------------------------------------------


def start_with(
    controller: SimulatedController, start_agent: Start, data: Path, lifetime: tuple[datetime, datetime]
) -> Agent:
    """Start an agent whose first certificate has this life, and whose next ones are usual."""
    controller.renewals.lifetime = lifetime
    agent = start_agent(controller, *join_arguments(controller, "n1", data))
    agent.wait_for_line("joined cluster")
    controller.renewals.lifetime = None
    return agent


def generation_on_disk(data: Path) -> int:
    return int(json.loads((data / "identity.json").read_text())["granted"]["generation"])


@pytest.mark.system
def test_certificates_past_two_thirds_of_their_life_are_renewed_while_the_tunnel_stands(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    agent = start_with(own_controller, start_agent, data, aged(25))
    own_controller.wait_for_node("n1")
    agent.wait_for_line("new certificates, generation 2, good until ")
    assert generation_on_disk(data) == 2
    assert own_controller.tunnel_count == 1
    assert agent.stop() == 0
    again = start_agent(own_controller, "--data-dir", str(data))
    own_controller.wait_for(lambda: own_controller.tunnel_count == 2 and own_controller.tunnels, "the tunnel")
    assert again.stop() == 0
    assert len(own_controller.renewals.requests) == 1


@pytest.mark.system
def test_a_certificate_that_has_expired_is_renewed_late(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_with(own_controller, start_agent, tmp_path / "data", aged(700))
    agent.wait_for_line("new certificates, generation 2", 30)
    own_controller.wait_for(lambda: own_controller.tunnels, "the tunnel", 60)
    assert agent.stop() == 0


@pytest.mark.system
def test_a_node_killed_before_it_had_the_answer_asks_with_the_same_mark(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    own_controller.renewals.loses = 1
    agent = start_with(own_controller, start_agent, data, aged(25))
    own_controller.wait_for(lambda: own_controller.renewals.requests, "the renewal")
    agent.process.kill()
    agent.wait()
    assert generation_on_disk(data) == 1
    again = start_agent(own_controller, "--data-dir", str(data))
    again.wait_for_line("new certificates, generation 2", 30)
    assert generation_on_disk(data) == 2
    first, *others = own_controller.renewals.requests
    assert {request.attempt for request in others} == {first.attempt}


@pytest.mark.system
def test_a_device_that_was_off_through_two_rotations_comes_home_by_itself(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    agent = start_with(own_controller, start_agent, data, aged(1))
    own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    own_controller.renewals.rotate("host", "tls", forgets=True)
    own_controller.renewals.rotate("host", "tls", forgets=True)
    own_controller.reopen()
    own_controller.requests.clear()
    agent = start_agent(own_controller, "--data-dir", str(data))
    agent.wait_for_line("new certificates, generation 2", 30)
    own_controller.wait_for(lambda: own_controller.tunnels, "the tunnel", 60)
    # The machine API's door lets nobody in without a certificate of today's authority.
    own_controller.wait_for(lambda: ("GET", "/v1/recording-terms") in own_controller.requests, "a request", 60)
    assert agent.stop() == 0


@pytest.mark.system
def test_a_device_that_knows_no_tls_authority_of_today_learns_them(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    agent = start_with(own_controller, start_agent, data, aged(1))
    own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    own_controller.renewals.rotate("tls", forgets=True)
    own_controller.reopen()
    own_controller.requests.clear()
    agent = start_agent(own_controller, "--data-dir", str(data))
    agent.wait_for_line("certificates may be the reason")
    agent.wait_for_line("new certificates, generation 2", 30)
    own_controller.wait_for(lambda: ("GET", "/v1/recording-terms") in own_controller.requests, "a request", 60)
    assert agent.stop() == 0


@pytest.mark.system
def test_a_node_that_was_removed_says_so_once_and_serves_on(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.renewals.refuses = True
    agent = start_with(own_controller, start_agent, tmp_path / "data", aged(25))
    own_controller.wait_for_node("n1")
    line = agent.wait_for_line("the controller refuses to renew")
    assert " ERROR " in line
    assert "edge-agent start --rejoin --token TOKEN" in line
    assert line.count("renew") == 1  # and not once more in the controller's own words
    assert agent.stop() == 0
    assert len(own_controller.renewals.requests) == 1


def test_an_order_is_all_that_the_process_gets(own_controller: SimulatedController, identity: Identity) -> None:
    made = make_order(Papers(identity), ("127.0.0.1", 1), ATTEMPT)
    assert set(asdict(Order(**made))) == set(made)
    assert json.loads(json.dumps(made))["node_id"] == identity.granted.node_id
    assert "PRIVATE" not in json.dumps(made)
    assert own_controller.requests == []
