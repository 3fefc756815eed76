from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask

from controller import web
from controller.web.permissions import PERMISSIONS, Holder, Need, permission_for
from protocol import limits
from protocol.access import parse_roles
from tests.controller.web.lab import HandClock, Lab
from tests.controller.web.page_client import BASE, SAME_ORIGIN, Browser


def ways(app: Flask) -> set[tuple[str, str]]:
    return {(method, rule.rule) for rule in app.url_map.iter_rules() for method in rule.methods or ()}


def test_every_path_and_method_stands_in_the_table_and_the_table_names_no_other(lab: Lab) -> None:
    here = {("GET" if method == "HEAD" else method, rule) for method, rule in ways(lab.app())}
    assert here == set(PERMISSIONS)


def test_reads_change_nothing_and_writes_say_so() -> None:
    for (method, rule), permission in PERMISSIONS.items():
        assert permission.writes == (method != "GET"), rule


def test_every_write_that_anyone_may_make_is_rate_limited() -> None:
    for (_, rule), permission in PERMISSIONS.items():
        if permission.holder is Holder.ANYONE and permission.writes:
            assert permission.limited, rule


def test_reading_and_writing_one_path_are_two_permissions() -> None:
    names = {(rule, method): permission.name for (method, rule), permission in PERMISSIONS.items()}
    for (rule, method), name in names.items():
        other = names.get((rule, "POST" if method == "GET" else "GET"))
        assert other != name


def test_a_route_that_nobody_put_into_the_table_is_refused(lab: Lab) -> None:
    app = lab.app()
    app.add_url_rule("/web/forgotten", "forgotten", lambda: "a secret page")
    response = Browser(app).get("/web/forgotten")
    assert response.status_code == 404
    assert "a secret page" not in response.text
    assert permission_for("GET", "/web/forgotten") is None


def test_whatever_wants_a_sign_in_refuses_strangers_and_the_other_kind_of_token(lab: Lab) -> None:
    lab.person("ada")
    end = lab.clock().replace(year=2027)
    browser_token = lab.session("ada", "web", end)
    tsh_token = lab.session("ada", "tsh", end)
    app = lab.app()
    for (method, rule), permission in PERMISSIONS.items():
        if permission.holder is Holder.ANYONE:
            continue
        for token in ("", "x" * 40, tsh_token if permission.holder is Holder.SESSION else browser_token):
            browser = Browser(app)
            browser.client.set_cookie("__Host-skerry", token, domain="skerry.example", secure=True)
            response = browser.client.open(
                rule,
                method=method,
                base_url="https://skerry.example:3080",
                headers={"Authorization": f"Bearer {token}"},
            )
            assert response.status_code in {303, 401}, (method, rule)


TEMPLATES = Path(web.__file__).parent / "templates"
# What scripts ask for by themselves, beside what stands in a template.
BY_THEMSELVES = ["/web/events", "/web/sessions/x/index", "/web/sessions/x/segment"]


def sources() -> list[str]:
    """Return the addresses that pages fetch anew by themselves, each with something in place of what varies."""
    found = (
        re.sub(r"\{\{.*?\}\}", "x", source).partition("?")[0]
        for template in sorted(TEMPLATES.glob("*.html"))
        for source in re.findall(r'data-source="([^"]*)"', template.read_text())
    )
    return [*found, *BY_THEMSELVES]


def test_what_pages_ask_by_themselves_keeps_no_sign_in_alive(lab: Lab) -> None:
    ways = lab.app().url_map.bind("skerry.example")
    assert len(sources()) > len(BY_THEMSELVES)
    for source in sources():
        rule, _ = ways.match(source, "GET", return_rule=True)
        assert PERMISSIONS["GET", rule.rule].rests, source


@pytest.mark.parametrize("page", ["/web/home/figures", "/web/nodes/table"])
def test_a_page_that_nobody_uses_lets_its_sign_in_end_however_often_it_asks(
    lab: Lab, clock: HandClock, page: str
) -> None:
    browser = signed_in(lab, "ada", "access")
    for _ in range(3):
        assert browser.get(page).status_code == 200
        clock.pass_(limits.WEB_SESSION_IDLE / 3 + timedelta(seconds=1))
    assert browser.get(page, **{"X-Skerry-Script": "1"}).status_code == 401


HOLDERS = {Need.ADMIN: {"admin"}, Need.AUDIT: {"admin", "auditor"}}


def test_pages_and_forms_that_take_a_role_refuse_who_lacks_it_and_the_log_is_told(lab: Lab) -> None:
    needing = {
        way: each.need
        for way, each in PERMISSIONS.items()
        if each.holder is Holder.SESSION and each.need is not Need.NOTHING
    }
    assert {("GET", "/web/audit"), ("POST", "/web/users/<user>/lock")} <= needing.keys()
    for role in ("access", "auditor", "admin"):
        browser = signed_in(lab, f"the-{role}", role)
        csrf = browser.hidden("/web/settings/password")["csrf"]
        for (method, rule), need in needing.items():
            before = len(list(lab.audit.entries(kinds=["access.denied"])))
            path = re.sub(r"<\w+>", "nobody", rule)
            data = {"csrf": csrf} if method == "POST" else None
            response = browser.client.open(path, method=method, base_url=BASE, data=data, headers=SAME_ORIGIN)
            events = list(lab.audit.entries(kinds=["access.denied"]))[before:]
            told = [(event["user"], event["check"], event["method"], event["path"]) for event in events]
            may = role in HOLDERS[need]
            assert (response.status_code == 403) != may, (role, method, rule)
            assert response.status_code < 500, (role, method, rule)
            assert told == ([] if may else [(f"the-{role}", "W5", method, rule)]), (role, method, rule)


def signed_in(lab: Lab, name: str, roles: str) -> Browser:
    person = lab.officer(name, *parse_roles(roles))
    browser = Browser(lab.app())
    token = lab.session(person.name, "web", lab.clock() + limits.WEB_SESSION_MAX)
    browser.client.set_cookie("__Host-skerry", token, domain="skerry.example", secure=True)
    return browser
