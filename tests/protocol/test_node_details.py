from __future__ import annotations

from typing import Any

import pytest

from protocol.fields import MessageError
from protocol.node_details import NodeDetail, NodeLabels, NodePage

ENTRY: dict[str, Any] = {
    "node_id": "00000000-0000-4000-8000-000000000001",
    "name": "gate",
    "address": "⟵ Tunnel",
    "labels": {"env": "prod"},
    "status": "online",
    "since": 5,
    "tunnel": "up",
    "presence": "online",
    "reason": "",
    "last_seen": 6,
    "version": "0.1.0",
}
DETAIL = ENTRY | {
    "joined": 1,
    "renewed": None,
    "tunnel_since": 2,
    "generation": 3,
    "certificate_expires": 4,
    "token": "****1234",
    "ephemeral_seconds": None,
    "host_key": "SHA256:x",
    "lock": None,
    "heartbeat": {"load": 5},
    "device": None,
}


def test_what_was_written_is_read_again() -> None:
    assert NodeDetail.from_dict(DETAIL).to_dict() == DETAIL
    other = DETAIL | {"heartbeat": None, "device": {"disk": 1}}
    assert NodeDetail.from_dict(other).to_dict() == other
    page = {"nodes": [ENTRY], "next": None}
    assert NodePage.from_dict(page).to_dict() == page
    assert NodeLabels.from_dict({"labels": {"b": "1", "a": "2"}}).to_dict() == {"labels": {"a": "2", "b": "1"}}


@pytest.mark.parametrize("labels", [None, [], {"a b": "x"}, {"a": "x,y"}, {"a": 1}])
def test_labels_that_are_none_are_refused(labels: object) -> None:
    with pytest.raises(MessageError, match="labels: "):
        NodeLabels.from_dict({"labels": labels})
