"""Recordings in a test's hands: what lies on a device, what a controller keeps, and what is in them."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from controller.cluster import Cluster, open_cluster
from controller.config import load_config
from edge_agent.identity import DataDirectory, Identity
from protocol import names
from protocol.events import Json
from protocol.names import SessionId
from protocol.recording import cipher, frame
from protocol.recording.cast import CastHeader, Event
from protocol.recording.header import Header
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, Reader, SealRecord
from protocol.recording.seal import Seal
from protocol.recording.signer import parse_signer
from protocol.recording.writer import Writer
from protocol.recordings import RecordingEntry, State
from protocol.secret import Secret
from protocol.session_ids import RANDOM_BYTES, mint_session_id
from tests.harness.real_cluster import Agent, RealCluster
from tests.harness.running_program import PATIENCE

_POLL = 0.05
_SEAL_EVERY = 10_000


@dataclass(frozen=True)
class Contents:
    """A recording that was read, checked and opened."""

    header: Header
    first: CastHeader
    events: tuple[Event, ...]
    seals: tuple[Seal, ...]
    pieces: tuple[bytes, ...]  # the event lines of each data record

    def output(self, codes: str = "oe") -> str:
        """Return what the program printed."""
        return "".join(event.data for event in self.events if event.code in codes)


def read_contents(data: bytes, key: Secret[bytes] | None, signer: bytes) -> Contents:
    """Read a whole recording. Raises `RecordingError` where anything is wrong with it."""
    reader = Reader(signer)
    records = list(reader.feed(data))
    reader.finish()
    assert reader.header
    opener = Opener(reader.header, key)
    data_records = [record for record in records if isinstance(record, DataRecord)]
    events = [event for record in data_records for event in opener.events(record)]
    first, *rest = events
    assert isinstance(first, CastHeader)
    return Contents(
        reader.header,
        first,
        tuple(event for event in rest if isinstance(event, Event)),
        tuple(record.seal for record in records if isinstance(record, SealRecord)),
        tuple(opener.lines(record) for record in data_records),
    )


# --- on the device ----------------------------------------------------------------------------------------------------


def spool_of(agent: Agent) -> Path:
    """Return the folder in which a device keeps recordings until they are uploaded."""
    return agent.data_dir / "spool"


def spooled(agent: Agent) -> list[Path]:
    """Return the recordings that a device still has."""
    return sorted(spool_of(agent).glob("*.skr"))


def keep_link(agent: Agent, session: str, folder: Path) -> Path:
    """Return a second name for a recording's file, under which it stays when the device removes its own."""
    folder.mkdir(exist_ok=True)
    kept = folder / f"{session}.skr"
    os.link(spool_of(agent) / f"{session}.skr", kept)
    return kept


def await_empty(agent: Agent, patience: float = PATIENCE) -> None:
    """Wait until a device has no recording any more: nothing tells of it, so the folder is looked at again."""
    deadline = time.monotonic() + patience
    while left := spooled(agent):
        assert time.monotonic() < deadline, f"{agent.name} still has {[path.name for path in left]}"
        time.sleep(_POLL)


@dataclass(frozen=True)
class Script:
    """A session that is to be made up.

    Attributes:
        started: when it began.
        screens: what it printed, a second's worth each.
    """

    started: datetime
    screens: Sequence[str]
    session: SessionId
    user: str = "alice"
    command: str = ""


