"""People who share a session, over real SSH: who may, what each sees and may do, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest

from protocol import events, limits
from protocol.events import check_event
from protocol.joining import END_KEY, LEAVE_KEY, MODE_VARIABLE, NO_SUCH_SESSION, SESSION_VARIABLE
from protocol.locks import Lock
from protocol.names import NodeId
from protocol.session_ids import RANDOM_BYTES, mint_session_id
from tests.harness.company import QUIET, Company, Guest, ask, company
from tests.harness.recording_room import recording_room
from tests.harness.road import OWN
from tests.harness.simulated_controller import CLUSTER, SimulatedController

SHELL = "stty -echo; PS1=; echo ready; exec sh"


@pytest.fixture
async def node(own_controller: SimulatedController) -> AsyncIterator[Company]:
    async with company(own_controller) as found:
        yield found
        for code, fields in found.reported:
            check_event(events.BY_CODE[code], fields)


async def joins(guest: Guest, user: str, mode: str, count: int) -> None:
    await guest.sees(b"Skerry: %s joined as %s (%d here)" % (user.encode(), mode.encode(), count))


# --- what each sees and may do ----------------------------------------------------------------------------------------


async def test_an_observer_sees_what_was_and_what_comes_and_types_nothing(node: Company) -> None:
    async with node.began() as alice:
        alice.type(b"before\r")
        await alice.sees(b"before")
        async with node.joined("bob") as bob:
            await joins(alice, "bob", "observer", 2)
            await bob.sees(b"before")
            await joins(bob, "bob", "observer", 2)
            bob.type(b"not heard\r")
            bob.resize(70, 20)  # what is asked is done in order: after this the keys are past
            await _size_is(node, (70, 20))
            alice.type(b"after\r")
            await bob.sees(b"after")
            await alice.sees(b"after")
            assert b"not heard" not in alice.seen + bob.seen


async def test_a_peer_types_and_all_see_it(node: Company) -> None:
    async with node.began() as alice, node.joined("bob", "peer") as bob:
        await joins(alice, "bob", "peer", 2)
        bob.type(b"from bob\r")
        await alice.sees(b"from bob")
        await bob.sees(b"from bob")
        alice.type(b"from alice\r")
        await bob.sees(b"from alice")


async def test_what_peers_type_reaches_the_program_in_the_order_it_comes(node: Company) -> None:
    async with node.began() as alice, node.joined("bob", "peer") as bob:
        await joins(bob, "bob", "peer", 2)
        expected = b""
        for turn in range(10):
            guest, line = (alice, b"a%d" % turn) if turn % 2 else (bob, b"b%d" % turn)
            guest.type(line + b"\r")
            await alice.sees(line)
            expected += line + b"\r\n"
        assert bytes(alice.seen).endswith(expected)


async def test_an_observer_s_signals_are_not_heeded(node: Company) -> None:
    async with node.began() as alice, node.joined("bob") as bob:
        await joins(bob, "bob", "observer", 2)
        bob.channel.send_signal("KILL")
        bob.type(b"x")
        bob.resize(70, 20)  # what is asked is done in order: after this the signal is past
        await _size_is(node, (70, 20))
        alice.type(b"still here\r")
        await bob.sees(b"still here")


async def test_an_observer_leaves_with_a_key_and_status_nought(node: Company) -> None:
    async with node.began() as alice, node.joined("bob") as bob:
        await joins(bob, "bob", "observer", 2)
        bob.type(b"xyz" + LEAVE_KEY)
        await bob.over()
        assert bob.status == 0
        await alice.sees(b"Skerry: bob left")
        left = await node.event("T2003I", user="bob", mode="observer")
        assert left["participants"] == ["alice"]
        assert "reason" not in left


async def test_who_looks_on_is_told_how_to_leave_and_the_others_are_not(node: Company) -> None:
    async with node.began() as alice, node.joined("bob") as bob, node.joined("carol", "moderator") as carol:
        await bob.sees(b"bob joined as observer (2 here); CTRL-C leaves")
        await carol.sees(b"carol joined as moderator (3 here); CTRL-C leaves, t ends it for all")
        await joins(bob, "carol", "moderator", 3)
        assert alice.seen.count(b"CTRL-C") == 0
        assert bob.seen.count(b"CTRL-C") == 1


@pytest.mark.parametrize(("mode", "reason"), [("observer", None), ("peer", "the client closed the channel")])
async def test_who_closes_the_channel_was_not_cut_off(node: Company, mode: str, reason: str | None) -> None:
    async with node.began() as alice, node.joined("bob", mode) as bob:
        await joins(alice, "bob", mode, 2)
        bob.channel.close()
        left = await node.event("T2003I", user="bob")
        assert left.get("reason") == reason


async def test_who_is_cut_off_is_told_of_as_such(node: Company) -> None:
    async with node.began() as alice, node.joined("bob") as bob:
        await joins(alice, "bob", "observer", 2)
        bob.channel.get_connection().abort()
        left = await node.event("T2003I", user="bob")
        assert left["reason"] == "the connection was lost"


async def test_a_moderator_ends_the_session_and_all_are_told(node: Company) -> None:
    async with node.began() as alice, node.joined("bob") as bob, node.joined("carol", "moderator") as carol:
        await joins(carol, "carol", "moderator", 3)
        carol.type(END_KEY)
        for guest in (alice, bob, carol):
            assert b"Skerry: this session was ended by moderator carol" in await guest.over()
            assert guest.status == -1  # SIGHUP
    end = await node.event("T2004I")
    assert end["reason"] == "ended by moderator carol"
    assert end["participants"] == ["alice", "bob", "carol"]


async def test_what_a_moderator_s_terminal_answers_ends_nothing(node: Company) -> None:
    """Xterm reports its size with a sequence that ends like the key: a program may ask for it (CSI 18 t)."""
    async with node.began() as alice, node.joined("carol", "moderator") as carol:
        await joins(carol, "carol", "moderator", 2)
        carol.type(b"\x1b[8;24;80t")
        carol.resize(70, 20)
        await _size_is(node, (70, 20))
        alice.type(b"goes on\r")
        await carol.sees(b"goes on")


async def test_a_moderator_who_holds_the_key_down_ends_it_once(node: Company) -> None:
    """A second time would give the program its time anew."""
    stubborn = "trap '' HUP; stty -echo; echo ready; while :; do sleep 60; done"
    async with node.began(command=stubborn) as alice, node.joined("carol", "moderator") as carol:
        await joins(carol, "carol", "moderator", 2)
        meeting, seat = node.only, node.seat("carol")
        carol.type(END_KEY)
        await alice.sees(b"ended by moderator carol")
        timer = meeting._session._timer
        assert timer
        meeting.feed(seat, END_KEY)
        assert meeting._session._timer is timer
        assert (await alice.over()).count(b"ended by moderator carol") == 1
        assert alice.status == -9


async def test_a_program_s_end_is_told_to_all_with_its_status(node: Company) -> None:
    async with node.began(command=SHELL) as alice, node.joined("bob") as bob, node.joined("carol", "peer") as carol:
        await joins(alice, "carol", "peer", 3)
        carol.type(b"exit 7\r")
        for guest in (alice, bob, carol):
            await guest.over()
            assert guest.status == 7
    assert node.meetings == []


async def test_who_asks_for_no_mode_is_an_observer(node: Company) -> None:
    async with node.began(), node.joined("bob"):
        joined = await node.event("T2001I")
    assert (joined["mode"], joined["user"], joined["owner"]) == ("observer", "bob", "alice")
    assert joined["participants"] == ["alice", "bob"]


async def test_a_program_that_painted_long_ago_paints_anew_for_who_joins(node: Company) -> None:
    paint = r"printf '\033[?1049h\033[H\033[2JPAINTED'"
    much = "yes xxxxxxxxxx | head -c 400000"
    command = f'trap "{paint}" WINCH; {paint}; stty -echo; {much}; echo ready; while :; do sleep 60 & wait; done'
    async with node.began(command=f"exec bash -c {shlex.quote(command)}"), node.joined("bob") as bob:
        await bob.sees(b"PAINTED", after=await bob.sees(b"bob joined as observer"))


async def test_somebody_without_a_terminal_watches(node: Company) -> None:
    async with node.began() as alice, node.joined("bob", size=None) as bob:
        await joins(alice, "bob", "observer", 2)
        alice.type(b"seen\r")
        await bob.sees(b"seen")
        assert node.only.size == (80, 24)


# --- sizes ------------------------------------------------------------------------------------------------------------


async def _size_is(node: Company, size: tuple[int, int]) -> None:
    await node.until(lambda: node.only.size == size)


async def test_the_terminal_is_the_smallest_of_all(node: Company) -> None:
    async with node.began(command=SHELL, size=(100, 40)) as alice:
        async with node.joined("bob", size=(120, 30)) as bob, node.joined("carol", size=(90, 50)) as carol:
            await joins(alice, "carol", "observer", 3)
            alice.type(b"stty size\r")
            await alice.sees(b"30 90")
            carol.resize(95, 20)
            await _size_is(node, (95, 20))
            bob.type(LEAVE_KEY)
            await bob.over()
        await alice.sees(b"Skerry: carol left")
        at = len(alice.seen)
        await _size_is(node, (100, 40))
        alice.type(b"stty size\r")
        await alice.sees(b"40 100", after=at)


async def test_a_terminal_of_nothing_by_nothing_does_not_count(node: Company) -> None:
    async with node.began(size=(100, 40)) as alice, node.joined("bob", size=(0, 0)):
        await joins(alice, "bob", "observer", 2)
        assert node.only.size == (100, 40)


async def test_a_join_is_told_with_the_size_that_comes_of_it(node: Company) -> None:
    async with node.began(size=(100, 40)), node.joined("bob", size=(90, 30)):
        assert (await node.event("T2001I"))["size"] == "90:30"


@pytest.mark.parametrize(("mode", "size"), [("observer", (20, 5)), ("moderator", (20, 5)), ("peer", (2, 1))])
async def test_who_only_watches_makes_no_terminal_useless(node: Company, mode: str, size: tuple[int, int]) -> None:
    async with node.began(size=(100, 40)) as alice, node.joined("bob", mode, size=(2, 1)):
        await joins(alice, "bob", mode, 2)
        assert node.only.size == size


# --- news -------------------------------------------------------------------------------------------------------------


async def test_clients_that_ask_for_it_are_told_of_every_change(node: Company) -> None:
    async with node.began(news=True) as alice:
        first = await alice.hears(lambda _: True)
        assert (first.session, first.size) == (node.session, (80, 24))
        assert [(party.user, party.mode) for party in first.parties] == [("alice", "peer")]
        async with node.joined("bob", "peer", size=(60, 20), news=True) as bob:
            told = await bob.hears(lambda news: news.size == (60, 20))
            assert [(party.user, party.mode) for party in told.parties] == [("alice", "peer"), ("bob", "peer")]
            await alice.hears(lambda news: news.size == (60, 20) and len(news.parties) == 2)
            bob.resize(50, 20)
            await alice.hears(lambda news: news.size == (50, 20))
        await alice.hears(lambda news: news.size == (80, 24) and len(news.parties) == 1 and len(alice.news) > 2)


async def test_clients_that_do_not_ask_are_sent_no_requests(node: Company) -> None:
    async with node.began() as alice, node.joined("bob", news=True) as bob:
        await bob.hears(lambda news: len(news.parties) == 2)
        assert alice.news == []


# --- who may not ------------------------------------------------------------------------------------------------------


async def refused(guest: Guest, node: Company, check: str) -> None:
    said = await guest.over()
    assert said.strip() == f"Skerry: {NO_SUCH_SESSION}".encode()
    assert guest.status == 255
    event = await node.event("SK038W", check=check)
    assert (event["user"], event["success"]) == ("bob", False)


@pytest.mark.parametrize(
    "named",
    ["", "x", "../../etc/passwd", "0" * 5000, "a\nb", "\x1b[31m", "ÿ", str(uuid.uuid4()), " "],
    ids=["nothing", "letter", "path", "long", "lines", "escape", "no ascii", "unknown", "space"],
)
async def test_a_session_that_is_not_there_is_refused(node: Company, named: str) -> None:
    async with node.began(), node.joined("bob", session=named) as bob:
        await refused(bob, node, "Z1")


async def test_a_session_of_which_nothing_is_left_is_refused(node: Company) -> None:
    async with node.began() as alice:
        session = node.session
        alice.channel.close()
        await node.event("T2004I")
    async with node.joined("bob", session=session) as bob:
        await refused(bob, node, "Z1")


async def test_a_session_of_another_login_is_refused(
    own_controller: SimulatedController, node: Company, other_login: str
) -> None:
    both = own_controller.person("bob", (OWN, other_login))
    async with node.began(), node.line(both, other_login) as connection:
        guest = await ask(connection, None, size=(80, 24), variables={SESSION_VARIABLE: node.session})
        await refused(guest, node, "Z2")


async def test_a_session_without_a_terminal_is_refused(node: Company) -> None:
    async with node.began(command="echo ready; exec cat", size=None), node.joined("bob") as bob:
        await refused(bob, node, "Z3")


@pytest.mark.parametrize("mode", ["", "owner", "PEER", "peer\0", "x" * 9000])
async def test_an_unknown_mode_is_refused(node: Company, mode: str) -> None:
    async with node.began(), node.joined("bob", mode) as bob:
        await refused(bob, node, "Z4")


async def test_one_more_than_there_is_room_for_is_refused(node: Company) -> None:
    async with node.began() as alice, contextlib.AsyncExitStack() as crowd:
        free = limits.PARTIES_PER_SESSION - limits.PARTIES_KEPT_FOR_MODERATORS - 1
        for start in range(0, free, limits.PARTIES_PER_USER):
            line = await crowd.enter_async_context(node.line(node.person(f"crowd-{start}")))
            for _ in range(min(limits.PARTIES_PER_USER, free - start)):
                await ask(line, None, size=None, variables={SESSION_VARIABLE: node.session})
        await alice.sees(b"(%d here)" % (free + 1))
        async with node.joined("bob") as bob:
            await refused(bob, node, "Z5")
        async with node.joined("bob", "moderator") as bob:
            bob.type(END_KEY)
            await alice.sees(b"this session was ended by moderator bob")


async def test_nobody_fills_a_session_by_themselves(node: Company) -> None:
    async with node.began() as alice, node.line(node.person("bob")) as line:
        for _ in range(limits.PARTIES_PER_USER):
            await ask(line, None, size=None, variables={SESSION_VARIABLE: node.session})
        await alice.sees(b"(%d here)" % (limits.PARTIES_PER_USER + 1))
        async with node.joined("bob", "moderator") as bob:
            await refused(bob, node, "Z5")
        async with node.joined("carol") as carol:
            await joins(carol, "carol", "observer", limits.PARTIES_PER_USER + 2)


async def test_a_session_of_another_node_is_not_told_of_in_this_one_s_name(node: Company) -> None:
    other = mint_session_id(NodeId(str(uuid.uuid4())), bytes(RANDOM_BYTES))
    async with node.began(), node.joined("bob", session=other) as bob:
        await refused(bob, node, "Z1")
        assert (await node.event("SK038W", check="Z1"))["sid"] == ""


async def test_a_command_beside_the_session_is_refused_and_does_not_run(node: Company) -> None:
    async with node.began(), node.line(node.person("bob")) as line:
        guest = await ask(line, "echo ran", size=(80, 24), variables={SESSION_VARIABLE: node.session})
        await refused(guest, node, "Z6")


async def test_variables_for_joining_reach_no_program(node: Company) -> None:
    variables = {MODE_VARIABLE: "peer", "SKERRY_SESSION_NEWS": "1", "LANG": "C.UTF-8"}
    async with node.line(node.person("alice")) as line:
        guest = await ask(line, "env", size=None, variables=variables)
        said = await guest.over()
    assert b"LANG=C.UTF-8" in said
    assert b"SKERRY_SESSION" not in said


async def test_a_session_is_named_after_many_other_variables(node: Company) -> None:
    variables = {f"LC_{number}": "x" for number in range(80)}
    async with node.began() as alice, node.line(node.person("bob")) as line:
        await ask(line, None, size=None, variables=variables | {SESSION_VARIABLE: node.session})
        await joins(alice, "bob", "observer", 2)


async def test_a_connection_that_outlives_its_certificate_opens_nothing_more(
    node: Company,
) -> None:
    later, house = timedelta(), node.server.house
    node.server.house = replace(house, clock=lambda: house.clock() + later)
    async with node.began(), node.line(node.person("bob")) as line:
        variables = {SESSION_VARIABLE: node.session}
        await ask(line, None, size=(80, 24), variables=variables)
        await node.event("T2001I", user="bob")
        later = timedelta(hours=2)
        await refused(await ask(line, None, size=(80, 24), variables=variables), node, "Z7")
        own = await ask(line, "echo ran", size=None, variables={})
        said = await own.over()
        assert (b"the certificate expired at" in said, b"ran" in said, own.status) == (True, False, 255)
        with pytest.raises(asyncssh.ChannelOpenError, match="expired"):
            await line.open_connection("127.0.0.1", node.port)


# --- who goes ---------------------------------------------------------------------------------------------------------


async def test_the_session_goes_on_when_its_owner_s_line_is_cut_while_a_peer_stays(node: Company) -> None:
    async with contextlib.AsyncExitStack() as stack:
        alice = await stack.enter_async_context(node.began())
        bob = await stack.enter_async_context(node.joined("bob", "peer"))
        await joins(bob, "bob", "peer", 2)
        alice.channel.get_connection().abort()
        await bob.sees(b"Skerry: alice left")
        bob.type(b"alone now\r")
        await bob.sees(b"alone now")
        left = await node.event("T2003I", user="alice")
        assert left["participants"] == ["bob"]
        assert "clos" in str(left["reason"]) or "lost" in str(left["reason"])
        bob.channel.close()
    end = await node.event("T2004I")
    assert end["participants"] == ["alice", "bob"]


async def test_with_the_last_peer_the_session_ends_for_observers(node: Company) -> None:
    async with node.began() as alice, node.joined("bob") as bob:
        await joins(bob, "bob", "observer", 2)
        alice.channel.close()
        assert b"Skerry: alice left; nobody is left to type, and the session ends" in await bob.over()
    assert (await node.event("T2004I"))["reason"] == "the client closed the channel"


def lock(node: Company, kind: str, value: str) -> None:
    made = Lock(str(uuid.uuid4()), kind, value, "lost laptop", None, datetime.now(UTC))  # type: ignore[arg-type]  # a kind
    policy = replace(node.controller.renewals.policy(CLUSTER), version=1, locks=(made,))
    node.control.take_policy(node.controller.renewals.endorse("policy", policy.encode(), CLUSTER), fresh=True)


async def test_a_locked_joiner_is_put_out_and_the_others_stay(node: Company) -> None:
    async with node.began() as alice, node.joined("bob", "peer") as bob:
        await joins(bob, "bob", "peer", 2)
        lock(node, "user", "bob")
        assert b'Skerry: lock targeting User:"bob" is in force: lost laptop' in await bob.over()
        await alice.sees(b"Skerry: bob left")
        assert b"lost laptop" not in alice.seen
        alice.type(b"goes on\r")
        await alice.sees(b"goes on")
        assert "lost laptop" in str((await node.event("T2003I", user="bob"))["reason"])


async def test_a_locked_owner_goes_and_the_session_goes_on_with_another_peer(node: Company) -> None:
    async with node.began() as alice, node.joined("bob", "peer") as bob:
        await joins(bob, "bob", "peer", 2)
        lock(node, "user", "alice")
        assert b'Skerry: lock targeting User:"alice" is in force: lost laptop' in await alice.over()
        await bob.sees(b"Skerry: alice left")
        bob.type(b"goes on\r")
        await bob.sees(b"goes on")


async def test_a_locked_node_ends_all(node: Company) -> None:
    async with node.began() as alice, node.joined("bob", "peer") as bob, node.joined("carol") as carol:
        await joins(alice, "carol", "observer", 3)
        lock(node, "node", node.server.house.target.node_id)
        for guest in (alice, bob, carol):
            await guest.over()
    await node.event("T2004I")
    assert node.meetings == []


# --- on record --------------------------------------------------------------------------------------------------------


async def test_joins_leaves_and_notices_are_on_record(own_controller: SimulatedController, tmp_path: Path) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        async with company(own_controller, room.studio) as node, node.began() as alice:
            session = node.session
            async with node.joined("bob", "peer", size=(60, 20)) as bob:
                await joins(bob, "bob", "peer", 2)
                bob.type(b"by bob\r")
                await alice.sees(b"by bob")
            await alice.sees(b"Skerry: bob left")
            alice.type(b"\x04")
            await alice.over()
        async with asyncio.timeout(20):
            await room.studio.wait_until_sealed()
        played = room.play(session)
    assert (played.told("j"), played.told("l")) == (["alice", "bob"], ["bob"])
    assert played.told("r") == ["60x20", "80x24"]
    assert "by bob" in played.text("o")
    assert "Skerry: bob joined as peer (2 here)" in played.text("o")
    assert "Skerry: bob left" in played.text("o")
    assert played.told("x") == ["0"]
    assert len(list((tmp_path / "spool").iterdir())) == 1  # none of the joiner's own


# --- who else is here -------------------------------------------------------------------------------------------------


async def test_who_comes_to_a_terminal_is_told_who_else_is_here(node: Company) -> None:
    async with node.began(), node.line(node.person("bob")) as line:
        guest = await ask(line, None, size=(80, 24), variables={})
        await guest.sees(b"Skerry: alice is on this device too (%s, for " % OWN.encode())
        await guest.sees(b"; tsh sessions ls")
        command = await ask(line, QUIET, size=(80, 24), variables={})
        await command.sees(b"ready", after=await command.sees(b"Skerry: alice is on this device too"))
        other = await ask(line, "echo ready", size=None, variables={})
        await other.sees(b"ready")
        assert b"on this device" not in other.seen
    async with node.line(node.person("alice")) as line:
        alone = await ask(line, None, size=None, variables={})
        alone.type(b"exit\n")
        assert b"on this device" not in await alone.over()
