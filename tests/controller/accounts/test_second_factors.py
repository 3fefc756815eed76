from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from controller.accounts import FactorView, Incomplete, NewFactor
from controller.audit import AuditError
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import UserName
from protocol.secret import Secret
from tests.controller.harbour import ADMIN, PASSWORD, WEB, Harbour

ALICE = UserName("alice")
NO_CODE = Secret("000")
Answer = Granted[FactorView] | Refused | Incomplete


def begin(harbour: Harbour, user: UserName = ALICE) -> NewFactor:
    begun = harbour.accounts.begin_factor(user)
    assert begun is not None
    return begun


def add(harbour: Harbour, begun: NewFactor, approval: Secret[str], name: str = "tablet") -> Answer:
    otp = harbour.code(begun.secret)
    return harbour.accounts.add_factor(ALICE, begun.handle, name, otp, WEB, approval=approval)


def second(harbour: Harbour, secret: Secret[str], name: str = "tablet") -> tuple[str, Secret[str]]:
    """Add an app; return its id and secret, with the codes of this half minute behind us."""
    begun = begin(harbour)
    answer = add(harbour, begun, harbour.code(secret), name)
    assert isinstance(answer, Granted), answer
    harbour.clock.now += limits.TOTP_PERIOD
    return answer.value.factor_id, begun.secret


def names(harbour: Harbour) -> list[str]:
    return [factor.name for factor in harbour.accounts.factors(ALICE)]


def check(answer: object) -> str:
    assert isinstance(answer, Refused), answer
    return answer.check


def test_an_app_is_added_with_its_own_code_and_one_of_an_app_that_is_there_and_then_either_signs_in(
    harbour: Harbour,
) -> None:
    secret = harbour.person()
    factor_id, other = second(harbour, secret)
    assert names(harbour) == ["authenticator", "tablet"]
    for each in (secret, other):
        assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(each), WEB), Granted)
    entry = harbour.entries("T1006I")[-1]
    assert (entry["user"], entry["mfa_device_name"], entry["mfa_device_uuid"]) == ("alice", "tablet", factor_id)
    assert entry["mfa_device_type"] == "TOTP"


def test_nothing_is_kept_of_an_app_before_it_is_added_and_its_secret_never_in_the_clear(harbour: Harbour) -> None:
    secret = harbour.person()
    kept = {path: path.read_bytes() for path in harbour.folder.rglob("*") if path.is_file()}
    begun = begin(harbour)
    assert {path: path.read_bytes() for path in harbour.folder.rglob("*") if path.is_file()} == kept
    assert isinstance(add(harbour, begun, harbour.code(secret)), Granted)
    after = [path.read_bytes() for path in harbour.folder.rglob("*") if path.is_file()]
    assert not any(begun.secret.reveal().encode() in data for data in after)


def test_what_was_begun_is_shown_again_with_its_handle(harbour: Harbour) -> None:
    harbour.person()
    begun = begin(harbour)
    again = harbour.accounts.show_factor(ALICE, begun.handle)
    assert again is not None
    assert (again.secret.reveal(), again.uri.reveal()) == (begun.secret.reveal(), begun.uri.reveal())
    assert begun.uri.reveal().startswith("otpauth://totp/")
    harbour.clock.now += limits.FACTOR_SETUP_TTL
    assert harbour.accounts.show_factor(ALICE, begun.handle) is None


def test_each_code_is_spent_once_for_each_app(harbour: Harbour) -> None:
    secret = harbour.person()
    begun, code = begin(harbour), harbour.code(secret)
    assert isinstance(add(harbour, begun, code), Granted)
    # What was typed to add it signs nobody in: neither the approval nor the new app's own.
    assert check(harbour.accounts.sign_in("alice", PASSWORD, code, WEB)) == "S4"
    assert check(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(begun.secret), WEB)) == "S4"
    harbour.clock.now += limits.TOTP_PERIOD
    for each in (secret, begun.secret):
        assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(each), WEB), Granted)
        assert check(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(each), WEB)) == "S4"