class Device:
    """What a device's data directory lets somebody do who has it: write recordings in its name."""

    def __init__(self, data_dir: Path, recording_key: tuple[str, bytes]) -> None:
        """Begin. `recording_key` is the cluster's: its name and public half."""
        self.data_dir = data_dir
        self._cluster_key = recording_key
        found = DataDirectory(data_dir).load()
        assert found, f"{data_dir} is of no device that has joined"
        self.identity: Identity = found
        key = load_ssh_private_key(found.host_private.reveal(), None)
        assert isinstance(key, Ed25519PrivateKey)
        self._host: Ed25519PrivateKey = key

    @property
    def signer(self) -> bytes:
        return self._host.public_key().public_bytes_raw()

    def script(self, started: datetime, screens: Sequence[str], user: str = "alice") -> Script:
        """Return a session with an id of its own."""
        return Script(started, screens, mint_session_id(self.identity.granted.node_id, os.urandom(RANDOM_BYTES)), user)

    def header(self, what: Script) -> tuple[Header, Secret[bytes]]:
        """Return the header of a new recording, and its key."""
        granted, key = self.identity.granted, Secret(os.urandom(cipher.KEY_SIZE))
        started = _milliseconds(what.started)
        wrapped = cipher.wrap(key, *self._cluster_key, what.session, granted.node_id)
        header = Header(
            session=what.session,
            node=granted.node_id,
            node_name=granted.name,
            cluster=granted.cluster_name,
            started=started,
            corrected=started,
            signer=self.signer,
            dictionary=frame.NEWEST,
            cipher="AES-256-GCM",
            key=wrapped,
        )
        return header, key

    def write(self, what: Script, header: Header | None = None) -> bytes:
        """Return the recording of a session, as the recorder would have written it; `header` to say otherwise."""
        made, key = self.header(what)
        writer = Writer(self._host.sign)
        pieces = [writer.begin(header or made, key if (header or made).cipher != "none" else None)]
        at, sealed = 0, 0
        for number, screen in enumerate(what.screens):
            at = number * 1000
            lines = self._opening_lines(what) if not number else b""
            pieces.append(writer.data(lines + Event(at, "o", screen).line(), at))
            if at - sealed >= _SEAL_EVERY:
                sealed = at
                pieces.append(writer.seal(Seal("running", made.started + at, made.corrected + at, at)))
        pieces.append(writer.data(Event(at + 1, "x", "0").line(), at + 1))
        pieces.append(writer.seal(Seal("final", made.started + at, made.corrected + at, at + 1)))
        return b"".join(pieces)

    def spool(self, what: Script) -> Path:
        """Put the recording of a session where the agent finds it. The agent must not run."""
        folder = self.data_dir / "spool"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{what.session}.skr"
        path.touch(0o600, exist_ok=False)
        path.write_bytes(self.write(what))
        moment = what.started.timestamp()
        os.utime(path, (moment, moment))
        return path

    def _opening_lines(self, what: Script) -> bytes:
        granted = self.identity.granted
        said: dict[str, Json] = {
            "session": what.session,
            "user": what.user,
            "login": "root",
            "node": granted.node_id,
            "node_name": granted.name,
            "cluster": granted.cluster_name,
            "kind": "ssh",
            "interactive": not what.command,
        }
        first = CastHeader(80, 24, _milliseconds(what.started) // 1000, what.command, {"TERM": "xterm"}, said)
        return first.line() + Event(0, "j", what.user).line()


def device(agent: Agent, archive: Archive) -> Device:
    """Return what an agent's data directory gives."""
    return Device(agent.data_dir, archive.cluster.authority.recording_key())


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def week_of_sessions(found: Device, chance: random.Random, number: int, until: datetime) -> list[Script]:
    """Return sessions of a device in the week before `until`, the oldest first: half a minute of a shell at most."""
    starts = sorted(until - timedelta(seconds=chance.uniform(60, 7 * 86_400)) for _ in range(number))
    return [found.script(start.astimezone(UTC), _shell_work(chance)) for start in starts]


def _shell_work(chance: random.Random) -> list[str]:
    words = ["harbour", "lighthouse", "buoy", "tide", "pilot", "anchor", "ballast", "beacon", "cable", "chart"]
    return [
        f"pi@kiosk:~$ grep -n {chance.choice(words)} log\r\n"
        + "".join(f"{chance.randrange(9999)}:{' '.join(chance.choices(words, k=6))}\r\n" for _ in range(3))
        for _ in range(chance.randrange(10, 30))
    ]


def noise(chance: random.Random, size: int) -> list[str]:
    """Return screens of text that no compressor makes much smaller: about `size` bytes of recording."""
    alphabet = "".join(map(chr, range(0x21, 0x7F))).replace("\\", "").replace('"', "")
    return ["".join(chance.choices(alphabet, k=60_000)) for _ in range(max(1, size // 49_000))]


# --- on the controller ------------------------------------------------------------------------------------------------


class Archive:
    """What a controller keeps, opened beside its processes as `tctl` opens it."""

    def __init__(self, cluster: RealCluster) -> None:
        self._config = cluster.config

    @cached_property
    def cluster(self) -> Cluster:
        return open_cluster(load_config(self._config))

    def entries(self) -> list[RecordingEntry]:
        """Return all recordings, the newest first."""
        return [stored.entry for stored in self.cluster.recordings.entries()]

    def entry(self, session: str) -> RecordingEntry | None:
        """Return one recording; None where it is not there."""
        stored = self.cluster.recordings.find(names.parse_session_id(session))
        return stored.entry if stored else None

    def await_state(self, session: str, *states: State, patience: float = PATIENCE) -> RecordingEntry:
        """Wait until a recording is in one of these states; nothing tells of it, so it is looked at again."""
        deadline = time.monotonic() + patience
        while True:
            entry = self.entry(session)
            if entry and entry.state in states:
                return entry
            assert time.monotonic() < deadline, f"{session} is {entry and entry.state}, and not {' or '.join(states)}"
            time.sleep(_POLL)

    def await_output(self, session: str, text: str) -> None:
        """Wait until the controller has what a session printed."""
        deadline = time.monotonic() + PATIENCE
        while not self.entry(session) or text not in self.contents(session).output():
            assert time.monotonic() < deadline, f"{text!r} of session {session} never came"
            time.sleep(_POLL)

    def data(self, session: str) -> bytes:
        """Return a recording's bytes as they are stored."""
        found, name = b"", names.parse_session_id(session)
        while piece := self.cluster.recordings.read(name, len(found), 512 * 1024):
            found += piece
        return found

    def signer(self, session: str) -> bytes:
        """Return the public key that the seals must be checked with: the one that the node joined with."""
        entry = self.entry(session)
        node = entry and self.cluster.enrolment.nodes.get(entry.node)
        assert node, f"no recording {session}, or its node has not joined"
        return parse_signer(node.ssh_public_key)

    def contents(self, session: str) -> Contents:
        """Return what is in a recording, checked with the node's key that the controller knows."""
        key = self.cluster.recordings.key(names.parse_session_id(session))
        return read_contents(self.data(session), key.key, self.signer(session))
