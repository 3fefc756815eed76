from __future__ import annotations

import pytest

from protocol import limits
from protocol.fields import MessageError
from protocol.lock_orders import TTL_SECONDS_MAX, LockList, NewLock

LOCK = {
    "id": "00000000-0000-4000-8000-000000000001",
    "kind": "user",
    "value": "ada",
    "message": "",
    "expires": None,
    "created": 1000,
    "created_by": "root",
}


def test_what_was_written_is_read_again() -> None:
    order = {"kind": "login", "value": "pi", "message": "under repair", "ttl_seconds": 60}
    assert NewLock.from_dict(order).to_dict() == order
    assert NewLock.from_dict({"kind": "user", "value": "ada"}) == NewLock("user", "ada")
    assert LockList.from_dict({"locks": [LOCK]}).to_dict() == {"locks": [LOCK]}


@pytest.mark.parametrize("ttl", [0, TTL_SECONDS_MAX + 1, -1, "60"])
def test_a_span_that_is_none_is_refused(ttl: object) -> None:
    with pytest.raises(MessageError, match="ttl_seconds: "):
        NewLock.from_dict({"kind": "login", "value": "pi", "ttl_seconds": ttl})


def test_the_value_is_of_the_kind_that_is_said() -> None:
    with pytest.raises(MessageError, match="value: not a valid node id"):
        NewLock.from_dict({"kind": "node", "value": "gate"})


def test_more_locks_than_there_can_be_are_refused() -> None:
    with pytest.raises(MessageError, match="locks: more than"):
        LockList.from_dict({"locks": [LOCK] * (limits.LOCKS_MAX + 1)})
