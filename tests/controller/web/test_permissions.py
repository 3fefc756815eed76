from __future__ import annotations

from flask import Flask

from controller.web.permissions import PERMISSIONS, Holder, permission_for
from tests.controller.web.lab import Lab
from tests.controller.web.page_client import Browser


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
    for (method, rule), permission in PERMISSIONS.items():
        if permission.holder is Holder.ANYONE:
            continue
        for token in ("", "x" * 40, tsh_token if permission.holder is Holder.SESSION else browser_token):
            browser = Browser(lab.app())
            browser.client.set_cookie("__Host-skerry", token, domain="skerry.example", secure=True)
            response = browser.client.open(
                rule,
                method=method,
                base_url="https://skerry.example:3080",
                headers={"Authorization": f"Bearer {token}"},
            )
            assert response.status_code in {303, 401}, (method, rule)
