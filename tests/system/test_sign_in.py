"""Signing in with the real `tsh`: what is refused, in which words, and how often anyone may guess."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.names import parse_user_name
from tests.harness.real_cluster import Person, RealCluster, link_in
from tests.harness.running_program import children_of, stopped
from tests.harness.simulated_authority import public_line
from tests.harness.web_visitor import Visitor

pytestmark = pytest.mark.system
REFUSED = b"ERROR: invalid username, password or second factor"
WRONG = "insecure wrong password"


def last_line(done: subprocess.CompletedProcess[bytes]) -> bytes:
    assert done.returncode == 1
    assert done.stdout == b""
    return done.stderr.splitlines()[-1]


def test_wrong_password_wrong_code_and_unknown_user_are_refused_in_the_same_line(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    stranger = Person("mallory", alice.home, secret=alice.secret)
    answers = [
        cluster.try_sign_in(alice, WRONG, alice.next_code()),
        cluster.try_sign_in(alice, alice.password, alice.wrong_code()),
        cluster.try_sign_in(stranger, WRONG, "123456"),
    ]
    assert {last_line(done) for done in answers} == {REFUSED}
    assert not (alice.home / ".tsh" / "127.0.0.1.json").exists()
    failed = cluster.events("T1000W")
    assert [(event["user"], event["check"]) for event in failed] == [
        ("alice", "S2"),
        ("alice", "S3"),
        ("mallory", "S2"),
    ]
    assert len({event["error"] for event in failed}) == 3
    assert {(event["success"], event["method"]) for event in failed} == {(False, "local")}


def test_code_is_good_for_one_sign_in(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    code = alice.next_code()
    assert cluster.try_sign_in(alice, alice.password, code).returncode == 0
    assert last_line(cluster.try_sign_in(alice, alice.password, code)) == REFUSED
    assert cluster.events("T1000W")[-1]["check"] == "S4"


def test_five_failures_counted_by_all_workers_lock_the_account_until_it_is_reset(cluster: RealCluster) -> None:
    alice, bob = cluster.add_user("alice"), cluster.add_user("bob")
    first, second = children_of(cluster.role_pid("web"))
    with stopped(first):
        for _ in range(3):
            assert last_line(cluster.try_sign_in(alice, WRONG, "000000")) == REFUSED
    with stopped(second):
        for _ in range(2):
            assert last_line(cluster.try_sign_in(alice, WRONG, "000000")) == REFUSED
        assert last_line(cluster.try_sign_in(alice, alice.password, alice.next_code())) == REFUSED
    with stopped(first):
        assert last_line(cluster.try_sign_in(alice, alice.password, alice.next_code())) == REFUSED
    assert [event["check"] for event in cluster.events("T1000W")] == ["S2"] * 5 + ["S1"] * 2
    locked = cluster.events("user.locked")
    assert [(event["user"], event["code"]) for event in locked] == [("alice", "SK001W")]
    assert "locked until" in cluster.tctl("users", "ls").stdout
    cluster.sign_in(bob)  # one account's lock is nobody else's
    link = link_in(cluster.tctl("users", "reset", "alice").stdout)
    assert cluster.accept(link, alice).status == 200
    cluster.sign_in(alice)
    assert "locked" not in cluster.tctl("users", "ls").stdout


def test_of_twenty_guesses_at_once_five_are_judged(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    request = {
        "user": parse_user_name("alice"),
        "otp": "000000",
        "public_key": public_line(Ed25519PrivateKey.generate()),
        "ttl_seconds": 3600,
        "client": "guesser",
    }
    url = f"https://{cluster.address('web')}/v1/sign-in"

    def guess(number: int) -> tuple[int, str]:
        page = Visitor(cluster.anchors).post_json(url, request | {"password": f"insecure guess {number}"})
        return page.status, page.text

    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(guess, range(20)))
    assert len(answers) == 1
    assert answers.pop()[0] == 401
    checks = [event["check"] for event in cluster.events("T1000W")]
    assert len(checks) == 20
    assert sorted(checks) == ["S1"] * 15 + ["S2"] * 5
    assert last_line(cluster.try_sign_in(alice, alice.password, alice.next_code())) == REFUSED


def test_certificate_lives_as_long_as_was_asked_for_and_no_longer_than_twelve_hours(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    assert "[valid for 2h0m0s]" in cluster.sign_in(alice, "--ttl=2h", f"--ca-pin={cluster.pin}")
    assert "[valid for 12h0m0s]" in cluster.sign_in(alice, "--ttl=48h", f"--ca-pin={cluster.pin}")
