"""A device's recording studio without its SSH server: real programs, a real spool, and a look at what was recorded."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.accounts import Account, admit
from edge_agent.child import Children, Ended, Program, Terminal, TerminalSize
from edge_agent.clock import Clock
from edge_agent.courier import Address, Courier
from edge_agent.identity import Identity
from edge_agent.recorder import Recorder, Subject
from edge_agent.session import Session, Stream
from edge_agent.spool import Spool
from edge_agent.studio import Studio
from edge_agent.terms import Terms
from protocol.decision import Granted
from protocol.events import EventKind, Json
from protocol.names import SessionId
from protocol.recording import cipher
from protocol.recording.cast import CastHeader, Event
from protocol.recording.header import Header
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, Reader
from protocol.recording.seal import Seal
from protocol.secret import Secret
from protocol.session_ids import RANDOM_BYTES, mint_session_id
from tests.harness.inner_door import joined_identity
from tests.harness.simulated_controller import SimulatedController

MIB = 1024 * 1024
PATIENCE = 30.0


@dataclass(frozen=True)
class Played:
    """A recording that was verified, unlocked and read."""

    header: Header
    first: CastHeader
    events: tuple[Event, ...]
    seals: tuple[Seal, ...]

    def text(self, codes: str) -> str:
        return "".join(event.data for event in self.events if event.code in codes)

    def told(self, code: str) -> list[str]:
        return [event.data for event in self.events if event.code == code]


def play(data: bytes, signer: bytes, private: Secret[bytes]) -> Played:
    """Return what is on a recording. Raises where anything is wrong with it."""
    reader = Reader(signer)
    records = list(reader.feed(data))
    reader.finish()
    header = reader.header
    assert header is not None
    assert header.key is not None
    opener = Opener(header, cipher.unwrap(header.key, private, header.session, header.node))
    events = [event for record in records if isinstance(record, DataRecord) for event in opener.events(record)]
    first = events.pop(0)
    assert isinstance(first, CastHeader)
    seals = tuple(record.seal for record in records if hasattr(record, "seal"))
    return Played(header, first, tuple(event for event in events if isinstance(event, Event)), seals)


class Witness:
    """A tap that keeps what the session printed, as a person's channel would see it."""

    def __init__(self) -> None:
        self.output_bytes = bytearray()
        self.error_bytes = bytearray()
        self.how: Ended | None = None
        self.over = asyncio.Event()
        self.fed = asyncio.Event()
        self.printed = asyncio.Event()

    def started(self, session: Session) -> None:
        pass

    def output(self, data: bytes, stream: Stream) -> None:
        (self.error_bytes if stream == "error" else self.output_bytes).extend(data)
        self.printed.set()

    def input(self, data: bytes) -> None:
        pass

    def resized(self, size: TerminalSize) -> None:
        pass

    def input_ready(self) -> None:
        self.fed.set()

    def ended(self, how: Ended) -> None:
        self.how = how
        self.over.set()

    async def wait_for(self, text: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            while text not in self.output_bytes:
                self.printed.clear()
                await self.printed.wait()


@dataclass
class Room:
    """A studio, its spool, and what it reported."""

    controller: SimulatedController
    identity: Identity
    spool: Spool
    terms: Terms
    studio: Studio
    children: Children
    reported: list[tuple[str, Mapping[str, Json]]] = field(default_factory=list)

    @property
    def signer(self) -> bytes:
        return self.identity.signing_key().public_key().public_bytes_raw()

    def subject(self, *, size: tuple[int, int] | None = None, command: str = "true") -> Subject:
        session = mint_session_id(self.identity.granted.node_id, os.urandom(RANDOM_BYTES))
        return Subject(session, "alice", "pi", command, size, "xterm" if size else "", "/bin/sh")

    async def recorder(self, *, size: tuple[int, int] | None = None, command: str = "true") -> Recorder:
        found = await self.studio.begin(self.subject(size=size, command=command))
        assert isinstance(found, Recorder)
        return found

    def start(
        self, recorder: Recorder | None, command: str, *, size: tuple[int, int] | None = None
    ) -> tuple[Session, Witness]:
        """Start a shell's command line under the recorder, with a witness."""
        witness = Witness()
        terminal = Terminal("xterm", (*size, 0, 0)) if size else None
        argv = ("sh", "-c", command)
        program = Program(account(), "/bin/sh", argv, {"PATH": os.environ["PATH"]}, "/", terminal)
        session = Session(program, self.children, taps=(recorder, witness) if recorder else (witness,))
        session.start()
        return session, witness

    async def record(self, command: str, *, size: tuple[int, int] | None = None) -> tuple[Played, Witness]:
        """Run a command line to its end, and return what is on record of it and what was printed."""
        recorder = await self.recorder(size=size, command=command)
        _, witness = self.start(recorder, command, size=size)
        async with asyncio.timeout(PATIENCE):
            await witness.over.wait()
            await self.studio.wait_until_sealed()
        return self.play(recorder.subject.session), witness

    def play(self, session: SessionId) -> Played:
        return play(self.spool.path(session).read_bytes(), self.signer, self.controller.recording_key)


def account() -> Account:
    """Return whoever runs the tests."""
    import pwd

    found = admit(pwd.getpwuid(os.geteuid()).pw_name, euid=os.geteuid())
    assert isinstance(found, Granted)
    return found.value


@contextlib.asynccontextmanager
async def recording_room(
    controller: SimulatedController, directory: Path, *, quota: int = 512 * MIB, min_free: int = 0, stall: float = 10.0
) -> AsyncIterator[Room]:
    """Yield a studio whose spool is `directory`."""
    identity = joined_identity(controller, controller.directory)
    children = Children(asyncio.get_running_loop())
    reported: list[tuple[str, Mapping[str, Json]]] = []

    def report(kind: EventKind, fields: Mapping[str, Json]) -> None:
        reported.append((kind.name, fields))

    clock = Clock(controller.directory)
    courier = Courier(lambda: Address("127.0.0.1", 1, "nobody", (), ("", "")), children, span=clock.span)
    terms = Terms(controller.directory, identity.granted.recording, courier, clock)
    spool = Spool(directory, quota=quota, min_free=min_free)
    node: dict[str, Json] = {"server_id": identity.granted.node_id, "server_hostname": identity.granted.name}
    studio = Studio(identity, spool, terms, node=node, report=report, stall=stall)
    studio.open()
    try:
        yield Room(controller, identity, spool, terms, studio, children, reported)
    finally:
        async with asyncio.timeout(PATIENCE):
            await studio.wait_until_sealed()
        children.close()
