from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from controller.accounts import Origin, codes
from controller.presence import Tunnel
from controller.web import login
from controller.web.app import create_app
from controller.web.headers import HEADERS
from controller.web.permissions import PERMISSIONS
from protocol import limits
from protocol.secret import Secret
from tests.controller.web.lab import PASSWORD, HandClock, Lab
from tests.controller.web.page_client import BASE, Browser, text_of

ORIGIN = Origin(via="tctl")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def ada(lab: Lab, browser: Browser, clock: HandClock) -> Browser:
    """Ada's browser, signed in."""
    person = lab.person("ada", "pi", "root")
    clock.pass_(MINUTE)
    assert browser.sign_in("ada", PASSWORD, person.code(clock())).status_code == 303
    return browser


def secret_on(page: str) -> str:
    return "".join(re.findall(r"<span>([A-Z2-7]{4})</span>", page))


# --- invites -------------------------------------------------------------------------------------------------


def test_a_person_follows_a_link_sets_up_an_account_and_signs_in(lab: Lab, browser: Browser, clock: HandClock) -> None:
    link = f"/web/invite/{lab.invite('ada').token.reveal()}"
    page = browser.get(link)
    assert "12 to 128 characters" in text_of(page)
    assert "<svg" in page.text
    secret = secret_on(page.text)
    assert len(secret) == 32

    done = browser.submit(link, {"password": PASSWORD, "otp": codes.code_at(Secret(secret), clock())})
    assert done.status_code == 200
    assert "tsh login --proxy=skerry.example:3080 --user=ada" in re.sub(r"<[^>]+>", "", done.text)
    clock.pass_(MINUTE)
    entered = browser.sign_in("ada", PASSWORD, codes.code_at(Secret(secret), clock()))
    assert (entered.status_code, entered.headers["Location"]) == (303, "/web/home")
    assert browser.get("/web/nodes").status_code == 200


def test_where_the_door_needs_a_pin_the_login_line_carries_it(lab: Lab, clock: HandClock) -> None:
    pin = "sha256:" + "ab" * 32
    browser = Browser(create_app(replace(lab.services("skerry.example:3080", 1000), login_pins=lambda: (pin,))))
    link = f"/web/invite/{lab.invite('ada').token.reveal()}"
    secret = Secret(secret_on(browser.get(link).text))
    done = browser.submit(link, {"password": PASSWORD, "otp": codes.code_at(secret, clock())})
    line = f"tsh login --proxy=skerry.example:3080 --user=ada --ca-pin={pin}"
    assert f'data-copy="{line}"' in done.text
    clock.pass_(MINUTE)
    browser.sign_in("ada", PASSWORD, codes.code_at(secret, clock()))
    assert f'data-copy="{line}"' in browser.get("/web/settings").text


@pytest.mark.parametrize(
    ("password", "problem"), [("insecure-11", "too short"), ("x" * 129, "too long"), (PASSWORD, "digits")]
)
def test_what_is_typed_wrong_is_told_and_spends_nothing(
    lab: Lab, browser: Browser, password: str, problem: str
) -> None:
    link = f"/web/invite/{lab.invite('ada').token.reveal()}"
    answer = browser.submit(link, {"password": password, "otp": "000000"})
    assert answer.status_code == 422
    assert problem in text_of(answer)
    assert password not in answer.text
    assert browser.get(link).status_code == 200


def test_spent_expired_unknown_and_foreign_links_are_one_page(lab: Lab, browser: Browser, clock: HandClock) -> None:
    spent = lab.invite("ada").token.reveal()
    lab.accounts.users.remove("ada", ORIGIN)
    reset_only = lab.invite("bob").token.reveal()
    expired = lab.invite("cleo").token.reveal()
    pages = [browser.get(f"/web/invite/{spent}"), browser.get("/web/invite/" + "A" * 32), browser.get("/web/invite/x")]
    pages.append(browser.get(f"/web/reset/{reset_only}"))
    pages.append(browser.get("/web/invite/%ff%00%0a"))
    clock.pass_(limits.INVITE_TTL)
    pages.append(browser.get(f"/web/invite/{expired}"))
    pages.append(browser.submit("/web/login", {"password": PASSWORD, "otp": "0"}, to=f"/web/invite/{expired}"))
    assert {page.status_code for page in pages} == {404}
    assert len({page.text for page in pages}) == 1


