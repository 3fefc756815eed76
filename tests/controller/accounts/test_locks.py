"""A lock on a person: no sign-in, no certificate, no session; and as much as anybody else learns from the outside."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controller.accounts import what_to_say
from controller.accounts.records import SessionKind
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.secret import Secret
from tests.controller.harbour import ADMIN, PASSWORD, WEB, Device, Harbour, public_line

TEXT = 'lock targeting User:"alice" is in force: gone fishing'
UNIFORM = "invalid"
WRONG = Secret("insecure wrong password")


def lock(harbour: Harbour, **ttl: float) -> str:
    return harbour.locks.add("user", "alice", "gone fishing", timedelta(**ttl) if ttl else None, ADMIN).lock_id


def sign_in(harbour: Harbour, password: Secret[str], otp: Secret[str]) -> Refused:
    answer = harbour.accounts.sign_in("alice", password, otp, WEB)
    assert isinstance(answer, Refused)
    return answer


def test_a_locked_person_learns_of_the_lock_with_the_right_password_and_code_alone(harbour: Harbour) -> None:
    secret = harbour.person()
    lock(harbour)
    assert what_to_say(sign_in(harbour, WRONG, harbour.code(secret)), UNIFORM) == UNIFORM
    assert what_to_say(sign_in(harbour, PASSWORD, Secret("000000")), UNIFORM) == UNIFORM
    answer = sign_in(harbour, PASSWORD, harbour.code(secret))
    assert (answer.check, what_to_say(answer, UNIFORM)) == ("X1", TEXT)
    assert [entry["check"] for entry in harbour.entries("T1000W")] == ["S2", "S3", "X1"]


def test_a_code_that_met_a_lock_is_spent(harbour: Harbour) -> None:
    secret = harbour.person()
    lock_id = lock(harbour)
    assert sign_in(harbour, PASSWORD, harbour.code(secret)).check == "X1"
    harbour.locks.remove(lock_id, ADMIN)
    assert sign_in(harbour, PASSWORD, harbour.code(secret)).check == "S4"


def test_whoever_meets_a_lock_is_not_taken_for_somebody_who_guesses(harbour: Harbour) -> None:
    secret = harbour.person()
    lock(harbour)
    for _ in range(limits.SIGN_IN_FAILURES + 2):
        assert sign_in(harbour, PASSWORD, harbour.code(secret)).check == "X1"
        harbour.clock.now += limits.TOTP_PERIOD
    assert harbour.accounts.users.locked_until("alice") is None
    assert harbour.entries("SK001W") == []


def test_when_the_lock_is_over_the_person_signs_in_as_before(harbour: Harbour) -> None:
    secret = harbour.person()
    lock(harbour, hours=1)
    assert sign_in(harbour, PASSWORD, harbour.code(secret)).check == "X1"
    harbour.clock.move(hours=1)
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB), Granted)


@pytest.mark.parametrize("kind", ["web", "tsh"])
def test_a_session_is_no_more_while_its_person_is_locked(harbour: Harbour, kind: SessionKind) -> None:
    harbour.person()
    harbour.person("bob")
    token = harbour.session(kind, timedelta(hours=1))
    assert harbour.accounts.session(token) is not None
    assert harbour.accounts.lock_on_session(token) is None
    lock_id = lock(harbour)
    assert harbour.accounts.session(token) is None
    found = harbour.accounts.lock_on_session(token)
    assert found is not None
    assert found.lock_id == lock_id
    other = harbour.accounts.open_session(harbour.signed_in("bob"), kind, harbour.clock() + timedelta(hours=1), WEB)
    assert isinstance(other, Granted)
    assert harbour.accounts.session(other.value.reveal()) is not None


def test_who_holds_no_session_learns_of_no_lock(harbour: Harbour) -> None:
    harbour.person()
    token = harbour.session("tsh", timedelta(hours=1))
    lock(harbour)
    assert harbour.accounts.lock_on_session(token[:-1] + ("a" if token[-1] != "a" else "b")) is None
    harbour.clock.move(hours=1)
    assert harbour.accounts.lock_on_session(token) is None


def test_a_lock_put_on_during_a_sign_in_keeps_the_certificate_back(harbour: Harbour) -> None:
    harbour.person()
    signed_in = harbour.signed_in()
    lock(harbour)
    answer = harbour.accounts.issue_certificate(signed_in, public_line(Device().key), timedelta(hours=1), WEB)
    assert answer == Refused(TEXT, "X1")
    assert harbour.entries("TC000I") == []
    (entry,) = harbour.entries("T1000W")
    assert entry["check"] == "X1"
