from __future__ import annotations

from typing import Any

import pytest

from controller.recordings.note import Note
from protocol.fields import MessageError
from protocol.names import NodeId, NodeName, SessionId
from protocol.recording.seal import Seal
from tests.harness.tape import Tape

TAPE = Tape()
NOTE = Note(SessionId(TAPE.session), NodeId(TAPE.node), NodeName("gw-1"), 5, header=TAPE.header)


@pytest.mark.parametrize(
    "seal", [None, *(Seal(reason, 1, 2, 3) for reason in ("running", "final", "interrupted", "stopped"))]
)
def test_a_note_is_read_as_it_was_written(seal: Seal | None) -> None:
    note = Note(NOTE.session, NOTE.node, NOTE.hostname, 5, length=7, offset=9, header=NOTE.header, seal=seal)
    assert Note.from_facts(note.to_facts()) == note


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session", "../../x"),
        ("node", 7),
        ("grown", -1),
        ("offset", "9"),
        ("position", [1, 2]),
        ("position", [1, -2, ""]),
        ("position", [1, 2, "xyz"]),
        ("header", "???"),
        ("header", "e30="),
        ("seal", ["never", 1, 2, 3]),
        ("seal", ["final", 1, 2]),
        ("participants", "alice"),
        ("refused", ["U1"]),
        ("is_told", None),
    ],
)
def test_a_damaged_note_is_said_to_be_one(name: str, value: Any) -> None:  # noqa: ANN401 - JSON
    with pytest.raises(MessageError, match=name):
        Note.from_facts({**NOTE.to_facts(), name: value})
