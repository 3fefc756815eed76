from __future__ import annotations

from datetime import timedelta

import pytest

from controller.accounts import UserError
from controller.accounts.users import check_ttl
from controller.audit import AuditError
from protocol import limits
from protocol.access import ACCESS, AUDITOR
from protocol.decision import Granted
from protocol.names import parse_login, parse_user_name
from tests.controller.harbour import ADMIN, PASSWORD, WEB, Harbour


def test_a_new_user_has_the_preset_role_and_the_logins_given_and_is_audited(harbour: Harbour) -> None:
    harbour.invite("alice", ("root", "pi"))
    user = harbour.accounts.users.get("alice")
    assert user is not None
    assert (user.user, user.roles, user.logins, user.password_hash) == ("alice", (ACCESS,), ("root", "pi"), None)
    (entry,) = harbour.entries("user.create")
    assert (entry["user"], entry["name"], entry["logins"], entry["via"]) == ("root", "alice", ["root", "pi"], "tctl")


def test_a_new_user_may_be_given_other_roles(harbour: Harbour) -> None:
    name, logins = parse_user_name("alice"), (parse_login("pi"),)
    harbour.accounts.users.add(name, logins, limits.INVITE_TTL, ADMIN, (AUDITOR, ACCESS))
    user = harbour.accounts.users.get("alice")
    assert user is not None
    assert user.roles == (AUDITOR, ACCESS)
    assert harbour.entries("user.create")[0]["roles"] == ["auditor", "access"]


def test_a_name_that_is_taken_is_refused_with_what_to_do(harbour: Harbour) -> None:
    harbour.invite("alice")
    with pytest.raises(UserError, match=r"user\(alice\) already registered: `tctl users reset alice`"):
        harbour.invite("alice")
    assert len(harbour.entries("user.create")) == 1


def test_users_are_listed_by_name(harbour: Harbour) -> None:
    for name in ("bob", "alice", "carol"):
        harbour.invite(name)
    assert [user.name for user in harbour.accounts.users.list()] == ["alice", "bob", "carol"]
    assert harbour.accounts.users.get("dave") is None


def test_removing_a_user_voids_sessions_and_links_at_once(harbour: Harbour) -> None:
    harbour.person()
    token = harbour.session("tsh", timedelta(hours=1))
    harbour.accounts.users.remove("alice", ADMIN)
    assert harbour.accounts.session(token) is None
    assert harbour.accounts.users.get("alice") is None
    assert harbour.entries("user.delete")[0]["name"] == "alice"


@pytest.mark.parametrize("change", ["remove", "reset"])
def test_a_user_who_does_not_exist_cannot_be_changed(harbour: Harbour, change: str) -> None:
    users = harbour.accounts.users
    with pytest.raises(UserError, match=r'user "nobody" not found: `tctl users ls` lists them'):
        users.remove("nobody", ADMIN) if change == "remove" else users.reset("nobody", limits.RESET_TTL, ADMIN)
    assert harbour.entries("user.delete", "reset_password_token.create") == []


def test_a_reset_voids_password_factors_and_sessions_and_says_how_long_the_link_lives(harbour: Harbour) -> None:
    harbour.person()
    session = harbour.session("web", timedelta(hours=1))
    harbour.clock.move(seconds=1)
    link = harbour.accounts.users.reset("alice", limits.RESET_TTL, ADMIN)
    user = harbour.accounts.users.get("alice")
    assert user is not None
    assert (user.password_hash, user.factors, user.valid_from) == (None, (), harbour.clock())
    assert harbour.accounts.session(session) is None
    assert link.ttl == limits.RESET_TTL
    assert harbour.entries("T6000I")[0]["ttl"] == "8h0m0s"


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=-1), limits.INVITE_TTL_MAX + timedelta(seconds=1)])
def test_a_link_may_not_live_for_ever_nor_not_at_all(ttl: timedelta) -> None:
    with pytest.raises(UserError, match="48h0m0s at most"):
        check_ttl(ttl, limits.INVITE_TTL_MAX)


def test_a_link_may_live_for_the_longest_time_allowed() -> None:
    assert check_ttl(limits.INVITE_TTL_MAX, limits.INVITE_TTL_MAX) == limits.INVITE_TTL_MAX


def test_a_completed_person_is_kept_with_everything(harbour: Harbour) -> None:
    secret = harbour.person("alice", ("pi",))
    (user,) = harbour.accounts.users.list()
    assert user.name == parse_user_name("alice")
    assert user.logins == (parse_login("pi"),)
    assert secret.reveal() not in user.factors[0].sealed_secret
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB), Granted)


def test_a_user_that_the_audit_log_cannot_be_told_of_is_not_made(harbour: Harbour) -> None:
    harbour.person("bob")  # the log is there
    with harbour.unwritable_log(), pytest.raises(AuditError):
        harbour.invite("alice")
    assert harbour.accounts.users.get("alice") is None
    assert harbour.store.collection("invites").list(now=harbour.clock()) == []
    harbour.person("alice")


@pytest.mark.parametrize("change", ["remove", "reset"])
def test_a_change_that_the_audit_log_cannot_be_told_of_is_not_made(harbour: Harbour, change: str) -> None:
    secret, users = harbour.person(), harbour.accounts.users
    before = users.get("alice")
    with harbour.unwritable_log(), pytest.raises(AuditError):
        users.remove("alice", ADMIN) if change == "remove" else users.reset("alice", limits.RESET_TTL, ADMIN)
    assert users.get("alice") == before
    assert harbour.store.collection("invites").list(now=harbour.clock()) == []
    assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB), Granted)
