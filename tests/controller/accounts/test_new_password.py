from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.accounts import Incomplete
from controller.audit import AuditError
from protocol import limits
from protocol.control import PolicyDocument
from protocol.decision import Granted, Refused
from protocol.instants import to_milliseconds
from protocol.names import UserName
from protocol.secret import Secret
from tests.controller.harbour import ADMIN, PASSWORD, WEB, Harbour, public_line

ALICE = UserName("alice")
NEW = Secret("insecure new password")
WRONG = Secret("insecure wrong password")
Answer = Granted[None] | Refused | Incomplete


def change(harbour: Harbour, otp: Secret[str], old: Secret[str] = PASSWORD, keep: str = "") -> Answer:
    return harbour.accounts.change_password(ALICE, old, NEW, otp, keep, WEB)


def check(answer: object) -> str:
    assert isinstance(answer, Refused), answer
    return answer.check


def test_a_new_password_signs_in_and_the_old_one_does_not(harbour: Harbour) -> None:
    secret = harbour.person()
    assert change(harbour, harbour.code(secret)) == Granted(None)
    harbour.clock.now += limits.TOTP_PERIOD
    assert check(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB)) == "S2"
    assert isinstance(harbour.accounts.sign_in("alice", NEW, harbour.code(secret), WEB), Granted)
    user = harbour.accounts.users.get("alice")
    assert user is not None
    assert str(user.password_hash).startswith("$argon2id$")
    assert harbour.entries("T1005I")[-1]["user"] == "alice"


def test_this_sign_in_goes_on_and_every_other_one_ends(harbour: Harbour) -> None:
    secret = harbour.person()
    mine, browser = (harbour.session("web", timedelta(hours=1)) for _ in range(2))
    tsh = harbour.session("tsh", timedelta(hours=1))
    before = harbour.accounts.session(mine)
    assert isinstance(change(harbour, harbour.code(secret), keep=mine), Granted)
    after = harbour.accounts.session(mine)
    assert before is not None
    assert after is not None
    assert (after.csrf.reveal(), after.expires) == (before.csrf.reveal(), before.expires)
    assert harbour.accounts.session(browser) is None
    assert harbour.accounts.session(tsh) is None
    assert [view.is_current for view in harbour.accounts.sign_ins(ALICE, mine)] == [True]


def test_nobody_else_s_sign_in_is_carried_over(harbour: Harbour) -> None:
    secret = harbour.person()
    harbour.person("mallory")
    mallory = harbour.accounts.open_session(
        harbour.signed_in("mallory"), "web", harbour.clock() + timedelta(hours=1), WEB
    )
    assert isinstance(mallory, Granted)
    assert isinstance(change(harbour, harbour.code(secret), keep=mallory.value.reveal()), Granted)
    found = harbour.accounts.session(mallory.value.reveal())
    assert found is not None
    assert found.user == "mallory"


def test_certificates_from_before_are_void_at_the_controller_and_on_nodes_and_later_ones_are_good(
    harbour: Harbour,
) -> None:
    secret = harbour.person()
    harbour.clock.now = harbour.clock.now.replace(microsecond=700_000)
    issued = harbour.clock().replace(microsecond=0)  # in this very second
    assert isinstance(change(harbour, harbour.code(secret)), Granted)
    user = harbour.accounts.users.get("alice")
    assert user is not None
    assert issued < user.valid_from.replace(microsecond=0)  # what the proxy asks (P2)
    told = PolicyDocument.decode(harbour.control.policy().body).void_before
    assert told == {ALICE: to_milliseconds(user.valid_from)}
    key = public_line(Ed25519PrivateKey.generate())
    later = harbour.accounts.issue_certificate(harbour.signed_in(), key, timedelta(hours=1), WEB)
    assert isinstance(later, Granted)
    assert later.value.valid_until == user.valid_from + timedelta(hours=1)  # issued in the same second, and good


def test_each_failure_is_told_to_the_audit_log_alone(harbour: Harbour) -> None:
    secret = harbour.person()
    code = harbour.code(secret)
    assert check(change(harbour, code, WRONG)) == "S2"
    assert check(change(harbour, Secret("000"))) == "S3"
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, code, WEB), Granted)
    assert check(change(harbour, code)) == "S4"
    entries = harbour.entries("SK004W")
    assert [(entry["check"], entry["user"]) for entry in entries] == [("S2", "alice"), ("S3", "alice"), ("S4", "alice")]
    assert check(harbour.accounts.change_password(UserName("nobody"), PASSWORD, NEW, code, "", WEB)) == "H6"


@pytest.mark.parametrize(
    ("new", "words"), [("short", "too short"), ("a" * 200, "too long"), (PASSWORD.reveal(), "is the old one")]
)
def test_a_bad_new_password_is_told_to_the_person_and_spends_nothing(harbour: Harbour, new: str, words: str) -> None:
    secret = harbour.person()
    code = harbour.code(secret)
    answer = harbour.accounts.change_password(ALICE, PASSWORD, Secret(new), code, "", WEB)
    assert isinstance(answer, Incomplete)
    assert words in answer.problem
    assert answer.field == "new"
    assert isinstance(change(harbour, code), Granted)


def test_wrong_tries_count_with_those_at_sign_in_and_lock_both(harbour: Harbour) -> None:
    secret = harbour.person()
    for _ in range(2):
        harbour.accounts.sign_in("alice", WRONG, Secret("000"), WEB)
    for _ in range(limits.SIGN_IN_FAILURES - 2):
        assert check(change(harbour, harbour.code(secret), WRONG)) == "S2"
    assert check(change(harbour, harbour.code(secret))) == "S1"
    assert check(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB)) == "S1"
    assert len(harbour.entries("SK001W")) == 1
    harbour.clock.now += limits.SIGN_IN_LOCKOUT
    assert isinstance(change(harbour, harbour.code(secret)), Granted)


def test_of_those_who_use_one_code_at_once_one_changes_the_password(harbour: Harbour) -> None:
    secret = harbour.person()
    code = harbour.code(secret)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: change(harbour, code), range(4)))
    assert sum(isinstance(answer, Granted) for answer in answers) == 1


def test_a_sign_in_that_is_under_way_meanwhile_gets_nothing(harbour: Harbour) -> None:
    secret = harbour.person()
    signed_in = harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB)
    assert isinstance(signed_in, Granted)
    harbour.clock.now += limits.TOTP_PERIOD
    assert isinstance(change(harbour, harbour.code(secret)), Granted)
    opened = harbour.accounts.open_session(signed_in.value, "web", harbour.clock() + timedelta(hours=1), WEB)
    assert check(opened) == "C1"


def test_a_change_that_the_audit_log_cannot_be_told_of_is_not_made(harbour: Harbour) -> None:
    secret = harbour.person()
    before = harbour.accounts.users.get("alice")
    with harbour.unwritable_log(), pytest.raises(AuditError):
        change(harbour, harbour.code(secret))
    assert harbour.accounts.users.get("alice") == before


def test_somebody_who_was_reset_has_no_old_password_to_change(harbour: Harbour) -> None:
    secret = harbour.person()
    harbour.accounts.users.reset("alice", limits.RESET_TTL, ADMIN)
    assert check(change(harbour, harbour.code(secret))) == "S2"