def test_a_reset_link_sets_a_new_password_and_ends_old_sign_ins(lab: Lab, ada: Browser, clock: HandClock) -> None:
    clock.pass_(MINUTE)
    link = f"/web/reset/{lab.accounts.users.reset('ada', limits.RESET_TTL, ORIGIN).token.reveal()}"
    stranger = Browser(ada.app)
    secret = secret_on(stranger.get(link).text)

    done = stranger.submit(link, {"password": "insecure other password", "otp": codes.code_at(Secret(secret), clock())})
    assert done.status_code == 200
    assert ada.get("/web/nodes").status_code == 303


# --- signing in and out --------------------------------------------------------------------------------------


def test_whatever_is_wrong_with_a_sign_in_the_page_is_the_same(lab: Lab, browser: Browser, clock: HandClock) -> None:
    person = lab.person("ada")
    clock.pass_(MINUTE)
    code = person.code(clock())
    answers = [
        browser.sign_in("ada", "insecure wrong password", code),
        browser.sign_in("ada", PASSWORD, "123456" if code != "123456" else "654321"),
        browser.sign_in("nobody", PASSWORD, code),
        browser.sign_in("<script>alert(1)</script>", PASSWORD, code),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert all(login.REFUSED in answer.text for answer in answers)
    assert "<script>alert" not in answers[3].text
    assert len({re.sub(r'name="user".*?>', "", answer.text) for answer in answers}) == 1


def test_the_session_cookie_is_locked_to_this_host_and_hidden_from_scripts(lab: Lab, clock: HandClock) -> None:
    person = lab.person("ada")
    clock.pass_(MINUTE)
    answer = Browser(lab.app()).sign_in("ada", PASSWORD, person.code(clock()))
    cookie = next(line for line in answer.headers.getlist("Set-Cookie") if line.startswith("__Host-skerry="))
    parts = {part.strip() for part in cookie.split(";")[1:]}
    assert parts == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}


def test_signing_out_ends_the_session_itself_not_only_the_cookie(ada: Browser) -> None:
    token = ada.client.get_cookie("__Host-skerry", domain="skerry.example")
    assert token is not None
    assert ada.submit("/web/nodes", {}, to="/web/logout").headers["Location"] == "/web/login?ended=1"
    other = Browser(ada.app)
    other.client.set_cookie("__Host-skerry", token.value, domain="skerry.example", secure=True)
    assert other.get("/web/nodes").status_code == 303


def test_a_session_ends_after_idling_and_after_its_longest(ada: Browser, clock: HandClock) -> None:
    for _ in range(4):
        clock.pass_(limits.WEB_SESSION_IDLE - MINUTE)
        assert ada.get("/web/nodes").status_code == 200
    clock.pass_(limits.WEB_SESSION_IDLE + MINUTE)
    assert ada.get("/web/nodes").headers["Location"] == "/web/login?next=/web/nodes"


def test_a_page_that_polls_is_told_that_it_is_signed_out(browser: Browser) -> None:
    assert browser.get("/web/nodes/table", **{"X-Skerry-Script": "1"}).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["//evil.example/", "https://evil.example/", "/web/../x", "/\\evil.example", "/web//evil.example", "/v1/ping"],
)
def test_after_signing_in_nobody_is_led_to_another_host(
    lab: Lab, browser: Browser, clock: HandClock, path: str
) -> None:
    person = lab.person("ada")
    clock.pass_(MINUTE)
    fields = {"user": "ada", "password": PASSWORD, "otp": person.code(clock()), "next": path}
    assert browser.submit("/web/login", fields).headers["Location"] == "/web/home"


def test_after_signing_in_one_gets_to_the_page_one_came_for(lab: Lab, browser: Browser, clock: HandClock) -> None:
    person = lab.person("ada")
    clock.pass_(MINUTE)
    asked = browser.get("/web/nodes?q=env=staging").headers["Location"]
    fields = {"user": "ada", "password": PASSWORD, "otp": person.code(clock())}
    assert browser.submit(asked, fields, to="/web/login").headers["Location"] == "/web/nodes?q=env=staging"


