"""A tape handed to a cluster as its node would upload it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controller.enrolment.nodes import NodeRecord, Nodes
from controller.policy.upload import Piece
from controller.recordings import Recordings
from protocol import limits
from protocol.decision import Granted
from protocol.recording.signer import signer_line
from tests.harness.tape import Tape


def enrol_node(nodes: Nodes, tape: Tape) -> NodeRecord:
    """Enrol the node that makes `tape`, a day before it was made."""
    joined = datetime.fromtimestamp(tape.started / 1000, UTC) - timedelta(days=1)
    node = NodeRecord(tape.node, tape.node_name, {}, signer_line(tape.signer), 1, joined, "…1234", "0.1.0")
    nodes.add(node)
    return node


def upload(recordings: Recordings, node: NodeRecord, tape: Tape, *, upto: int | None = None) -> None:
    """Upload all of `tape`, or its first `upto` bytes, from where the upload stands."""
    begun = recordings.begin(node, tape.session, None, "192.0.2.9:1")
    assert isinstance(begun, Granted), begun
    content, offset = tape.content[:upto], begun.value.offset
    while offset < len(content):
        piece = Piece(offset, content[offset : offset + limits.RECORDING_PIECE_MAX])
        taken = recordings.append(node, tape.session, piece, "192.0.2.9:1")
        assert isinstance(taken, Granted), taken
        offset = taken.value.offset
