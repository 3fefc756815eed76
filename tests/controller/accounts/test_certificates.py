from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.accounts import IssuedCertificate
from protocol import limits
from protocol.access import AUDITOR
from protocol.certificates import judge_user_certificate
from protocol.decision import Granted, Refused
from protocol.names import UserName
from protocol.ssh.certificate import key_blob, parse_certificate_line
from tests.controller.harbour import ADMIN, WEB, Harbour, public_line

ALICE = UserName("alice")


def issue(harbour: Harbour, ttl: timedelta, line: str = "") -> Granted[IssuedCertificate] | Refused:
    key = line or public_line(Ed25519PrivateKey.generate())
    return harbour.accounts.issue_certificate(harbour.signed_in(), key, ttl, WEB)


def test_a_certificate_names_the_person_and_is_good_for_both_ends(harbour: Harbour) -> None:
    harbour.person("alice", ("pi", "root"))
    answer = issue(harbour, timedelta(hours=1))
    assert isinstance(answer, Granted)
    issued = answer.value
    authorities = {key_blob(line) for line in harbour.authority.ssh_authorities("user")}
    certificate = parse_certificate_line(issued.certificate)
    judged = judge_user_certificate(certificate, authorities=authorities, now=harbour.clock(), login="root")
    assert isinstance(judged, Granted)
    assert (judged.value.user, judged.value.logins) == (ALICE, ("pi", "root"))
    assert judged.value.valid_before == issued.valid_until == harbour.clock() + timedelta(hours=1)
    (entry,) = harbour.entries("cert.create")
    assert (entry["user"], entry["serial"]) == ("alice", str(certificate.serial))


def test_somebody_without_logins_gets_a_certificate_that_opens_no_device(harbour: Harbour) -> None:
    harbour.person("alice")
    harbour.accounts.users.update("alice", roles=(AUDITOR,), logins=(), origin=ADMIN)
    harbour.clock.move(seconds=1)
    answer = issue(harbour, timedelta(hours=1))
    assert isinstance(answer, Granted)
    assert answer.value.logins == ()
    certificate = parse_certificate_line(answer.value.certificate)
    assert certificate.principals == (f"-skerry-nologin-{certificate.serial}",)  # none at all is good for every login
    authorities = {key_blob(line) for line in harbour.authority.ssh_authorities("user")}
    for login, granted in ((None, True), ("root", False), (certificate.principals[0], False)):
        judged = judge_user_certificate(certificate, authorities=authorities, now=harbour.clock(), login=login)
        assert isinstance(judged, Granted) is granted


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (timedelta(days=9), limits.USER_CERTIFICATE_MAX),
        (timedelta(0), limits.USER_CERTIFICATE_MIN),
        (timedelta(hours=2), timedelta(hours=2)),
    ],
)
def test_the_lifetime_is_held_between_the_least_and_the_most(
    harbour: Harbour, asked: timedelta, given: timedelta
) -> None:
    harbour.person()
    answer = issue(harbour, asked)
    assert isinstance(answer, Granted)
    assert answer.value.valid_until == harbour.clock() + given


def test_other_good_keys_are_certified_too(harbour: Harbour) -> None:
    harbour.person()
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 3072)):
        assert isinstance(issue(harbour, timedelta(hours=1), public_line(key)), Granted)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("ssh-ed25519 AAAA", id="cut"),
        pytest.param("rubbish", id="rubbish"),
        pytest.param("ssh-dss AAAAB3NzaC1kc3MAAACBAP", id="DSA"),
        pytest.param("\ud800", id="half a pair"),
        pytest.param("x" * 16_000, id="long"),
    ],
)
def test_what_is_no_good_key_is_refused_and_nothing_is_issued(harbour: Harbour, line: str) -> None:
    harbour.person()
    answer = issue(harbour, timedelta(hours=1), line)
    assert isinstance(answer, Refused)
    assert answer.check == "C2"
    assert harbour.entries("cert.create") == []


def test_a_person_who_was_removed_after_signing_in_gets_no_certificate(harbour: Harbour) -> None:
    harbour.person()
    signed_in = harbour.signed_in()
    harbour.accounts.users.remove("alice", ADMIN)
    key = public_line(Ed25519PrivateKey.generate())
    answer = harbour.accounts.issue_certificate(signed_in, key, timedelta(hours=1), WEB)
    assert isinstance(answer, Refused)
    assert answer.check == "C1"
