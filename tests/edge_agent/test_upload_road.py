"""Recordings from a device's spool into the real controller's hands."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.child import Children
from edge_agent.courier import Address
from edge_agent.recovery import Hand
from edge_agent.spool import REFUSED
from protocol.decision import Granted
from protocol.messages import JoinReply
from protocol.names import NodeId, SessionId
from protocol.recording import framing, seal
from protocol.recording.seal import Reason
from tests.controller.api.running_api import API_HOST, Door, running_api
from tests.controller.harbour import PING, STATIC, WEB, Device
from tests.edge_agent.test_upload import Device as Spooling
from tests.edge_agent.test_upload import emptied, eventually, uploading
from tests.harness.tape import Tape


class Node:
    """A device that has joined the cluster behind `door`."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.device = Device("gw-1")
        joined = door.cluster.enrolment.join(self.device.request(STATIC), PING, WEB)
        assert isinstance(joined, Granted)
        self.granted: JoinReply = joined.value
        certificate, key = door.folder / "node.crt", door.folder / "node.key"
        certificate.write_text(self.granted.tls_certificate)
        key.write_text(self.device.tls_pem)
        anchors = self.granted.tls_authorities
        self.address = Address("127.0.0.1", door.port, API_HOST, anchors, (str(certificate), str(key)))

    def tape(self) -> Tape:
        """Return a recording that has begun."""
        return Tape(
            node=NodeId(self.granted.node_id),
            node_name=self.granted.name,
            cluster=self.granted.cluster_name,
            started=int(time.time() * 1000),
            signing=self.device.key,
            recipient=self.door.cluster.authority.recording_key(),
        ).head()

    def times(self) -> tuple[int, int]:
        """Return the time by both clocks."""
        now = int(time.time() * 1000)
        return now, now

    def state(self, session: SessionId) -> str | None:
        """Return what the controller says of a recording."""
        found = self.door.cluster.recordings.find(session)
        return found.entry.state if found else None

    def content(self, session: SessionId) -> bytes:
        found = self.door.cluster.recordings.find(session)
        assert found
        return self.door.cluster.recordings.read(session, 0, found.entry.size)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    folder = tmp_path / "controller"
    folder.mkdir()
    with running_api(folder) as door:
        yield Node(door)


@pytest.fixture
def spooling(tmp_path: Path) -> Spooling:
    return Spooling(tmp_path)


def noise(size: int) -> str:
    return random.Random(size).randbytes(size // 2).hex()  # noqa: S311 - hides nothing


def ended(tape: Tape, size: int, reason: Reason = "final") -> Tape:
    return tape.output(500, noise(size)).seal(reason, 600)


async def test_recordings_of_every_kind_arrive_and_what_does_not_fit_stays(node: Node, spooling: Spooling) -> None:
    short, cut_off, long = node.tape(), node.tape(), node.tape()
    ended(short, 100)
    ended(cut_off, 5000, "interrupted")
    for _ in range(40):
        long.output(100, noise(40_000))
    ended(long, 100)
    damaged, foreign = ended(node.tape(), 5000), ended(Tape(started=long.started).head(), 5000)
    for tape in (short, cut_off, long, foreign):
        spooling.keep(tape.content, session=tape.session)
    flipped = bytearray(damaged.content)
    flipped[-200] ^= 1
    spooling.keep(bytes(flipped), session=damaged.session)
    async with uploading(spooling, node.address):
        await emptied(spooling)
    assert [node.state(tape.session) for tape in (short, cut_off, long)] == ["complete", "interrupted", "complete"]
    assert [node.content(tape.session) for tape in (short, cut_off, long)] == [
        tape.content for tape in (short, cut_off, long)
    ]
    assert spooling.files() == sorted(f"{tape.session}{REFUSED}" for tape in (damaged, foreign))


async def test_a_session_is_on_the_controller_while_it_goes_on(node: Node, spooling: Spooling) -> None:
    tape, spool = node.tape(), spooling.spool
    session, file = tape.session, spool.create(tape.session)
    async with uploading(spooling, node.address):
        for second in range(3):
            so_far = len(tape.content) if second else 0
            tape.output(1000 * second, noise(3000))
            spooling.write(session, file, tape.content[so_far:])
            await eventually(lambda: node.state(session) and node.content(session) == tape.content)
        assert node.state(session) == "arriving"
        so_far = len(tape.content)
        tape.seal("final", 3000)
        spooling.write(session, file, tape.content[so_far:])
        await eventually(lambda: node.state(session) == "complete")
        assert spooling.files() == [f"{session}.skr"]
        spooling.end(session, file)
        await emptied(spooling)
    assert node.content(session) == tape.content


def tear(path: Path, size: int, tail: bytes) -> None:
    """Leave of a file what a power cut does: what was synced, and after it what happened to be on the disk."""
    os.truncate(path, size)
    with path.open("ab") as file:
        file.write(tail)


@pytest.mark.parametrize("tail", ["nothing", "zeros", "noise", "half a record", "a page of the next, then zeros"])
async def test_a_power_cut_costs_nothing_that_was_synced_and_the_upload_ends(
    node: Node, spooling: Spooling, tail: str
) -> None:
    tape, spool = node.tape(), spooling.spool
    session, file = tape.session, spool.create(tape.session)
    tape.output(500, noise(9000))
    async with uploading(spooling, node.address):
        spooling.write(session, file, tape.content)
        await eventually(lambda: node.state(session) and node.content(session) == tape.content)
        (waits,) = spool.waiting()
    synced = tape.content
    assert waits.size == len(synced)
    lost = tape.output(1500, noise(9000)).records[-1]
    tails = {
        "nothing": b"",
        "zeros": bytes(5000),
        "noise": random.Random(5).randbytes(5000),  # noqa: S311 - hides nothing
        "half a record": lost[: len(lost) // 2],
        "a page of the next, then zeros": lost[:4096] + bytes(len(lost) - 4096),
    }
    os.close(file)
    tear(spool.path(session), waits.size, tails[tail])
    again = Spooling(spool.directory.parent)  # as after a start
    signer = node.device.key.public_key().public_bytes_raw()
    (found,) = again.spool.recover(Hand(node.device.key.sign, signer, node.times, threading.Event()))
    assert found.lost == len(tails[tail])
    async with uploading(again, node.address):
        await emptied(again)
    assert node.state(session) == "interrupted"
    assert node.content(session).startswith(synced)
    assert len(node.content(session)) == len(synced) + framing.PREFIX.size + seal.SIZE
    assert again.files() == []
    assert again.reported == []


async def test_two_agents_that_upload_one_recording_do_not_harm_it(
    node: Node, spooling: Spooling, tmp_path: Path
) -> None:
    tape = node.tape()
    for _ in range(20):
        tape.output(100, noise(40_000))
    ended(tape, 100)
    other = Spooling(tmp_path / "other")
    for one in (spooling, other):
        one.keep(tape.content, session=tape.session)
    children = Children(asyncio.get_running_loop())
    async with (
        uploading(spooling, node.address, children=children),
        uploading(other, node.address, children=children),
    ):
        await emptied(spooling)
        await emptied(other)
    children.close()
    assert node.content(tape.session) == tape.content
    assert spooling.files() == other.files() == []
