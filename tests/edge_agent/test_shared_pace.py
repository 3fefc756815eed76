"""Several see one session, and one of them reads nothing: the others go on, and that one catches up with a snapshot."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
from collections.abc import AsyncIterator

import pytest

from edge_agent.outlet import Outlet
from protocol import limits
from protocol.joining import LEAVE_KEY, MODE_VARIABLE, SESSION_VARIABLE
from tests.harness.company import PATIENCE, Company, Guest, ask, company
from tests.harness.simulated_controller import SimulatedController

pytestmark = pytest.mark.system
LINES = 120_000
# More than the sockets and queues on the way hold together. Each word that is typed has so much printed.
MUCH = LINES * len("0123456789\r\n")
POUR = f"stty -echo; echo ready; while read word; do yes 0123456789 | head -n {LINES}; echo done-$word; done"
WIDE = 2**30
NARROW = 2**16
SMALL = 2**14


@pytest.fixture
async def node(own_controller: SimulatedController) -> AsyncIterator[Company]:
    async with company(own_controller) as found:
        yield found


async def holds(outlet: Outlet) -> None:
    """Wait until the program waits for this one, or has done so."""
    async with asyncio.timeout(PATIENCE):
        while not outlet.holds:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0.01)


def stall(node: Company, user: str, guest: Guest) -> None:
    """Have somebody read nothing, with little room for what is sent to them on the way."""
    ends = (node.seat(user).channel.get_connection(), socket.SO_SNDBUF), (guest.connection, socket.SO_RCVBUF)
    for connection, which in ends:
        connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, which, SMALL)
    guest.stop_reading()


async def test_a_stalled_observer_slows_nobody_and_is_shown_the_screen_as_it_is_when_it_reads_again(
    node: Company,
) -> None:
    async with node.began(command=POUR) as alice, node.joined("bob", window=WIDE) as bob:
        await bob.sees(b"bob joined as observer")
        stall(node, "bob", bob)
        alice.type(b"one\r")
        await alice.sees(b"done-one")
        outlet = node.seat("bob").outlet
        assert (outlet.is_behind, outlet._queued) == (True, 0)
        assert alice.seen.count(b"0123456789") == LINES  # nothing was lost to who reads
        bob.read_on()
        await bob.sees(b"done-one")
        assert (outlet.is_behind, len(bob.seen) < MUCH) == (False, True)
        alice.type(b"two\r")
        await alice.sees(b"done-two")
        await bob.sees(b"done-two")


async def test_a_stalled_peer_is_waited_for_and_then_dropped(node: Company) -> None:
    async with node.began(command=POUR) as alice, node.joined("bob", "peer", window=WIDE) as bob:
        await bob.sees(b"bob joined as peer")
        stall(node, "bob", bob)
        alice.type(b"one\r")
        await alice.sees(b"done-one")
        outlet = node.seat("bob").outlet
        assert (outlet.is_behind, outlet.holds) == (True, 1)
        bob.read_on()
        await bob.sees(b"done-one")
        bob.type(b"two\r")
        await alice.sees(b"done-two")


async def test_a_stalled_owner_does_not_keep_others_from_working(node: Company) -> None:
    async with node.began(command=POUR) as alice, node.joined("bob", "peer") as bob:
        await bob.sees(b"bob joined as peer")
        stall(node, "alice", alice)
        bob.type(b"one\r")
        await bob.sees(b"done-one")
        bob.type(b"two\r")
        await bob.sees(b"done-two")
        alice.read_on()
        await alice.sees(b"done-two")


async def test_alone_nothing_is_lost_to_who_reads_late(node: Company) -> None:
    async with node.began(command=POUR) as alice:
        stall(node, "alice", alice)
        alice.type(b"one\r")
        outlet = node.seat("alice").outlet
        await holds(outlet)
        alice.read_on()
        await alice.sees(b"done-one")
        assert not outlet.is_behind
        assert alice.seen.count(b"0123456789") == LINES


async def test_who_is_alone_and_stalled_holds_the_program_no_longer_when_somebody_joins(node: Company) -> None:
    async with node.began(command=POUR) as alice:
        stall(node, "alice", alice)
        alice.type(b"one\r")
        await holds(node.seat("alice").outlet)
        async with node.joined("bob", "peer") as bob:
            await bob.sees(b"done-one")
            alice.read_on()
            await alice.sees(b"done-one")


async def test_nineteen_go_on_while_the_twentieth_hangs(node: Company) -> None:
    async with (
        node.began(command=POUR) as alice,
        node.joined("bob", window=WIDE) as bob,
        contextlib.AsyncExitStack() as lines,
    ):
        variables = {SESSION_VARIABLE: node.session, MODE_VARIABLE: "peer"}
        crowd: list[Guest] = []
        for name in ("red", "green", "blue"):
            line = await lines.enter_async_context(node.line(node.person(name)))
            crowd += [await ask(line, None, size=(80, 24), variables=variables) for _ in range(6)]
        await crowd[-1].sees(b"(20 here)")
        stall(node, "bob", bob)
        crowd[3].type(b"one\r")
        for guest in (alice, *crowd):
            await guest.sees(b"done-one")
        assert node.seat("bob").outlet.is_behind


async def test_what_waits_for_one_is_bounded(node: Company) -> None:
    """By the channel's window the client bounds what is on the way: the rest waits at the node."""
    async with node.began(command=POUR) as alice, node.joined("bob", "peer", window=NARROW) as bob:
        await bob.sees(b"bob joined as peer")
        bob.channel.pause_reading()
        alice.type(b"one\r")
        await alice.sees(b"done-one")
        assert limits.PARTY_BEHIND < node.seat("bob").outlet.most <= limits.PARTY_BEHIND + 256 * 1024


