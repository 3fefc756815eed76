"""Every page on a real cluster: how it looks in light, in dark and on a phone, what axe and the console say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from urllib.parse import parse_qs, urljoin, urlsplit
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.harness.real_cluster import LOGIN, Agent, Person
from tests.harness.web_terminal import WebPerson
from tests.system.dashboard.quay import PATIENCE_MS, Desk, Quay

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@dataclass
class Place:
    """A cluster on which something has happened."""

    quay: Quay
    ada: Person
    buoy: Agent
    over: str
    live: str


@pytest.fixture(scope="module")
def place(whole_quay: Quay) -> Iterator[Place]:
    quay, cluster = whole_quay, whole_quay.cluster
    ada = quay.user("ada", "access,admin,auditor", f"{LOGIN},games")
    quay.user("bob")
    buoy = quay.device("buoy-1", "env=production,site=skagerrak")
    quay.device("kiosk-2", "env=production,site=oslo").program.stop()
    cluster.token("--labels=env=staging", "--ttl=1h")
    cluster.tctl("lock", "--login=ubuntu", "--message=nobody works as ubuntu this week", "--ttl=8h")
    web = WebPerson.sign_in(cluster, ada)
    with web.terminal(buoy.node_id, LOGIN) as terminal:
        terminal.until_told(type="open")
        terminal.type("ls -la /; exit\n")
        terminal.until_end()
    over = quay.session_of("ada")
    cluster.await_event("session.upload", sid=over)
    with web.terminal(buoy.node_id, LOGIN) as terminal:
        terminal.until_told(type="open")
        yield Place(quay, ada, buoy, over, str(terminal.until_told(type="news")["session"]))


@pytest.fixture(scope="module")
def admins(place: Place) -> Iterator[Desk]:
    desk = place.quay.desk_of(place.ada)
    yield desk
    place.quay.close_desks()


def visit(desk: Desk, path: str, name: str) -> list[str]:
    desk.page.goto(path)
    expect(desk.page.locator("h1")).to_have_count(1)
    return desk.look(f"system-{name}")


def test_the_pages_of_a_stranger(place: Place) -> None:
    desk = Desk.open(place.quay.chromium, place.quay.base)
    faults = visit(desk, "/web/login", "login")
    name = f"new-{uuid4().hex[:6]}"
    faults += visit(desk, place.quay.cluster.invite(name), "invite")
    faults += visit(desk, "/web/invite/" + "A" * 32, "invite-gone")
    faults += visit(desk, "/web/nothing", "not-found")
    desk.page.goto("/web/login")
    desk.page.get_by_label("Username").fill("nobody")
    desk.page.locator("#password").fill("a password of nobody's")
    desk.page.get_by_label("Six-digit code").fill("000000")
    desk.page.keyboard.press("Enter")
    expect(desk.page.get_by_role("alert")).to_be_visible()
    faults += desk.look("system-login-refused")
    desk.context.close()
    assert not faults, "\n".join(faults)
    desk.saw_nothing_odd("status of 4")


def test_the_pages_of_work(place: Place, admins: Desk) -> None:
    node = f"/web/nodes/{place.buoy.node_id}"
    expect_row(admins.page, "/web/sessions", "ada")
    faults = [
        *visit(admins, "/web/home", "home"),
        *visit(admins, "/web/nodes", "nodes"),
        *visit(admins, "/web/nodes?q=nothing-like-it", "nodes-none"),
        *visit(admins, node, "node"),
        *visit(admins, "/web/devices/new", "device-new"),
        *visit(admins, "/web/sessions", "sessions-live"),
        *visit(admins, f"/web/sessions/{place.live}", "session-live"),
        *visit(admins, "/web/recordings", "recordings"),
        *visit(admins, "/web/audit", "audit-all"),
        *visit(admins, f"/web/terminal/{place.buoy.node_id}", "terminal-logins"),
    ]
    assert not faults, "\n".join(faults)
    admins.saw_nothing_odd()


def test_the_page_of_a_recording(place: Place, admins: Desk) -> None:
    admins.page.goto(f"/web/sessions/{place.over}")
    expect(admins.page.get_by_role("group", name="Player")).to_be_visible(timeout=PATIENCE_MS)
    admins.page.keyboard.press("?")
    faults = admins.look("system-keys")
    admins.page.keyboard.press("Escape")
    admins.page.locator("#position").focus()
    admins.page.keyboard.press("End")
    faults += admins.look("system-recording")
    assert not faults, "\n".join(faults)
    admins.saw_nothing_odd()


def test_the_pages_of_people(admins: Desk) -> None:
    faults = [
        *visit(admins, "/web/users", "users"),
        *visit(admins, "/web/users/bob", "user"),
        *visit(admins, "/web/tokens", "tokens"),
        *visit(admins, "/web/locks", "locks-all"),
        *visit(admins, "/web/locks/new", "lock-new"),
        *visit(admins, "/web/settings", "settings"),
        *visit(admins, "/web/settings/password", "settings-password"),
        *visit(admins, "/web/settings/factors/new", "settings-factor"),
        *visit(admins, "/web/users/-/new", "user-new"),
    ]
    page = admins.page
    page.get_by_label("Name").fill(f"erin-{uuid4().hex[:6]}")
    page.get_by_label("Logins on devices").fill("pi")
    page.get_by_role("button", name="Make the link").click()
    expect(page.get_by_text("The user is created.")).to_be_visible()
    faults += admins.look("system-user-link")
    assert not faults, "\n".join(faults)
    admins.saw_nothing_odd()


def test_the_pages_of_somebody_who_may_little(place: Place) -> None:
    desk = Desk.open(place.quay.chromium, place.quay.base)
    desk.take_cookie(WebPerson.sign_in(place.quay.cluster, place.quay.user(f"carl-{uuid4().hex[:6]}")))
    faults = visit(desk, "/web/home", "home-plain")
    faults += visit(desk, "/web/audit", "refused")
    expect(desk.page.get_by_role("link", name="Users")).to_have_count(0)
    faults += visit(desk, f"/web/sessions/{place.over}", "not-yours")
    desk.context.close()
    assert not faults, "\n".join(faults)
    desk.saw_nothing_odd("status of 4")


def expect_row(page: Page, path: str, name: str) -> None:
    page.goto(path)
    expect(page.get_by_role("row", name=name).first).to_be_visible(timeout=PATIENCE_MS)


LINK = re.compile(r'<a [^>]*?href="([^"]+)"')


def test_no_link_on_any_page_leads_nowhere(place: Place, admins: Desk) -> None:
    """Each page is gone to once, whatever is asked of it; of filters and orders, one of each kind."""
    base, seen, todo = place.quay.base, set[str](), [("/web/home", "the beginning")]
    while todo:
        path, origin = todo.pop()
        parts = urlsplit(path)
        kind = f"{parts.path}?{','.join(sorted(parse_qs(parts.query)))}"
        if kind in seen:
            continue
        seen.add(kind)
        assert path.startswith("/"), f"{origin} leads to {path!r}"
        answer = admins.context.request.get(base + path)
        assert answer.status == 200, f"{origin} leads to {path}: {answer.status}"
        if answer.headers["content-type"].startswith("text/html"):
            text = answer.text()
            for href in map(unescape, LINK.findall(text)):
                if href.startswith("#"):
                    assert f'id="{href[1:]}"' in text, f"{path}: nothing is called {href}"
                elif not href.startswith("otpauth:"):  # for an authenticator app
                    todo.append((urljoin(path, href).partition("#")[0], path))
    assert {"/web/nodes?", "/web/audit?", f"/web/nodes/{place.buoy.node_id}?", f"/web/sessions/{place.over}?"} < seen