# --- forged and foreign requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_form_sent_from_another_site_is_refused(ada: Browser, headers: dict[str, str]) -> None:
    assert ada.submit("/web/nodes", {}, to="/web/logout", **headers).status_code == 403
    assert ada.get("/web/nodes").status_code == 200


def test_a_form_from_another_origin_is_refused_where_browsers_lack_fetch_metadata(ada: Browser) -> None:
    form = ada.hidden("/web/nodes")
    refused = ada.client.post("/web/logout", base_url=BASE, data=form, headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
    accepted = ada.client.post("/web/logout", base_url=BASE, data=form, headers={"Origin": BASE})
    assert accepted.status_code == 303


@pytest.mark.parametrize("token", ["", "guess", "é", "A" * 43])
def test_a_form_without_the_right_token_is_refused(ada: Browser, token: str) -> None:
    assert ada.submit("/web/nodes", {"csrf": token}, to="/web/logout").status_code == 403
    assert Browser(ada.app).submit("/web/login", {"csrf": token, "user": "a"}).status_code == 403


def test_a_login_form_without_its_cookie_is_refused(browser: Browser) -> None:
    form = browser.hidden("/web/login")
    assert Browser(browser.app).client.post("/web/login", base_url=BASE, data=form).status_code == 403


def test_a_strange_host_header_poisons_no_link(lab: Lab, browser: Browser) -> None:
    token = lab.invite("ada").token.reveal()
    for path in ("/", "/web/nodes", "/web/login", f"/web/invite/{token}", "//web//login", "/web/login/"):
        response = browser.client.get(path, base_url="https://evil.example")
        assert "evil.example" not in response.text
        assert "evil.example" not in str(response.headers)


def test_every_answer_carries_the_headers_and_no_page_is_kept(browser: Browser) -> None:
    for method, rule in [*PERMISSIONS, ("GET", "/nowhere"), ("DELETE", "/web/login")]:
        response = browser.client.open(rule, method=method, base_url=BASE)
        for name, value in HEADERS.items():
            assert response.headers[name] == value, rule
        if "static" not in rule and rule != "/favicon.ico":
            assert response.headers["Cache-Control"] == "no-store", rule
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_no_page_carries_a_script_or_style_of_its_own(lab: Lab, ada: Browser) -> None:
    token = lab.invite("bob").token.reveal()
    lab.enrol(1, "buoy", Tunnel("up", lab.clock()), env="x")
    pages = ["/web/nodes", "/web/settings", f"/web/invite/{token}", "/web/invite/x"]
    for page in [*(ada.get(path).text for path in pages), Browser(ada.app).get("/web/login").text]:
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", page)
        assert not re.search(r"""(?:src|href|action)="(?:https?:)?//""", page)


def test_an_address_that_asks_too_often_is_told_when_to_come_back(lab: Lab) -> None:
    browser = Browser(lab.app(per_minute=3))
    answers = [browser.get("/web/invite/" + "A" * 32) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
    assert int(answers[3].headers["Retry-After"]) == 20
    assert browser.get("/web/login").status_code == 200


# --- the nodes page ------------------------------------------------------------------------------------------


def test_the_search_box_narrows_and_shows_what_was_asked_safely(lab: Lab, ada: Browser) -> None:
    lab.enrol(1, "buoy-north", env="production")
    lab.enrol(2, "kiosk-2", env="staging")
    found = ada.get("/web/nodes/table?q=env%3Dstaging").text
    assert "kiosk-2" in found
    assert "buoy-north" not in found
    nothing = ada.get('/web/nodes?q="><script>alert(1)</script>').text
    assert "<script>alert" not in nothing
    assert "No node matches" in nothing
    for page in ("0", "-1", "99999999999999999999", "²", "x"):
        assert ada.get(f"/web/nodes?page={page}").status_code == 200


def test_the_settings_show_who_one_is_and_until_when(ada: Browser) -> None:
    text = text_of(ada.get("/web/settings"))
    assert "Roles access" in text
    assert "Logins pi root" in text
    assert "2026-11-23 00:01 UTC" in text
    assert "after 30 minutes without use" in text
