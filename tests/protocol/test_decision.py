from __future__ import annotations

import dataclasses

import pytest

from protocol.decision import Granted, Refused


def test_a_decision_is_a_value_that_nobody_changes() -> None:
    granted, refused = Granted(7), Refused("too late", "K3")
    assert granted == Granted(7)
    assert refused == Refused("too late", "K3")
    assert Refused("too late").check == ""
    with pytest.raises(dataclasses.FrozenInstanceError):
        refused.reason = "early"  # type: ignore[misc]  # what is tried