def test_being_signed_in_is_not_enough_and_the_new_app_does_not_approve_of_itself(harbour: Harbour) -> None:
    harbour.person()
    begun = begin(harbour)
    assert check(add(harbour, begun, NO_CODE)) == "S3"
    assert check(add(harbour, begun, harbour.code(begun.secret))) == "S3"
    assert names(harbour) == ["authenticator"]
    assert [(entry["check"], entry["mfa_device_name"]) for entry in harbour.entries("SK005W")] == [("S3", "tablet")] * 2


def test_a_slip_with_the_new_app_s_code_costs_no_approval(harbour: Harbour) -> None:
    secret = harbour.person()
    begun, approval = begin(harbour), harbour.code(secret)
    answer = harbour.accounts.add_factor(ALICE, begun.handle, "tablet", NO_CODE, WEB, approval=approval)
    assert isinstance(answer, Incomplete)
    assert answer.field == "otp"
    assert isinstance(add(harbour, begun, approval), Granted)


def test_the_same_one_added_twice_is_there_once(harbour: Harbour) -> None:
    secret = harbour.person()
    begun, approval = begin(harbour), harbour.code(secret)
    first, again = (add(harbour, begun, approval) for _ in range(2))
    assert isinstance(first, Granted)
    assert isinstance(again, Granted)
    assert names(harbour) == ["authenticator", "tablet"]
    assert len(harbour.entries("T1006I")) == 2  # the invite's, and this one


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "two\nlines", "\u202etelbat", "\ud800"])
def test_what_is_no_name_is_told_to_the_person(harbour: Harbour, name: str) -> None:
    secret = harbour.person()
    answer = add(harbour, begin(harbour), harbour.code(secret), name)
    assert isinstance(answer, Incomplete)
    assert answer.field == "name"
    assert names(harbour) == ["authenticator"]


def test_two_apps_cannot_have_one_name(harbour: Harbour) -> None:
    secret = harbour.person()
    answer = add(harbour, begin(harbour), harbour.code(secret), "Authenticator")
    assert isinstance(answer, Incomplete)
    assert (answer.field, "of that name" in answer.problem) == ("name", True)


def test_a_person_may_have_so_many_and_not_one_more(harbour: Harbour) -> None:
    secret = harbour.person()
    for number in range(limits.FACTORS_PER_USER - 1):
        second(harbour, secret, f"app {number}")
    answer = add(harbour, begin(harbour), harbour.code(secret), "one more")
    assert isinstance(answer, Incomplete)
    assert "which is the most" in answer.problem
    assert len(names(harbour)) == limits.FACTORS_PER_USER


def test_a_handle_is_good_for_its_person_and_until_a_reset_and_not_for_ever(harbour: Harbour) -> None:
    secret = harbour.person()
    harbour.person("mallory")
    harbour.clock.now += limits.TOTP_PERIOD
    for begun in (begin(harbour, UserName("mallory")), NewFactor(Secret("v1:AAAA"), secret, secret, harbour.clock())):
        assert isinstance(add(harbour, begun, harbour.code(secret)), Incomplete)
    begun = begin(harbour)
    harbour.clock.now += limits.FACTOR_SETUP_TTL
    assert isinstance(add(harbour, begun, harbour.code(secret)), Incomplete)
    begun = begin(harbour)
    fresh = harbour.settle(harbour.accounts.users.reset("alice", limits.RESET_TTL, ADMIN).token.reveal())
    assert isinstance(add(harbour, begun, harbour.code(fresh)), Incomplete)
    assert names(harbour) == ["authenticator"]


@pytest.mark.parametrize("whose", ["the one that goes", "the one that stays"])
def test_an_app_is_removed_with_a_code_of_any_and_signs_nobody_in_any_more(harbour: Harbour, whose: str) -> None:
    secret = harbour.person()
    factor_id, other = second(harbour, secret)
    code = harbour.code(other if whose == "the one that goes" else secret)
    assert isinstance(harbour.accounts.remove_factor(ALICE, factor_id, code, WEB), Granted)
    harbour.clock.now += limits.TOTP_PERIOD
    assert check(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(other), WEB)) == "S3"
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB), Granted)
    (entry,) = harbour.entries("T1007I")
    assert (entry["mfa_device_name"], entry["mfa_device_uuid"]) == ("tablet", factor_id)


