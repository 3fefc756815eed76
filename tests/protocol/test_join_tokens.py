from __future__ import annotations

from typing import Any

import pytest

from protocol.fields import MessageError
from protocol.join_tokens import JoinTokenEntry, JoinTokenList, MadeJoinToken, NewJoinToken

ENTRY: dict[str, Any] = {
    "id": "0123456789ab",
    "token": "****cdef",
    "uses": None,
    "expires": 5,
    "labels": {"env": "prod"},
    "claimable": ["site"],
    "approve": True,
    "ephemeral_seconds": 86400,
}
NEW: dict[str, Any] = {
    "uses": "unlimited",
    "ttl_seconds": 60,
    "labels": {"env": "prod"},
    "claimable": ["site"],
    "approve": True,
    "ephemeral_seconds": 86400,
}


def test_what_was_written_is_read_again() -> None:
    assert NewJoinToken.from_dict(NEW).to_dict() == NEW
    assert NewJoinToken.from_dict(NEW).uses is None
    assert JoinTokenEntry.from_dict(ENTRY).to_dict() == ENTRY
    bare = ENTRY | {"claimable": None, "uses": 3}
    page = {"tokens": [ENTRY, bare], "next": None}
    assert JoinTokenList.from_dict(page).to_dict() == page
    made = ENTRY | {
        "token": "0123456789abcdef",
        "shown_as": "****cdef",
        "controller": "skerry.example:3080",
        "ca_pins": ["sha256:x"],
        "install": "curl … | sudo sh -s -- --token 0123456789abcdef",
    }
    assert MadeJoinToken.from_dict(made).to_dict() == made
    assert "0123456789abcdef" not in repr(MadeJoinToken.from_dict(made))


def test_what_is_left_out_is_the_usual() -> None:
    assert NewJoinToken.from_dict({}) == NewJoinToken()
    assert NewJoinToken().to_dict() == {
        "uses": 1,
        "ttl_seconds": 1800,
        "labels": {},
        "claimable": None,
        "approve": False,
        "ephemeral_seconds": None,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uses", 0),
        ("uses", 1_000_001),
        ("uses", "x"),
        ("ttl_seconds", 0),
        ("ttl_seconds", 30 * 86400 + 1),
        ("labels", []),
        ("claimable", ["a", "a"]),
        ("claimable", [f"l{number}" for number in range(33)]),
        ("claimable", ["a b"]),
        ("approve", "yes"),
        ("ephemeral_seconds", 299),
        ("ephemeral_seconds", 365 * 86400 + 1),
    ],
)
def test_what_does_not_fit_is_refused_with_the_fields_name(field: str, value: object) -> None:
    with pytest.raises(MessageError, match=f"{field}: "):
        NewJoinToken.from_dict(NEW | {field: value})


def test_a_token_that_is_no_object_is_refused() -> None:
    with pytest.raises(MessageError, match="not a JSON object"):
        MadeJoinToken.from_dict([])
