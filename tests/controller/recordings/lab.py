"""A node with recordings to upload, and the controller that takes them: real keys, real files, a clock to set."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from controller.enrolment.nodes import NodeRecord
from controller.policy.upload import Piece
from controller.recordings import Progress
from protocol.decision import Granted, Refused
from protocol.names import NodeId, SessionId
from protocol.recording import framing
from protocol.recording.seal import Reason
from protocol.session_ids import RANDOM_BYTES, mint_session_id
from tests.controller.harbour import CLUSTER, STATIC, Device, Harbour
from tests.harness.tape import Tape, short_tape

ADDRESS = "192.0.2.9:4567"
CODES = ("T2005I", "SK030W", "SK033W")


@dataclass
class Gateway:
    """One node, and what it uploads."""

    harbour: Harbour
    name: str = "gw-1"
    device: Device = field(init=False)
    node: NodeRecord = field(init=False)

    def __post_init__(self) -> None:
        self.device = Device(self.name)
        joined = self.harbour.join(self.device.request(STATIC))
        assert isinstance(joined, Granted), joined
        found = self.harbour.enrolment.nodes.get(NodeId(joined.value.node_id))
        assert found
        self.node = found

    def made(self, **changed: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of a tape
        """Return what makes a tape one of this node's."""
        return {
            "session": self.new_session(),
            "node": self.node.node_id,
            "node_name": self.node.name,
            "cluster": CLUSTER,
            "signing": self.device.key,
            "recipient": self.harbour.authority.recording_key(),
            "started": int(self.harbour.clock().timestamp() * 1000),
        } | changed

    def new_session(self) -> SessionId:
        return mint_session_id(self.node.node_id, os.urandom(RANDOM_BYTES))

    def blank(self, **changed: Any) -> Tape:  # noqa: ANN401 - the fields of a tape
        return Tape(**self.made(**changed))

    def tape(self, reason: Reason = "final", **changed: Any) -> Tape:  # noqa: ANN401 - the fields of a tape
        return short_tape(reason, **self.made(**changed))

    def begin(self, session: str, length: int | None = None) -> Granted[Progress] | Refused:
        return self.harbour.recordings.begin(self.node, session, length, ADDRESS)

    def send(
        self, session: SessionId, offset: int, data: bytes, length: int | None = None
    ) -> Granted[Progress] | Refused:
        return self.harbour.recordings.append(self.node, session, Piece(offset, data, length), ADDRESS)

    def ask(self, session: SessionId) -> Granted[Progress] | Refused:
        return self.harbour.recordings.progress(self.node, session, ADDRESS)

    def upload(self, tape: Tape, *cuts: int) -> Progress:
        """Upload a whole tape, cut into pieces at `cuts`."""
        return self.upload_bytes(tape.session, tape.content, *cuts)

    def upload_bytes(self, session: SessionId, data: bytes, *cuts: int) -> Progress:
        begun = self.begin(session)
        assert isinstance(begun, Granted), begun
        answer: Granted[Progress] | Refused = begun
        for start, end in pairwise([0, *cuts, len(data)]):
            answer = self.send(session, start, data[start:end])
            assert isinstance(answer, Granted), answer
        assert isinstance(answer, Granted)
        return answer.value

    def audited(self, *codes: str) -> list[dict[str, Any]]:
        return self.harbour.entries(*(codes or CODES))


def kept(harbour: Harbour, session: SessionId) -> bytes:
    """Return a recording as a reader gets it."""
    found = b""
    while piece := harbour.recordings.read(session, len(found), 1000):
        found += piece
    return found


def participants(harbour: Harbour, session: SessionId) -> tuple[str, ...]:
    found = harbour.recordings.find(session)
    assert found
    return found.entry.participants


def check_of(answer: Granted[Progress] | Refused) -> str:
    return answer.check if isinstance(answer, Refused) else "granted"


def files(harbour: Harbour) -> list[str]:
    folder = harbour.folder / "recordings"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def grow(gateway: Gateway, tape: Tape, size: int) -> None:
    """Make an upload as large as one whose bytes are not worth writing in a test: what is new takes no room."""
    shelf = gateway.harbour.recordings._shelf
    note = shelf.arriving(tape.session)
    assert note
    grown = replace(note, offset=size, position=framing.Position(note.position.number, size, note.position.chain))
    shelf.storage.note(tape.session, grown.to_facts())
    os.truncate(gateway.harbour.folder / "recordings" / "arriving" / f"{tape.session}.skr", size)