async def test_a_peer_whose_line_is_slow_holds_the_program_once_and_not_after_every_snapshot(node: Company) -> None:
    async with node.began(command=POUR) as alice, node.joined("bob", "peer", window=NARROW) as bob:
        await bob.sees(b"bob joined as peer")
        outlet, seen = node.seat("bob").outlet, 0
        for word in (b"one", b"two", b"three"):
            bob.channel.pause_reading()
            alice.type(word + b"\r")
            await alice.sees(b"done-" + word)
            assert (outlet.is_behind, outlet.holds) == (True, 1)
            bob.channel.resume_reading()
            seen = await bob.sees(b"done-" + word, after=seen)


@pytest.mark.parametrize("way", ["key", "dismissed"])
async def test_who_is_behind_is_freed_and_told_why_when_they_go(node: Company, way: str) -> None:
    async with node.began(command=POUR) as alice, node.joined("bob", window=NARROW) as bob:
        await bob.sees(b"bob joined as observer")
        bob.channel.pause_reading()
        alice.type(b"one\r")
        await alice.sees(b"done-one")
        assert node.seat("bob").outlet.is_behind
        if way == "key":
            bob.type(LEAVE_KEY)
        else:
            node.only.dismiss(node.seat("bob"), "you are locked out", 1.0)
        await alice.sees(b"Skerry: bob left")
        bob.channel.resume_reading()
        last = b"\x18\x1b[0m\r\n" + (b"" if way == "key" else b"Skerry: you are locked out\r\n")
        assert (await bob.over()).endswith(last)


async def test_a_program_that_painted_long_ago_paints_anew_for_who_catches_up(node: Company) -> None:
    paint = r"printf '\033[?1049h\033[H\033[2JPAINTED'"
    much = f"yes 0123456789 | head -n {LINES}; echo done"
    wait = "stty -echo; echo ready; read -r word"
    command = f'trap "{paint}" WINCH; {paint}; {wait}; {much}; while :; do sleep 60 & wait; done'
    async with (
        node.began(command=f"exec bash -c {shlex.quote(command)}") as alice,
        node.joined("bob", window=NARROW) as bob,
    ):
        await bob.sees(b"bob joined as observer")
        bob.channel.pause_reading()
        alice.type(b"go\r")
        await alice.sees(b"done")
        assert node.seat("bob").outlet.is_behind
        bob.channel.resume_reading()
        await bob.sees(b"PAINTED", after=await bob.sees(b"done"))
