from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from controller.accounts import Incomplete
from controller.audit import AuditError
from controller.store.interface import StoreError
from controller.store.tiny import TinyStore
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.secret import Secret
from tests.controller.harbour import ADMIN, PASSWORD, WEB, HandClock, Harbour


def test_a_link_shows_who_it_is_for_and_a_secret_that_stays_the_same_until_it_is_spent(harbour: Harbour) -> None:
    token = harbour.invite()
    first, second = harbour.accounts.open_invite(token, WEB), harbour.accounts.open_invite(token, WEB)
    assert isinstance(first, Granted)
    assert isinstance(second, Granted)
    invitation = first.value
    assert (invitation.user, invitation.kind) == ("alice", "invite")
    assert invitation.expires == harbour.clock() + limits.INVITE_TTL
    assert invitation.secret.reveal() == second.value.secret.reveal()
    uri = urlsplit(invitation.uri.reveal())
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    asked = parse_qs(uri.query)
    assert asked["secret"] == [invitation.secret.reveal()]
    assert asked["issuer"] == ["Skerry harbour"]
    assert "alice" in uri.path


def test_the_secret_and_the_token_show_themselves_nowhere(harbour: Harbour) -> None:
    token = harbour.invite()
    opened = harbour.accounts.open_invite(token, WEB)
    assert isinstance(opened, Granted)
    assert opened.value.secret.reveal() not in repr(opened)
    kept = [path.read_text() for path in harbour.folder.rglob("*") if path.is_file()]
    assert not any(token in text or opened.value.secret.reveal() in text for text in kept)


def test_completing_a_link_sets_password_and_factor_and_spends_it(harbour: Harbour) -> None:
    token = harbour.invite()
    harbour.settle(token)
    user = harbour.accounts.users.get("alice")
    assert user is not None
    assert user.password_hash is not None
    assert user.password_hash.startswith("$argon2id$")
    assert len(user.factors) == 1
    again = harbour.accounts.open_invite(token, WEB)
    assert isinstance(again, Refused)
    assert [entry["code"] for entry in harbour.entries("T1005I", "T1006I")] == ["T1005I", "T1006I"]


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        pytest.param("short", "too short", id="short"),
        pytest.param("a" * 129, "too long", id="long"),
        pytest.param("z" * 20, "over and over", id="one letter"),
    ],
)
def test_a_bad_password_is_told_and_spends_nothing(harbour: Harbour, password: str, problem: str) -> None:
    token = harbour.invite()
    secret = harbour.secret_of(token)
    answer = harbour.accounts.complete_invite(token, Secret(password), harbour.code(secret), WEB)
    assert isinstance(answer, Incomplete)
    assert problem in answer.problem
    harbour.settle(token)


def test_a_wrong_code_is_told_and_spends_nothing(harbour: Harbour) -> None:
    token = harbour.invite()
    secret = harbour.secret_of(token)
    answer = harbour.accounts.complete_invite(token, PASSWORD, harbour.code(secret, 5), WEB)
    assert isinstance(answer, Incomplete)
    assert "six digits" in answer.problem
    harbour.settle(token)


def test_spent_expired_withdrawn_unknown_and_malformed_links_are_refused_and_audited(harbour: Harbour) -> None:
    spent, expired, withdrawn = harbour.invite("one"), harbour.invite("two"), harbour.invite("three")
    harbour.settle(spent)
    harbour.accounts.users.remove("three", ADMIN)
    harbour.clock.now += limits.INVITE_TTL
    for token in (spent, expired, withdrawn, "0" * 32, "", "../../x", "a" * 5000):
        for answer in (
            harbour.accounts.open_invite(token, WEB),
            harbour.accounts.complete_invite(token, PASSWORD, Secret("123456"), WEB),
        ):
            assert isinstance(answer, Refused)
            assert answer.check == "I1"
    assert len(harbour.entries("SK003W")) == 14


def test_a_link_is_good_until_its_last_second(harbour: Harbour) -> None:
    token = harbour.invite()
    harbour.clock.now += limits.INVITE_TTL - timedelta(seconds=1)
    assert isinstance(harbour.accounts.open_invite(token, WEB), Granted)


def test_of_many_who_complete_one_link_at_once_exactly_one_does(harbour: Harbour) -> None:
    token = harbour.invite()
    code = harbour.code(harbour.secret_of(token))

    def complete(number: int) -> bool:
        password = Secret(f"insecure password {number}")
        return isinstance(harbour.accounts.complete_invite(token, password, code, WEB), Granted)

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(complete, range(6)))
    assert sum(won) == 1
    harbour.clock.now += limits.TOTP_PERIOD
    user = harbour.accounts.users.get("alice")
    assert user is not None
    assert len(user.factors) == 1
    assert len(harbour.entries("T1006I")) == 1


def test_a_reset_voids_older_links_and_the_newest_counts(harbour: Harbour) -> None:
    first = harbour.invite()
    second = harbour.accounts.users.reset("alice", limits.RESET_TTL, ADMIN).token.reveal()
    third = harbour.accounts.users.reset("alice", limits.RESET_TTL, ADMIN).token.reveal()
    for old in (first, second):
        assert isinstance(harbour.accounts.open_invite(old, WEB), Refused)
    opened = harbour.accounts.open_invite(third, WEB)
    assert isinstance(opened, Granted)
    assert opened.value.kind == "reset"


def test_a_link_of_a_user_made_anew_under_the_same_name_does_not_open_the_new_account(harbour: Harbour) -> None:
    old = harbour.invite()
    harbour.accounts.users.remove("alice", ADMIN)
    harbour.invite("alice")
    assert isinstance(harbour.accounts.open_invite(old, WEB), Refused)


def test_a_link_that_the_audit_log_cannot_be_told_of_is_not_spent(harbour: Harbour) -> None:
    token = harbour.invite()
    before, code = harbour.accounts.users.get("alice"), harbour.code(harbour.secret_of(token))
    with harbour.unwritable_log(), pytest.raises(AuditError):
        harbour.accounts.complete_invite(token, PASSWORD, code, WEB)
    assert harbour.accounts.users.get("alice") == before
    harbour.settle(token)


def test_a_link_that_a_full_disk_keeps_from_being_completed_can_be_completed_later(tmp_path: Path) -> None:
    harbour = Harbour(TinyStore(tmp_path / "store"), tmp_path, HandClock())
    token = harbour.invite()
    code = harbour.code(harbour.secret_of(token))
    in_the_way = tmp_path / "store" / "users.json.tmp"
    in_the_way.mkdir()  # the users cannot be written, all else can
    with pytest.raises(StoreError):
        harbour.accounts.complete_invite(token, PASSWORD, code, WEB)
    in_the_way.rmdir()
    harbour.settle(token)


def test_a_link_whose_completion_crashed_before_it_was_dropped_is_spent_all_the_same(harbour: Harbour) -> None:
    token = harbour.invite()
    invites = harbour.store.collection("invites")
    (kept,) = invites.list(now=harbour.clock())
    secret = harbour.settle(token)
    invites.create(kept.key, kept.value, now=harbour.clock(), expires=kept.expires)
    done = harbour.accounts.users.get("alice")
    for answer in (
        harbour.accounts.open_invite(token, WEB),
        harbour.accounts.complete_invite(token, PASSWORD, harbour.code(secret), WEB),
    ):
        assert isinstance(answer, Refused)
        assert answer.check == "I1"
    assert harbour.accounts.users.get("alice") == done
