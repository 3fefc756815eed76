from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest

from controller.web.client_name import describe_client
from protocol import limits
from protocol.secret import Secret
from tests.controller.web.lab import PASSWORD, HandClock, Lab
from tests.controller.web.page_client import Browser, text_of
from tests.controller.web.people import People, problem_at

PAGE = "/web/settings"
CHANGE = "/web/settings/password"
ADD = "/web/settings/factors/new"
NEW_PASSWORD = "insecure new password"


@pytest.fixture
def people(lab: Lab, clock: HandClock) -> People:
    return People(lab, clock)


@pytest.fixture
def ada(people: People) -> Browser:
    return people.come("ada", "access", "pi", "root")


def own_code(people: People) -> str:
    return people.persons["ada"].code(people.clock())


def secret_on(page: str) -> Secret[str]:
    return Secret("".join(re.findall(r"<span>([A-Z2-7]{4})</span>", page)))


def handle_on(page: str) -> str:
    found = re.search(r'name="handle" value="([^"]+)"', page)
    assert found
    return html.unescape(found[1])


def add_app(people: People, ada: Browser, name: str = "tablet") -> tuple[str, Secret[str]]:
    """Add an app as a person does; return the path of its removal, and its secret."""
    page = ada.get(ADD).text
    secret = secret_on(page)
    response = people.post(
        ada, ADD, ADD, handle=handle_on(page), name=name, otp=people.code(secret), approval=own_code(people)
    )
    assert response.headers["Location"] == "/web/settings?done=factor", text_of(response)
    people.clock.pass_(limits.TOTP_PERIOD)
    found = people.lab.accounts.factors(people.persons["ada"].name)[-1]
    assert found.name == name
    return f"/web/settings/factors/{found.factor_id}/remove", secret


def test_the_page_tells_who_one_is_and_until_when(people: People, ada: Browser) -> None:
    page = text_of(ada.get(PAGE))
    for words in (
        "ada",
        "Logins pi root This sign-in",
        "or after 30 minutes without use",
        "tsh login --proxy=skerry.example:3080 --user=ada",
        "the only one stays",
        "this one",
    ):
        assert words in page
    ends = people.clock() + limits.WEB_SESSION_MAX
    assert ends.strftime("%Y-%m-%d %H:%M UTC") in page


def test_the_old_address_leads_here(ada: Browser) -> None:
    assert ada.get("/web/profile").headers["Location"] == PAGE


def test_a_password_is_changed_and_this_browser_stays_signed_in_and_others_do_not(people: People, ada: Browser) -> None:
    other = people.browser(people.lab.session("ada", "web", people.clock() + timedelta(hours=1)))
    response = people.post(ada, CHANGE, CHANGE, old=PASSWORD, new=NEW_PASSWORD, otp=own_code(people))
    assert response.headers["Location"] == "/web/settings?done=password"
    assert "Every other sign-in has ended" in text_of(ada.get("/web/settings?done=password"))
    assert other.get(PAGE).status_code == 303
    people.clock.pass_(limits.TOTP_PERIOD)
    assert Browser(people.app).sign_in("ada", PASSWORD, own_code(people)).status_code == 401
    assert Browser(people.app).sign_in("ada", NEW_PASSWORD, own_code(people)).status_code == 303


def test_whatever_was_wrong_the_answer_is_one(people: People, ada: Browser) -> None:
    texts = set()
    for old, otp in ((PASSWORD, "000000"), ("insecure wrong", own_code(people)), ("insecure wrong", "1")):
        response = people.post(ada, CHANGE, CHANGE, old=old, new=NEW_PASSWORD, otp=otp)
        assert response.status_code == 422
        texts.add(re.sub(r"value=\"[^\"]*\"", "", response.text))
    assert len(texts) == 1
    assert [event["check"] for event in people.told("SK004W")] == ["S3", "S2", "S2"]


def test_a_password_that_cannot_be_is_told_beside_its_field_and_none_is_sent_back(people: People, ada: Browser) -> None:
    response = people.post(ada, CHANGE, CHANGE, old=PASSWORD, new="short", otp=own_code(people))
    assert "too short" in problem_at(response, "new")
    assert PASSWORD not in response.text
    assert "short" not in re.findall(r'value="([^"]*)"', response.text)


def test_the_forms_tell_password_managers_what_is_what(ada: Browser) -> None:
    page = ada.get(CHANGE).text
    for complete in ("username", "current-password", "new-password", "one-time-code"):
        assert f'autocomplete="{complete}"' in page


def test_an_app_is_added_and_removed_and_either_signs_in_while_it_is_there(people: People, ada: Browser) -> None:
    path, secret = add_app(people, ada)
    assert "tablet" in text_of(ada.get(PAGE))
    assert Browser(people.app).sign_in("ada", PASSWORD, people.code(secret)).status_code == 303
    people.clock.pass_(limits.TOTP_PERIOD)
    assert people.post(ada, path, path, otp=people.code(secret)).headers["Location"] == "/web/settings?done=removed"
    assert people.post(ada, path, PAGE, otp="000000").headers["Location"] == "/web/settings?done=removed"  # sent twice
    assert "tablet" not in text_of(ada.get(PAGE))
    assert ada.get(path).status_code == 404
    people.clock.pass_(limits.TOTP_PERIOD)
    assert Browser(people.app).sign_in("ada", PASSWORD, people.code(secret)).status_code == 401


