from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import parse_user_name
from protocol.secret import Secret
from tests.controller.harbour import ADMIN, PASSWORD, WEB, Harbour, public_line

WRONG = Secret("insecure wrong password")
NO_CODE = Secret("000")


def refused(harbour: Harbour, name: str, password: Secret[str], otp: Secret[str]) -> Refused:
    answer = harbour.accounts.sign_in(name, password, otp, WEB)
    assert isinstance(answer, Refused), answer
    return answer


def lock(harbour: Harbour, name: str = "alice") -> None:
    for _ in range(limits.SIGN_IN_FAILURES):
        refused(harbour, name, WRONG, NO_CODE)


def test_password_and_code_sign_a_person_in_and_the_audit_log_says_so(harbour: Harbour) -> None:
    secret = harbour.person()
    assert harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB) == Granted(harbour.signed_in())
    (entry,) = harbour.entries("T1000I")
    assert {key: entry[key] for key in ("user", "success", "method", "addr.remote", "client", "via")} == {
        "user": "alice",
        "success": True,
        "method": "local",
        "addr.remote": "192.0.2.7:1234",
        "client": "Mozilla",
        "via": "web",
    }


def test_each_failure_has_its_reason_in_the_audit_log_alone(harbour: Harbour) -> None:
    secret = harbour.person()
    harbour.invite("bob")
    assert refused(harbour, "alice", WRONG, harbour.code(secret)).check == "S2"
    assert refused(harbour, "alice", PASSWORD, Secret("123")).check == "S3"
    assert refused(harbour, "nobody", PASSWORD, NO_CODE).check == "S2"
    assert refused(harbour, "../etc", PASSWORD, NO_CODE).check == "S2"
    assert refused(harbour, "bob", PASSWORD, NO_CODE).reason == "no password set yet"
    entries = harbour.entries("T1000W")
    assert [entry["error"] for entry in entries] == [
        "wrong password",
        "wrong one-time code",
        "no such user",
        "no such user",
        "no password set yet",
    ]


def test_a_code_is_accepted_once(harbour: Harbour) -> None:
    secret = harbour.person()
    code = harbour.code(secret)
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, code, WEB), Granted)
    assert refused(harbour, "alice", PASSWORD, code).check == "S4"


def test_the_code_that_completed_the_invite_signs_nobody_in(harbour: Harbour) -> None:
    token = harbour.invite()
    secret = harbour.secret_of(token)
    code = harbour.code(secret)
    assert isinstance(harbour.accounts.complete_invite(token, PASSWORD, code, WEB), Granted)
    assert refused(harbour, "alice", PASSWORD, code).check == "S4"


def test_neighbouring_codes_are_taken_and_others_are_not(harbour: Harbour) -> None:
    secret = harbour.person()
    for steps in (-limits.TOTP_SKEW_STEPS - 1, limits.TOTP_SKEW_STEPS + 1):
        assert refused(harbour, "alice", PASSWORD, harbour.code(secret, steps)).check == "S3"
    harbour.clock.move(hours=1)
    for steps in (-limits.TOTP_SKEW_STEPS, 0, limits.TOTP_SKEW_STEPS):
        assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret, steps), WEB), Granted)


def test_a_spent_code_is_remembered_for_as_long_as_any_clock_could_take_it(harbour: Harbour) -> None:
    secret = harbour.person()
    code = harbour.code(secret, limits.TOTP_SKEW_STEPS)
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, code, WEB), Granted)
    for _ in range(2 * limits.TOTP_SKEW_STEPS + 1):
        assert refused(harbour, "alice", PASSWORD, code).check == "S4"
        harbour.clock.now += limits.TOTP_PERIOD
    assert refused(harbour, "alice", PASSWORD, code).check == "S3"


def test_a_code_may_be_typed_with_spaces(harbour: Harbour) -> None:
    secret = harbour.person()
    digits = harbour.code(secret).reveal()
    spaced = Secret(f" {digits[:3]} {digits[3:]} ")
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, spaced, WEB), Granted)


