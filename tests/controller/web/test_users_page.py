from __future__ import annotations

from datetime import timedelta

import pytest

from protocol import limits
from protocol.access import ACCESS, ADMIN
from protocol.names import parse_node_name
from protocol.secret import Secret
from tests.controller.web.lab import PASSWORD, HandClock, Lab
from tests.controller.web.page_client import Browser, text_of
from tests.controller.web.people import TCTL, People, link_in, problem_at

NEW = "/web/users/-/new"


@pytest.fixture
def people(lab: Lab, clock: HandClock) -> People:
    return People(lab, clock)


def test_users_are_listed_with_roles_logins_factors_state_and_last_sign_in(people: People) -> None:
    admin = people.admin()
    people.come("bob", ACCESS, "pi", "root")
    people.lab.invite("carol")
    page = text_of(admin.get("/web/users"))
    for words in ("ada active", "bob active", "carol invited until 20", "access admin", "pi root", "never"):
        assert words in page
    assert "tctl users ls" in page
    browser = Browser(people.app)
    code = people.persons["bob"].code(people.clock())
    assert browser.sign_in("bob", PASSWORD, code).status_code == 303
    assert people.clock().strftime("%Y-%m-%d %H:%M UTC") in text_of(admin.get("/web/users?q=bob"))


def test_every_state_is_told_apart(people: People) -> None:
    admin = people.admin()
    for name in ("locked", "lockout"):
        people.come(name)
    people.lab.invite("late")
    people.lab.locks.add("user", "locked", "on leave", None, TCTL)
    people.clock.pass_(timedelta(minutes=20))
    admin.get("/web/users")
    people.clock.pass_(limits.INVITE_TTL - timedelta(minutes=40))
    admin.get("/web/users")
    people.clock.pass_(timedelta(minutes=20))
    for _ in range(limits.SIGN_IN_FAILURES):
        people.lab.accounts.sign_in("lockout", Secret("insecure wrong"), Secret("0"), TCTL)
    page = text_of(admin.get("/web/users"))
    for words in ("late link expired", "locked locked", "lockout lockout until"):
        assert words in page


def test_the_list_is_searched_by_name_role_login_and_state(people: People) -> None:
    admin = people.admin()
    people.come("bob", "auditor", "pi")
    for words, found in (("bob", True), ("AUDITOR", True), ("bob active", True), ("bob invited", False)):
        assert (">bob<" in admin.get(f"/web/users?q={words}").text) is found
    assert "No user matches" in admin.get("/web/users?q=<b>zzz").text
    assert "<b>zzz" not in admin.get("/web/users?q=<b>zzz").text


@pytest.mark.parametrize("number", ["0", "-1", "99", "x", "²", "9" * 50])
def test_a_page_that_is_none_is_the_nearest(people: People, number: str) -> None:
    assert ">ada<" in people.admin().get(f"/web/users?page={number}").text