def test_what_is_wrong_with_a_new_app_stands_beside_its_field_and_its_secret_stays(
    people: People, ada: Browser
) -> None:
    page = ada.get(ADD).text
    secret, handle = secret_on(page), handle_on(page)
    good = {"handle": handle, "name": "tablet", "otp": people.code(secret), "approval": own_code(people)}
    for field, typed in (("name", " "), ("name", "authenticator"), ("otp", "000")):
        response = people.post(ada, ADD, ADD, **(good | {field: typed}))
        assert response.status_code == 422
        assert problem_at(response, field)
        assert secret_on(response.text).reveal() == secret.reveal()
        assert handle_on(response.text) == handle
    refused = people.post(ada, ADD, ADD, **(good | {"approval": "000000"}))
    assert (refused.status_code, 'value="tablet"' in refused.text) == (422, True)
    assert "That was not accepted" in text_of(refused)
    assert [people.post(ada, ADD, ADD, **good).status_code for _ in range(2)] == [303, 303]  # sent twice
    assert len(people.lab.accounts.factors(people.persons["ada"].name)) == 2


def test_a_set_up_that_took_too_long_begins_again_with_another_secret(people: People, ada: Browser) -> None:
    page = ada.get(ADD).text
    secret = secret_on(page)
    people.clock.pass_(limits.FACTOR_SETUP_TTL)
    response = people.post(
        ada, ADD, ADD, handle=handle_on(page), name="tablet", otp=people.code(secret), approval=own_code(people)
    )
    assert "begin again" in text_of(response)
    assert secret_on(response.text).reveal() != secret.reveal()


@pytest.mark.parametrize("handle", ["", "v1:", "rubbish", "ü" * 100])
def test_a_handle_that_is_none_of_ours_adds_nothing(people: People, ada: Browser, handle: str) -> None:
    response = people.post(ada, ADD, ADD, handle=handle, name="tablet", otp="000000", approval=own_code(people))
    assert response.status_code == 422
    assert len(people.lab.accounts.factors(people.persons["ada"].name)) == 1


def test_the_last_app_cannot_go_and_the_page_says_what_to_do(people: People, ada: Browser) -> None:
    (only,) = people.lab.accounts.factors(people.persons["ada"].name)
    path = f"/web/settings/factors/{only.factor_id}/remove"
    assert "add another one first" in text_of(ada.get(path))
    response = people.post(ada, path, PAGE, otp=own_code(people))
    assert response.status_code == 422
    assert len(people.lab.accounts.factors(people.persons["ada"].name)) == 1


@pytest.mark.parametrize("factor", ["rubbish", "00000000-0000-4000-8000-000000000000", "%2e%2e"])
def test_another_s_app_or_none_is_not_there(ada: Browser, factor: str) -> None:
    assert ada.get(f"/web/settings/factors/{factor}/remove").status_code == 404


def test_sign_ins_are_shown_and_one_and_then_all_others_are_ended(people: People, ada: Browser) -> None:
    end = people.clock() + timedelta(hours=1)
    tokens = [people.lab.session("ada", kind, end) for kind in ("web", "tsh", "tsh")]
    page = ada.get(PAGE).text
    paths = sorted(set(re.findall(r"/web/settings/sign-ins/[0-9a-f]{32}/end", page)))
    assert len(paths) == 3
    for _ in range(2):
        assert people.post(ada, paths[0], PAGE).headers["Location"] == "/web/settings?done=ended"
    assert sum(people.lab.accounts.session(token) is not None for token in tokens) == 2
    assert people.post(ada, "/web/settings/sign-ins/end-others", PAGE).status_code == 303
    assert [people.lab.accounts.session(token) for token in tokens] == [None] * 3
    assert ada.get(PAGE).status_code == 200
    assert len(people.told("user.sign_in_ended")) == 3


def test_nobody_ends_another_s_sign_in(people: People, ada: Browser) -> None:
    people.come("mallory")
    (view,) = people.lab.accounts.sign_ins(people.persons["mallory"].name)
    people.post(ada, f"/web/settings/sign-ins/{view.sign_in_id}/end", PAGE)
    assert people.lab.accounts.sign_ins(people.persons["mallory"].name) == (view,)


def test_what_a_browser_says_of_itself_is_shown_as_text(people: People, ada: Browser) -> None:
    hostile = "<script>alert(1)</script>"
    browser = Browser(people.app)
    people.clock.pass_(limits.TOTP_PERIOD)
    form = {"user": "ada", "password": PASSWORD, "otp": own_code(people)}
    assert browser.submit("/web/login", form, **{"User-Agent": hostile}).status_code == 303
    page = ada.get(PAGE).text
    assert hostile not in page
    assert html.escape(hostile) in page


def test_a_form_of_a_sign_in_that_has_ended_says_so_and_does_nothing(people: People, ada: Browser) -> None:
    csrf = ada.hidden(CHANGE)["csrf"]
    people.clock.pass_(limits.WEB_SESSION_IDLE)
    response = ada.client.post(CHANGE, base_url="https://skerry.example:3080", data={"csrf": csrf})
    assert response.status_code == 401
    assert "your sign-in has ended" in text_of(response)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36", "Chrome on Linux"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (something else)", "Mozilla/5.0 (something else)"),
        ("tsh 0.1", "tsh 0.1"),
        ("", "not known"),
    ],
)
def test_a_user_agent_is_said_in_a_few_words(said: str, shown: str) -> None:
    assert describe_client(said) == shown