@pytest.mark.parametrize("otp", ["", "١٢٣٤٥٦", "12345", "1234567", "12345a", "\ud800", "½½½½½½"])
def test_what_is_no_code_is_refused_and_breaks_nothing(harbour: Harbour, otp: str) -> None:
    harbour.person()
    assert refused(harbour, "alice", PASSWORD, Secret(otp)).check == "S3"


@pytest.mark.parametrize("password", ["", "\ud800 half a pair", "a" * 10_000, "\0" * 20])
def test_what_is_no_password_is_refused_and_breaks_nothing(harbour: Harbour, password: str) -> None:
    secret = harbour.person()
    assert refused(harbour, "alice", Secret(password), harbour.code(secret)).check == "S2"
    assert refused(harbour, "nobody", Secret(password), harbour.code(secret)).check == "S2"


def test_one_password_in_two_unicode_forms_is_one_password(harbour: Harbour) -> None:
    token = harbour.invite()
    secret = harbour.secret_of(token)
    composed, decomposed = Secret("caf\u00e9 au lait noir"), Secret("cafe\u0301 au lait noir")
    assert isinstance(harbour.accounts.complete_invite(token, composed, harbour.code(secret), WEB), Granted)
    harbour.clock.now += limits.TOTP_PERIOD
    assert isinstance(harbour.accounts.sign_in("alice", decomposed, harbour.code(secret), WEB), Granted)


def test_five_failures_lock_the_account_for_twenty_minutes_against_the_right_password_too(harbour: Harbour) -> None:
    secret = harbour.person()
    lock(harbour)
    assert refused(harbour, "alice", PASSWORD, harbour.code(secret)).check == "S1"
    assert harbour.accounts.users.locked_until("alice") == harbour.clock() + limits.SIGN_IN_LOCKOUT
    harbour.clock.now += limits.SIGN_IN_LOCKOUT - timedelta(seconds=1)
    assert refused(harbour, "alice", PASSWORD, harbour.code(secret)).check == "S1"
    harbour.clock.move(seconds=1)
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB), Granted)
    assert len(harbour.entries("SK001W")) == 1


def test_a_success_on_the_fifth_try_clears_the_count_and_no_lock_is_reported(harbour: Harbour) -> None:
    secret = harbour.person()
    for _ in range(2):
        for _ in range(limits.SIGN_IN_FAILURES - 1):
            refused(harbour, "alice", WRONG, NO_CODE)
        assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB), Granted)
        harbour.clock.now += limits.TOTP_PERIOD
    assert harbour.entries("SK001W") == []
    assert harbour.accounts.users.locked_until("alice") is None


def test_a_wrong_code_counts_as_a_wrong_password_does(harbour: Harbour) -> None:
    secret = harbour.person()
    for _ in range(limits.SIGN_IN_FAILURES):
        refused(harbour, "alice", PASSWORD, NO_CODE)
    assert refused(harbour, "alice", PASSWORD, harbour.code(secret)).check == "S1"


def test_names_that_belong_to_nobody_are_locked_the_same_way_and_lock_nobody_else(harbour: Harbour) -> None:
    secret = harbour.person()
    lock(harbour, "nobody")
    assert refused(harbour, "nobody", PASSWORD, NO_CODE).check == "S1"
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB), Granted)
    assert [entry["user"] for entry in harbour.entries("SK001W")] == ["nobody"]


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_every_try_is_one_write_of_the_count_and_one_event_whether_locked_or_not_and_whoever_it_is(
    harbour: Harbour, name: str
) -> None:
    harbour.person()
    attempts = harbour.store.collection("attempts")
    ends = set()
    for tries in range(1, limits.SIGN_IN_FAILURES + 4):
        refused(harbour, name, WRONG, NO_CODE)
        (record,) = attempts.list(now=harbour.clock())
        assert record.revision == tries
        assert len(harbour.entries("T1000W")) == tries
        ends.add(record.expires)
    assert ends == {harbour.clock() + limits.SIGN_IN_LOCKOUT}
    assert len(harbour.entries("SK001W")) == 1