def test_somebody_is_invited_and_the_link_is_shown_this_once(people: People) -> None:
    admin = people.admin()
    response = people.post(admin, NEW, NEW, name="joe", logins="pi, root", roles=["access", "auditor"], ttl="8h0m0s")
    assert response.status_code == 200
    user = people.lab.accounts.users.get("joe")
    assert user is not None
    assert (user.roles, user.logins) == (("access", "auditor"), ("pi", "root"))
    page = text_of(response)
    assert "shown this once" in page
    assert "8 hours" in page
    assert "A new link, on the controller's host: tctl users reset joe" in page
    assert 'class="qr-code"' in response.text
    path = link_in(response)
    assert "Set up your account joe" in text_of(Browser(people.app).get(path))
    token = path.rpartition("/")[2]
    assert not any(token in admin.get(other).text for other in ("/web/users", "/web/users/joe"))
    (entry,) = [event for event in people.told("user.create") if event["name"] == "joe"]
    assert (entry["user"], entry["via"]) == ("ada", "web")


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": "../joe"}, "name", "not a valid user name"),
        ({"name": "ada"}, "name", "already registered"),
        ({"name": "joe", "logins": "-rf"}, "logins", "not a valid login"),
        ({"name": "joe", "logins": ""}, "logins", "say which logins"),
        ({"name": "joe", "roles": []}, "roles", "Tick at least one role"),
        ({"name": "joe", "roles": ["editor"]}, "roles", "There is no role"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(
    people: People, fields: dict[str, str | list[str]], field: str, words: str
) -> None:
    admin = people.admin()
    typed: dict[str, str | list[str]] = {"logins": "pi", "roles": ["access"], "ttl": "24h0m0s"}
    typed |= fields
    response = people.post(admin, NEW, NEW, **typed)
    assert response.status_code in {409, 422}
    assert words in problem_at(response, field)
    assert f'value="{typed["name"]}"' in response.text
    assert f'value="{typed["logins"]}"' in response.text
    assert 'value="24h0m0s" selected' in response.text
    assert [user.name for user in people.lab.accounts.users.list()] == ["ada"]


def test_a_form_that_is_sent_twice_makes_one_user(people: People) -> None:
    admin = people.admin()
    fields: dict[str, str | list[str]] = {"name": "joe", "logins": "pi", "roles": ["access"]}
    assert [people.post(admin, NEW, NEW, **fields).status_code for _ in range(2)] == [200, 409]
    assert len([event for event in people.told("user.create") if event["name"] == "joe"]) == 1


def test_a_link_lives_no_longer_than_it_may_whatever_the_form_says(people: People) -> None:
    admin = people.admin()
    for number, ttl in enumerate(("999h", "rubbish", "")):
        people.post(admin, NEW, NEW, name=f"joe{number}", logins="pi", roles=["access"], ttl=ttl)
        user = people.lab.accounts.users.get(f"joe{number}")
        assert user is not None
        assert people.lab.accounts.users.link_until(user) == people.clock() + limits.INVITE_TTL


def test_roles_and_logins_are_changed_and_who_had_more_is_signed_out(people: People) -> None:
    admin = people.admin()
    bob = people.come("bob", "access,auditor", "pi", "root")
    more = people.post(
        admin, "/web/users/bob/rights", "/web/users/bob", logins="pi,root,gast", roles=["access", "auditor"]
    )
    assert more.headers["Location"] == "/web/users/bob?done=rights"
    assert bob.get("/web/settings").status_code == 200
    fewer = people.post(admin, "/web/users/bob/rights", "/web/users/bob", logins="pi", roles=["access"])
    assert fewer.headers["Location"] == "/web/users/bob?done=void"
    assert "a new sign-in is needed" in text_of(admin.get(fewer.headers["Location"]))
    assert bob.get("/web/settings").headers["Location"].startswith("/web/login")
    assert [event["user"] for event in people.told("user.update")][-2:] == ["ada", "ada"]


def test_who_loses_the_role_admin_administers_nothing_from_that_moment_on(people: People) -> None:
    admin, bob = people.admin(), people.come("bob", "access,admin")
    assert bob.get("/web/users").status_code == 200
    people.post(admin, "/web/users/bob/rights", "/web/users/bob", logins="pi", roles=["access"])
    assert bob.get("/web/users").status_code == 303
    again = people.browser(people.lab.session("bob", "web", people.clock() + limits.WEB_SESSION_MAX))
    assert again.get("/web/users").status_code == 403


def test_a_reset_shows_a_link_and_voids_what_was_there(people: People) -> None:
    admin, bob = people.admin(), people.come("bob")
    response = people.post(admin, "/web/users/bob/reset", "/web/users/bob", ttl="1h0m0s")
    assert "Choose a new password and second factor for your account bob" in text_of(
        Browser(people.app).get(link_in(response, "reset"))
    )
    assert "tctl users reset bob --ttl=1h0m0s" in response.text
    assert bob.get("/web/settings").status_code == 303


def test_somebody_is_locked_out_and_let_in_again(people: People) -> None:
    admin, bob = people.admin(), people.come("bob")
    for _ in range(2):  # sent twice, it is one lock
        response = people.post(admin, "/web/users/bob/lock", "/web/users/bob", message="on leave")
        assert response.headers["Location"] == "/web/users/bob?done=locked"
    (lock,) = people.lab.locks.list()
    assert (lock.value, lock.message, lock.created_by) == ("bob", "on leave", "ada")
    assert bob.get("/web/settings").status_code == 403
    assert f"tctl locks rm {lock.lock_id}" in admin.get("/web/users/bob").text
    for _ in range(2):
        assert people.post(admin, "/web/users/bob/unlock", "/web/users/bob").status_code == 303
    assert people.lab.locks.list() == []
    assert bob.get("/web/settings").status_code == 200
    too_long = people.post(admin, "/web/users/bob/lock", "/web/users/bob", message="x" * 201)
    assert too_long.status_code == 409
    assert people.lab.locks.list() == []


def test_somebody_is_removed_once_however_often_it_is_asked_for(people: People) -> None:
    admin, bob = people.admin(), people.come("bob")
    csrf_page = "/web/users/bob"
    assert people.post(admin, "/web/users/bob/remove", csrf_page).status_code == 303
    assert people.post(admin, "/web/users/bob/remove", "/web/users/ada").status_code == 303
    assert bob.get("/web/settings").status_code == 303
    assert admin.get("/web/users/bob").status_code == 404
    assert len(people.told("user.delete")) == 1


def test_an_admin_is_not_offered_and_not_allowed_what_would_shut_them_out(people: People) -> None:
    admin = people.admin()
    page = admin.get("/web/users/ada").text
    assert "This is you" in page
    for action in ("reset", "remove"):
        assert f'action="/web/users/ada/{action}"' not in page
        response = people.post(admin, f"/web/users/ada/{action}", "/web/users/ada")
        assert response.status_code == 409
        assert "cannot remove or reset yourself" in text_of(response)
    demoted = people.post(admin, "/web/users/ada/rights", "/web/users/ada", logins="pi", roles=["access"])
    assert demoted.status_code == 409
    assert "cannot take the role admin from yourself" in problem_at(demoted, "roles")
    user = people.lab.accounts.users.get("ada")
    assert user is not None
    assert user.roles == (ACCESS, ADMIN)


@pytest.mark.parametrize("name", ["nobody", "<script>", "a" * 100, "%00", "-"])
def test_nobody_s_page_is_not_there(people: People, name: str) -> None:
    assert people.admin().get(f"/web/users/{name}").status_code == 404


def test_a_user_may_be_called_new(people: People) -> None:
    admin = people.admin()
    people.lab.invite("new")
    assert "<h1><bdi>new</bdi></h1>" in admin.get("/web/users/new").text


def test_what_others_wrote_is_shown_as_text(people: People) -> None:
    admin = people.admin()
    people.lab.locks.add("user", "ada", "", timedelta(seconds=1), TCTL)
    people.clock.pass_(timedelta(seconds=2))
    people.come("bob")
    people.lab.locks.add("user", "bob", "<script>alert(1)</script>", None, TCTL)
    page = admin.get("/web/users/bob").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("roles", ["access", "auditor", "access,auditor"])
def test_only_an_admin_sees_or_does_any_of_it(people: People, roles: str) -> None:
    people.lab.enrol(1, parse_node_name("buoy"))
    plain = people.come("bob", roles)
    for path in ("/web/users", NEW, "/web/users/bob", "/web/tokens", "/web/locks", "/web/locks/new"):
        assert plain.get(path).status_code == 403, path
    for path in (
        NEW,
        "/web/users/bob/rights",
        "/web/users/bob/reset",
        "/web/users/bob/remove",
        "/web/users/bob/lock",
        "/web/users/bob/unlock",
        "/web/tokens/remove",
        "/web/locks/new",
        "/web/locks/00000000-0000-4000-8000-000000000001/remove",
    ):
        response = people.post(plain, path, "/web/settings", name="joe", roles=["admin"], logins="pi")
        assert response.status_code == 403, path
    assert len(people.told("access.denied")) == 15
    user = people.lab.accounts.users.get("bob")
    assert user is not None
    assert ",".join(user.roles) == roles
