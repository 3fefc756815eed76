from __future__ import annotations

from datetime import timedelta

import pytest

from controller.accounts.voided import COLLECTION, Voided
from protocol import limits
from protocol.control import PolicyDocument
from protocol.instants import to_milliseconds
from tests.controller.harbour import ADMIN, Harbour


def void(harbour: Harbour) -> dict[str, int]:
    """Return what nodes are told."""
    told = PolicyDocument.decode(harbour.control.policy().body).void_before
    return {str(name): before for name, before in told.items()}


@pytest.mark.parametrize("change", ["remove", "reset"])
def test_nodes_are_told_from_when_on_somebody_s_certificates_are_good_until_none_from_before_can_live(
    harbour: Harbour, change: str
) -> None:
    harbour.invite("alice")
    assert void(harbour) == {}
    harbour.clock.now = harbour.clock.now.replace(microsecond=900_000)
    if change == "remove":
        harbour.accounts.users.remove("alice", ADMIN)
    else:
        harbour.accounts.users.reset("alice", limits.INVITE_TTL, ADMIN)
    # What is issued in the rest of this second, to somebody of that name, is good.
    since = to_milliseconds(harbour.clock().replace(microsecond=0))
    assert void(harbour) == {"alice": since}
    harbour.clock.now += limits.USER_CERTIFICATE_MAX
    assert void(harbour) == {"alice": since}
    harbour.clock.now += limits.CLOCK_LEEWAY
    assert void(harbour) == {}


def test_the_last_of_two_counts(harbour: Harbour) -> None:
    harbour.invite("alice")
    harbour.accounts.users.reset("alice", limits.INVITE_TTL, ADMIN)
    harbour.clock.move(hours=1)
    harbour.accounts.users.remove("alice", ADMIN)
    assert void(harbour) == {"alice": to_milliseconds(harbour.clock())}


def test_of_more_than_nodes_can_be_told_the_latest_are(harbour: Harbour) -> None:
    voided = Voided(harbour.store, harbour.clock)
    now, expires = harbour.clock(), harbour.clock() + timedelta(hours=1)
    for number in range(limits.LOCKS_MAX + 1):
        value = {"before": to_milliseconds(now) + number}
        harbour.store.collection(COLLECTION).create(f"person-{number}", value, now=now, expires=expires)
    found = voided.current()
    assert len(found) == limits.LOCKS_MAX
    assert "person-0" not in found
