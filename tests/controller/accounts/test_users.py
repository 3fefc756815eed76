from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from controller.accounts import UserError
from controller.accounts.records import UserRecord
from controller.accounts.users import Link, check_ttl
from controller.audit import AuditError
from controller.origin import Origin
from protocol import limits
from protocol.access import ACCESS, AUDITOR
from protocol.access import ADMIN as ADMIN_ROLE
from protocol.control import PolicyDocument
from protocol.decision import Granted
from protocol.instants import to_milliseconds
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


def test_nobody_is_made_with_rights_that_nobody_may_have(harbour: Harbour) -> None:
    with pytest.raises(UserError, match="say which logins may be used there"):
        harbour.accounts.users.add(parse_user_name("alice"), (), limits.INVITE_TTL, ADMIN)
    assert harbour.accounts.users.get("alice") is None
    assert harbour.entries("user.create") == []


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


def test_of_many_who_reset_one_person_and_change_them_at_once_all_succeed_and_one_link_is_left(
    harbour: Harbour,
) -> None:
    harbour.person("alice", ("pi", "root"))
    users = harbour.accounts.users

    def change(number: int) -> Link | UserRecord:
        if number % 2:
            return users.update("alice", roles=(ACCESS, AUDITOR)[: 1 + number % 3], origin=ADMIN)
        return users.reset("alice", limits.RESET_TTL, ADMIN)

    with ThreadPoolExecutor(8) as pool:
        links = [done for done in pool.map(change, range(8)) if isinstance(done, Link)]
    assert len(links) == 4
    user = users.get("alice")
    assert user is not None
    assert (user.password_hash, user.factors) == (None, ())
    assert [record.key for record in harbour.store.collection("invites").list(now=harbour.clock())] == [user.invite]
    opened = [harbour.accounts.open_invite(link.token.reveal(), WEB) for link in links]
    assert sum(isinstance(each, Granted) for each in opened) == 1


def as_admin(name: str) -> Origin:
    return Origin("192.0.2.7:1", "Mozilla", "web", name)


def test_roles_and_logins_are_changed_and_told_with_what_they_were(harbour: Harbour) -> None:
    harbour.person("alice", ("pi",))
    logins = (parse_login("pi"), parse_login("root"))
    user = harbour.accounts.users.update("alice", roles=(ACCESS, AUDITOR), logins=logins, origin=as_admin("bob"))
    assert harbour.accounts.users.get("alice") == user
    assert (user.roles, user.logins) == ((ACCESS, AUDITOR), logins)
    (entry,) = harbour.entries("T1003I")
    assert (entry["user"], entry["name"], entry["via"]) == ("bob", "alice", "web")
    assert (entry["roles"], entry["logins"]) == (["access", "auditor"], ["pi", "root"])
    assert entry["before"] == {"roles": ["access"], "logins": ["pi"]}


def test_more_rights_end_nothing(harbour: Harbour) -> None:
    harbour.person()
    token = harbour.session("web", timedelta(hours=1))
    harbour.accounts.users.update("alice", roles=(ACCESS, ADMIN_ROLE), origin=ADMIN)
    assert harbour.accounts.session(token) is not None
    assert PolicyDocument.decode(harbour.control.policy().body).void_before == {}


@pytest.mark.parametrize("taken", ["a role", "a login"])
def test_fewer_rights_end_sign_ins_and_void_certificates_of_this_very_second_at_nodes_too(
    harbour: Harbour, taken: str
) -> None:
    harbour.person("alice", ("pi", "root"))
    harbour.accounts.users.update("alice", roles=(ACCESS, AUDITOR), origin=ADMIN)
    token, issued = harbour.session("web", timedelta(hours=1)), harbour.clock()
    roles, logins = ((ACCESS,), None) if taken == "a role" else (None, (parse_login("pi"),))
    user = harbour.accounts.users.update("alice", roles=roles, logins=logins, origin=ADMIN)
    assert harbour.accounts.session(token) is None
    assert issued < user.valid_from == harbour.clock().replace(microsecond=0) + timedelta(seconds=1)
    void = PolicyDocument.decode(harbour.control.policy().body).void_before
    assert void == {"alice": to_milliseconds(user.valid_from)}


def test_what_changes_nothing_writes_nothing(harbour: Harbour) -> None:
    harbour.person()
    before = harbour.accounts.users.get("alice")
    assert harbour.accounts.users.update("alice", roles=(ACCESS,), origin=ADMIN) == before
    assert harbour.entries("T1003I") == []


def test_who_opens_devices_is_not_left_without_a_login(harbour: Harbour) -> None:
    harbour.person()
    with pytest.raises(UserError, match="say which logins"):
        harbour.accounts.users.update("alice", logins=(), origin=ADMIN)
    with pytest.raises(UserError, match='user "nobody" not found'):
        harbour.accounts.users.update("nobody", logins=(), origin=ADMIN)


def test_an_admin_neither_demotes_nor_removes_nor_resets_themselves_and_another_or_tctl_does(harbour: Harbour) -> None:
    users = harbour.accounts.users
    harbour.person()
    users.update("alice", roles=(ACCESS, ADMIN_ROLE), origin=ADMIN)
    own = as_admin("alice")
    with pytest.raises(UserError, match="cannot take the role admin from yourself"):
        users.update("alice", roles=(ACCESS,), origin=own)
    for change in (lambda: users.remove("alice", own), lambda: users.reset("alice", limits.RESET_TTL, own)):
        with pytest.raises(UserError, match="cannot remove or reset yourself"):
            change()
    assert users.is_anybody_admin()
    users.update("alice", roles=(ACCESS,), origin=as_admin("bob"))
    assert not users.is_anybody_admin()
    users.remove("alice", Origin(via="tctl", actor="alice"))  # an operating-system user of the same name
    assert users.get("alice") is None


def test_an_update_that_the_audit_log_cannot_be_told_of_is_not_made(harbour: Harbour) -> None:
    harbour.person("alice", ("pi", "root"))
    before = harbour.accounts.users.get("alice")
    with harbour.unwritable_log(), pytest.raises(AuditError):
        harbour.accounts.users.update("alice", logins=(parse_login("pi"),), origin=ADMIN)
    assert harbour.accounts.users.get("alice") == before


def test_a_link_is_open_until_it_is_used_or_expires(harbour: Harbour) -> None:
    token = harbour.invite()
    users = harbour.accounts.users
    user = users.get("alice")
    assert user is not None
    assert users.link_until(user) == harbour.clock() + limits.INVITE_TTL
    harbour.settle(token)
    done = users.get("alice")
    assert done is not None
    assert users.link_until(done) is None
    harbour.clock.now += limits.INVITE_TTL
    assert users.link_until(user) is None


def test_who_is_locked_out_is_listed_until_it_ends(harbour: Harbour) -> None:
    harbour.person()
    for _ in range(limits.SIGN_IN_FAILURES):
        harbour.accounts.sign_in("alice", PASSWORD, PASSWORD, WEB)
    assert harbour.accounts.users.locked_out() == {"alice": harbour.clock() + limits.SIGN_IN_LOCKOUT}
    harbour.clock.now += limits.SIGN_IN_LOCKOUT
    assert harbour.accounts.users.locked_out() == {}
