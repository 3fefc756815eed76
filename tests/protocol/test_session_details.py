from __future__ import annotations

from typing import Any

import pytest

from protocol.fields import MessageError
from protocol.session_details import RecordingCheck, SessionTimeline

TIMELINE: dict[str, Any] = {
    "session": "00000000-0000-4000-8000-000000000001",
    "user": "ada",
    "login": "pi",
    "node": "",
    "hostname": "gate",
    "roles": ["access"],
    "remote": "192.0.2.1:5",
    "command": "",
    "began": None,
    "is_live": True,
    "participants": ["ada"],
    "moments": [{"time": 1, "text": "ada joined"}],
}
CHECK: dict[str, Any] = {
    "outcome": "intact",
    "line": "intact: 3 records",
    "done": 1,
    "size": 1,
    "signer_known": True,
    "records": 3,
    "sealed": 3,
    "fault_at": None,
}


def test_what_was_written_is_read_again() -> None:
    assert SessionTimeline.from_dict(TIMELINE).to_dict() == TIMELINE
    assert RecordingCheck.from_dict(CHECK).to_dict() == CHECK


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(MessageError, match="moments: time: not a whole number"):
        SessionTimeline.from_dict(TIMELINE | {"moments": [{"time": -1, "text": ""}]})
    with pytest.raises(MessageError, match="done: missing"):
        RecordingCheck.from_dict({"outcome": "", "line": ""})