def test_nobody_outside_can_tell_which_strangers_share_a_count(harbour: Harbour) -> None:
    names = [f"nobody-{number}" for number in range(8)]
    plain = {f"? {int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], 'big') % 1024}" for name in names}
    for name in names:
        refused(harbour, name, WRONG, NO_CODE)
    kept = {record.key for record in harbour.store.collection("attempts").list(now=harbour.clock())}
    assert len(kept) == len(names)
    assert kept != plain


def test_a_reset_by_the_admin_lifts_the_lock(harbour: Harbour) -> None:
    harbour.person()
    lock(harbour)
    link = harbour.accounts.users.reset("alice", limits.RESET_TTL, ADMIN)
    secret = harbour.settle(link.token.reveal())
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB), Granted)


def test_twenty_guesses_at_once_get_five_tries_between_them(harbour: Harbour) -> None:
    harbour.person()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: refused(harbour, "alice", WRONG, NO_CODE).check, range(20)))
    assert sorted(answers) == ["S1"] * 15 + ["S2"] * 5
    assert len(harbour.entries("T1000W")) == 20


def test_of_ten_that_use_one_code_at_once_one_is_signed_in(harbour: Harbour) -> None:
    secret = harbour.person()
    code = harbour.code(secret)

    def try_it(_number: int) -> bool:
        return isinstance(harbour.accounts.sign_in("alice", PASSWORD, code, WEB), Granted)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(try_it, range(4))) == 1


def test_a_wrong_password_a_wrong_code_and_an_unknown_user_cost_about_the_same_time(harbour: Harbour) -> None:
    harbour.person()

    def least(name: str, password: Secret[str]) -> float:
        times = []
        for _ in range(7):
            harbour.clock.move(hours=1)  # no lock
            began = time.process_time()  # the processor's time: what else this machine does is not counted
            refused(harbour, name, password, NO_CODE)
            times.append(time.process_time() - began)
        return min(times)

    known, right, unknown = least("alice", WRONG), least("alice", PASSWORD), least("nobody", WRONG)
    assert 0.3 < unknown / known < 3
    assert 0.3 < unknown / right < 3


def test_a_user_that_is_removed_and_made_anew_has_no_password_of_before(harbour: Harbour) -> None:
    secret = harbour.person()
    harbour.accounts.users.remove("alice", ADMIN)
    assert refused(harbour, "alice", PASSWORD, harbour.code(secret)).reason == "no such user"
    harbour.invite("alice")
    assert refused(harbour, parse_user_name("alice"), PASSWORD, harbour.code(secret)).reason == "no password set yet"


@pytest.mark.parametrize("change", ["reset", "remove and add"])
def test_a_sign_in_that_is_under_way_when_the_admin_resets_or_replaces_the_user_gets_nothing(
    harbour: Harbour, change: str
) -> None:
    secret = harbour.person()
    signed_in = harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB)
    assert isinstance(signed_in, Granted)
    opened = harbour.session("web", limits.WEB_SESSION_MAX)
    harbour.clock.move(seconds=1)
    if change == "reset":
        harbour.accounts.users.reset("alice", limits.RESET_TTL, ADMIN)
    else:
        harbour.accounts.users.remove("alice", ADMIN)
        harbour.person()
    key = public_line(Ed25519PrivateKey.generate())
    end = harbour.clock() + limits.WEB_SESSION_MAX
    for answer in (
        harbour.accounts.issue_certificate(signed_in.value, key, limits.USER_CERTIFICATE_MAX, WEB),
        harbour.accounts.open_session(signed_in.value, "tsh", end, WEB),
    ):
        assert isinstance(answer, Refused)
        assert answer.check == "C1"
    assert harbour.accounts.session(opened) is None
    assert harbour.entries("cert.create") == []
    assert [entry["check"] for entry in harbour.entries("T1000W")] == ["C1", "C1"]


def test_a_name_of_any_length_is_cut_in_the_audit_log(harbour: Harbour) -> None:
    refused(harbour, "x" * 10_000, WRONG, NO_CODE)
    assert len(harbour.entries("T1000W")[0]["user"]) == 64