def test_the_last_one_cannot_go(harbour: Harbour) -> None:
    secret = harbour.person()
    (only,) = harbour.accounts.factors(ALICE)
    answer = harbour.accounts.remove_factor(ALICE, only.factor_id, harbour.code(secret), WEB)
    assert isinstance(answer, Incomplete)
    assert "only second factor" in answer.problem
    assert names(harbour) == ["authenticator"]


def test_two_removals_of_the_last_two_at_once_leave_one(harbour: Harbour) -> None:
    secret = harbour.person()
    factor_id, other = second(harbour, secret)
    first = harbour.accounts.factors(ALICE)[0].factor_id
    codes = {first: harbour.code(secret), factor_id: harbour.code(other)}
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(lambda each: harbour.accounts.remove_factor(ALICE, each, codes[each], WEB), (first, factor_id))
        )
    assert sorted(type(answer).__name__ for answer in answers) == ["Granted", "Incomplete"]
    assert len(harbour.accounts.factors(ALICE)) == 1
    assert len(harbour.entries("T1007I")) == 1


def test_of_those_who_use_one_code_at_once_one_removes(harbour: Harbour) -> None:
    secret = harbour.person()
    ids = [second(harbour, secret, f"app {number}")[0] for number in range(3)]
    code = harbour.code(secret)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda each: harbour.accounts.remove_factor(ALICE, each, code, WEB), ids))
    assert sorted(check(answer) for answer in answers if not isinstance(answer, Granted)) == ["S4", "S4"]
    assert len(harbour.accounts.factors(ALICE)) == 3


def test_one_that_is_not_there_is_said_to_be_so_and_costs_no_code(harbour: Harbour) -> None:
    secret = harbour.person()
    second(harbour, secret)
    code = harbour.code(secret)
    assert check(harbour.accounts.remove_factor(ALICE, "0" * 8, code, WEB)) == "H4"
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, code, WEB), Granted)
    assert check(harbour.accounts.remove_factor(UserName("nobody"), "0" * 8, code, WEB)) == "H6"


def test_a_code_alone_never_clears_the_count_of_wrong_passwords(harbour: Harbour) -> None:
    secret = harbour.person()
    for number in range(limits.SIGN_IN_FAILURES - 1):
        harbour.accounts.sign_in("alice", Secret("insecure wrong password"), NO_CODE, WEB)
        second(harbour, secret, f"app {number}")
    harbour.accounts.sign_in("alice", Secret("insecure wrong password"), NO_CODE, WEB)
    assert check(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB)) == "S1"


def test_wrong_codes_lock_the_account(harbour: Harbour) -> None:
    secret = harbour.person()
    factor_id, _ = second(harbour, secret)
    for _ in range(limits.SIGN_IN_FAILURES):
        assert check(harbour.accounts.remove_factor(ALICE, factor_id, NO_CODE, WEB)) == "S3"
    assert check(harbour.accounts.remove_factor(ALICE, factor_id, harbour.code(secret), WEB)) == "S1"
    assert [entry["check"] for entry in harbour.entries("SK008W")] == ["S3"] * limits.SIGN_IN_FAILURES + ["S1"]


def test_a_change_that_the_audit_log_cannot_be_told_of_is_not_made(harbour: Harbour) -> None:
    secret = harbour.person()
    factor_id, _ = second(harbour, secret)
    before = harbour.accounts.users.get("alice")
    with harbour.unwritable_log(), pytest.raises(AuditError):
        add(harbour, begin(harbour), harbour.code(secret), "third")
    harbour.clock.now += limits.TOTP_PERIOD
    with harbour.unwritable_log(), pytest.raises(AuditError):
        harbour.accounts.remove_factor(ALICE, factor_id, harbour.code(secret), WEB)
    assert harbour.accounts.users.get("alice") == before
